//! The body of a request as it comes over HTTP/2.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::{Error, RecvStream};
use bytes::Bytes;
use http_body::{Body, Frame};

use super::stream::Answering;
use crate::body::BoxError;

/// The body of one stream's request. The stream keeps a handle of its own, so
/// that a body that nobody reads on does not end the stream with a reset.
pub(super) struct RequestBody {
    pub(super) received: Rc<RefCell<RecvStream>>,
    /// The client waits for a 100.
    pub(super) owes_continue: Option<Rc<Answering>>,
    data_ended: bool,
}

impl RequestBody {
    pub(super) fn new(
        received: Rc<RefCell<RecvStream>>,
        owes_continue: Option<Rc<Answering>>,
    ) -> Self {
        Self {
            received,
            owes_continue,
            data_ended: false,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(answering) = self.owes_continue.take() {
            answering.go_on();
        }
        let received = self.received.clone();
        let mut received = received.borrow_mut();
        if !self.data_ended {
            match ready!(received.poll_data(cx)) {
                Some(Ok(data)) => return Poll::Ready(Some(taken(&mut received, data))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(received.poll_trailers(cx)) {
            Ok(None) => None,
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.received.borrow().is_end_stream()
    }
}

/// It is read only as its reader takes it: the window opens again at once.
fn taken(received: &mut RecvStream, data: Bytes) -> Result<Frame<Bytes>, BoxError> {
    received.flow_control().release_capacity(data.len())?;
    Ok(Frame::data(data))
}

/// Reads on what nobody wants, up to `bytes_max`, until it ends.
///
/// A reset would do by RFC 9113 §8.1, but clients take it for a failure of
/// the answer that they have.
pub(super) async fn discard(received: &RefCell<RecvStream>, bytes_max: usize) -> Result<(), Error> {
    let mut left = bytes_max;
    while let Some(data) = poll_fn(|cx| received.borrow_mut().poll_data(cx)).await {
        let bytes = data?.len();
        received
            .borrow_mut()
            .flow_control()
            .release_capacity(bytes)?;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    Ok(())
}
