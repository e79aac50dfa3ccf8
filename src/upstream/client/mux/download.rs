//! An answer's body out of a stream, on its way to the client.
//!
//! The endpoint may send more as the client takes what came: a stream never
//! holds more than its window. What is left of the request goes on meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::link::Lease;
use super::lost;
use super::upload::{self, Upload};
use crate::body::BoxError;
use crate::framing::chunks::is_of_the_connection;
use crate::rt::clock::Wait;
use crate::rt::flow::Flow;
use crate::upstream::client::download::Broken;

/// The body. Dropping it before its end resets the stream.
pub struct Download {
    recv: RecvStream,
    upload: Option<Upload>,
    /// `None` once the stream has ended.
    lease: Option<Lease>,
    wait: Wait,
    pause_max: Duration,
    /// What the answer's length leaves.
    left: Option<u64>,
    /// What the client was given, and the endpoint not yet allowed anew.
    given_bytes: usize,
    flow: Flow,
    /// Why it broke off, once it has.
    broken: Option<Broken>,
}

impl Download {
    pub(super) fn new(
        lease: Lease,
        recv: RecvStream,
        upload: Option<Upload>,
        mut wait: Wait,
        length: Option<u64>,
        flow: Flow,
        pause_max: Duration,
    ) -> Self {
        wait.reset(pause_max);
        flow.begin_answer();
        Self {
            recv,
            upload,
            lease: Some(lease),
            wait,
            pause_max,
            left: length,
            given_bytes: 0,
            flow,
            broken: None,
        }
    }

    /// Allows longer pauses between two bytes.
    pub fn may_pause(&mut self, pause_max: Duration) {
        self.pause_max = pause_max;
        self.wait.reset(pause_max);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Err(broken) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(broken)));
        }
        if self.flow.is_full() {
            return Poll::Pending;
        }
        // RFC 9113 §6.9.1: the client took it, so there is room for more.
        let given = std::mem::take(&mut self.given_bytes);
        let _ = self.recv.flow_control().release_capacity(given);
        match self.recv.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                self.given_bytes = data.len();
                self.flow.hold(data.len());
                self.wait.reset(self.pause_max);
                // The library has held the data against the length.
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                if self.recv.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Broken::Lost(lost(error))))),
            Poll::Ready(None) => match ready!(self.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.end();
                    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
                }
                Err(broken) => Poll::Ready(Some(Err(broken))),
            },
            Poll::Pending => self.poll_pause(cx),
        }
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Broken>> {
        let trailers = ready!(self.recv.poll_trailers(cx));
        Poll::Ready(match trailers {
            Ok(trailers) => Ok(trailers.map(cleaned)),
            Err(error) => Err(Broken::Lost(lost(error))),
        })
    }

    fn poll_pause<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Broken>>> {
        let paused = Pin::new(&mut self.wait).poll(cx);
        paused.map(|()| Some(Err(Broken::Paused(self.pause_max))))
    }

    /// Goes on with the request while its answer comes. That the endpoint
    /// reads no more is no fault of its answer's; that the request ends short is.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        match upload.poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(()) | Err(upload::Error::Endpoint)) => {
                self.upload = None;
                Ok(())
            }
            Poll::Ready(Err(upload::Error::Client(error))) => Err(Broken::Request(error)),
        }
    }

    /// The answer is whole: what is left of the request is of no use.
    fn end(&mut self) {
        self.upload = None;
        self.lease = None;
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.flow.end_answer();
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken.into())));
        }
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        match ready!(self.poll_next(cx)) {
            None => Poll::Ready(None),
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(broken)) => {
                // Told in the next turn: with the error at once, the server
                // could throw away what it was given before.
                self.broken = Some(broken);
                self.end();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Trailers without what may not stand there (RFC 9110 §6.5.1).
fn cleaned(mut trailers: HeaderMap) -> HeaderMap {
    let refused: Vec<_> = trailers
        .keys()
        .filter(|name| is_of_the_connection(name))
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
    trailers
}
