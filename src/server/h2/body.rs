//! The body of a request as it comes over HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::{Error, RecvStream};
use bytes::Bytes;
use http_body::{Body, Frame};

use super::stream::Stream;
use crate::body::BoxError;

/// The body of one stream's request.
pub(super) struct RequestBody {
    stream: Rc<Stream>,
    /// The client waits for a 100.
    owes_continue: bool,
    data_ended: bool,
}

impl RequestBody {
    pub(super) fn new(stream: Rc<Stream>, owes_continue: bool) -> Self {
        Self {
            stream,
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
        if std::mem::take(&mut self.owes_continue) {
            self.stream.go_on();
        }
        let stream = self.stream.clone();
        let mut received = stream.received.borrow_mut();
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
        self.stream.received.borrow().is_end_stream()
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
pub(super) async fn discard(stream: &Stream, bytes_max: usize) -> Result<(), Error> {
    let mut left = bytes_max;
    while let Some(data) = poll_fn(|cx| stream.poll_data(cx)).await {
        let bytes = data?.len();
        let mut received = stream.received.borrow_mut();
        received.flow_control().release_capacity(bytes)?;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    Ok(())
}
