//! A request's body on its way in: counted, bounded, timed, and kept for
//! another attempt while it is small.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::headers;
use super::retry::Replay;
use crate::body::{Body, BoxError};
use crate::error::ProxyError;
use crate::rt::clock::Wait;

/// The most of a body that is kept for another attempt.
pub const KEPT_BYTES_MAX: usize = 64 * 1024;
/// How long a client may send nothing in the middle of a body.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The body of one request; each attempt reads it from the start.
#[derive(Clone)]
pub struct Intake(Option<Rc<RefCell<Inner>>>);

struct Inner {
    source: Body,
    /// Copied, so that small pieces do not hold large buffers.
    kept: Vec<u8>,
    /// Another attempt may follow: what is read is kept.
    keeps: bool,
    /// All that was read is in `kept`.
    whole: bool,
    trailers: Option<HeaderMap>,
    ended: bool,
    received_bytes: Rc<Cell<u64>>,
    bytes_max: Option<u64>,
    /// Runs while the client is waited for.
    pause: Option<Wait>,
    pause_max: Duration,
}

impl Intake {
    /// `bytes_max`: the site's `max_body`. `keeps`: the request may be sent
    /// again after a byte of it was.
    pub fn new(source: Body, bytes_max: Option<u64>, keeps: bool) -> Self {
        if source.is_end_stream() {
            return Self(None);
        }
        Self(Some(Rc::new(RefCell::new(Inner {
            source,
            kept: Vec::new(),
            keeps,
            whole: true,
            trailers: None,
            ended: false,
            received_bytes: Rc::default(),
            bytes_max,
            pause: None,
            pause_max: PAUSE_MAX,
        }))))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The body for one attempt.
    pub fn body(&self) -> Body {
        match &self.0 {
            None => Body::Empty,
            Some(inner) => Body::stream(Attempt {
                inner: inner.clone(),
                position: 0,
                ended: false,
            }),
        }
    }

    /// Whether another attempt would have the whole body.
    pub fn replay(&self) -> Replay {
        match &self.0 {
            Some(inner) if !inner.borrow().whole => Replay::Gone,
            _ => Replay::Whole,
        }
    }

    /// Whether nothing more of it is to come. Who knows its length does not ask for its end.
    pub fn is_read(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| {
            let inner = inner.borrow();
            inner.ended || inner.source.is_end_stream()
        })
    }

    /// How much has come so far; `None` where there is no body.
    pub fn received_bytes(&self) -> Option<Rc<Cell<u64>>> {
        Some(self.0.as_ref()?.borrow().received_bytes.clone())
    }

    /// The client may be silent longer than [`PAUSE_MAX`]: its body is open to wait.
    pub fn may_pause(&self, pause_max: Duration) {
        if let Some(inner) = &self.0 {
            let mut inner = inner.borrow_mut();
            inner.pause_max = pause_max;
            // One that began already was to end sooner.
            if let Some(pause) = &mut inner.pause {
                pause.reset(pause_max);
            }
        }
    }

    /// The answer has begun: no other attempt will follow.
    pub fn settle(&self) {
        if let Some(inner) = &self.0 {
            let mut inner = inner.borrow_mut();
            inner.keeps = false;
        }
    }
}

impl Inner {
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let frame = match Pin::new(&mut self.source).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let pause = self.pause.get_or_insert_with(|| Wait::of(self.pause_max));
                if Pin::new(pause).poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(ProxyError::BodyPaused(self.pause_max))));
                }
                return Poll::Pending;
            }
        };
        // Pieces of nothing are no progress.
        let empty = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(Bytes::is_empty);
        if !matches!(&frame, Some(Ok(frame)) if empty(frame)) {
            self.pause = None;
        }
        match frame {
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(ProxyError::BodyBroken(error)))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Poll::Ready(Some(self.data(data))),
                Err(frame) => Poll::Ready(frame.into_trailers().ok().map(|mut trailers| {
                    headers::clean_trailers(&mut trailers);
                    self.trailers = Some(trailers.clone());
                    self.ended = true;
                    Ok(Frame::trailers(trailers))
                })),
            },
        }
    }

    fn data(&mut self, data: Bytes) -> Result<Frame<Bytes>, ProxyError> {
        let received = self.received_bytes.get() + data.len() as u64;
        self.received_bytes.set(received);
        if let Some(max) = self.bytes_max
            && received > max
        {
            return Err(ProxyError::BodyTooLarge { max });
        }
        if self.keeps && self.kept.len() + data.len() <= KEPT_BYTES_MAX {
            self.kept.extend_from_slice(&data);
        } else {
            self.whole = false;
            self.keeps = false;
        }
        Ok(Frame::data(data))
    }
}

/// One attempt's reading of the body: what is kept first, then what comes.
struct Attempt {
    inner: Rc<RefCell<Inner>>,
    position: usize,
    ended: bool,
}

impl HttpBody for Attempt {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let shared = self.inner.clone();
        let mut inner = shared.borrow_mut();
        if self.position < inner.kept.len() {
            let data = Bytes::copy_from_slice(&inner.kept[self.position..]);
            self.position = inner.kept.len();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !inner.keeps && !inner.kept.is_empty() {
            // Read again already, and never to be again.
            inner.kept = Vec::new();
            self.position = 0;
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if inner.ended {
            self.ended = true;
            return Poll::Ready(
                inner
                    .trailers
                    .clone()
                    .map(|trailers| Ok(Frame::trailers(trailers))),
            );
        }
        let polled = inner.poll_source(cx);
        self.position = inner.kept.len();
        self.ended = inner.ended;
        polled.map(|frame| frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.borrow().source.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::rt::clock;

    struct Silent;

    impl HttpBody for Silent {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }

    /// The client of a stream had a minute all the same, if it was waited for
    /// when the answer began.
    #[test]
    fn a_pause_that_has_begun_may_become_longer() {
        let intake = Intake::new(Body::stream(Silent), None, false);
        if let Some(inner) = &intake.0 {
            inner.borrow_mut().pause_max = Duration::ZERO;
        }
        let mut body = intake.body();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut is_waiting = async || {
                poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx).is_pending())).await
            };
            assert!(is_waiting().await);
            intake.may_pause(Duration::from_secs(3600));
            tokio::select! {
                () = clock::run(|_| false) => {}
                () = Wait::of(Duration::ZERO) => {}
            }
            assert!(is_waiting().await);
        });
    }
}
