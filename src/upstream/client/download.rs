//! An answer's body on its way to the client.
//!
//! Carries its connection, and what is left of the request to send. A body
//! that ends short is an error, never an end: the client must be able to tell.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::pool;
use super::upload::{self, Upload};
use super::wire::Wire;
use crate::body::BoxError;
use crate::framing::Framing;
use crate::framing::chunks::{self, Chunks, Piece};
use crate::rt::clock::Wait;
use crate::rt::flow::Flow;

/// How much is read at a time at first, and again whenever the client stalls.
const READ_BYTES_MIN: usize = 16 * 1024;
/// How much is read at a time while both sides keep up.
const READ_BYTES_MAX: usize = 128 * 1024;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the endpoint closed the connection in the middle of its answer")]
    Short,
    #[error("the endpoint sent nothing of its answer for {0:?}")]
    Paused(Duration),
    #[error("the request broke off while it was answered")]
    Request(#[source] BoxError),
    #[error("the connection broke in the middle of the answer")]
    Lost(#[source] io::Error),
    #[error(transparent)]
    Malformed(#[from] chunks::Broken),
}

enum Left {
    Length(u64),
    Chunks(Chunks),
    UntilClose,
    Nothing,
}

/// The body. Dropping it before its end closes the connection.
pub struct Download {
    /// `None` once it was given back.
    wire: Option<Box<Wire>>,
    upload: Option<Upload>,
    left: Left,
    wait: Wait,
    pause_max: Duration,
    read_bytes: usize,
    flow: Flow,
    /// Why it broke off, once it has.
    broken: Option<Broken>,
}

impl Download {
    pub(super) fn new(
        wire: Box<Wire>,
        upload: Option<Upload>,
        mut wait: Wait,
        framing: Framing,
        flow: Flow,
        pause_max: Duration,
    ) -> Self {
        wait.reset(pause_max);
        flow.begin_answer();
        let left = match framing {
            Framing::Length(0) => Left::Nothing,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks(Chunks::default()),
            Framing::UntilClose => Left::UntilClose,
        };
        let mut download = Self {
            wire: Some(wire),
            upload,
            left,
            wait,
            pause_max,
            read_bytes: READ_BYTES_MIN,
            flow,
            broken: None,
        };
        if matches!(download.left, Left::Nothing) {
            download.end();
        }
        download
    }

    /// Allows longer pauses between two bytes.
    pub fn may_pause(&mut self, pause_max: Duration) {
        self.pause_max = pause_max;
        self.wait.reset(pause_max);
    }

    /// The body is whole. The connection is kept only if the request went out whole too.
    fn end(&mut self) {
        self.left = Left::Nothing;
        if let Some(wire) = self.wire.take()
            && self.upload.take().is_none()
        {
            pool::park(wire);
        }
    }

    /// The next piece of what was received, if there is one.
    fn received(&mut self) -> Result<Option<Frame<Bytes>>, Broken> {
        let Some(wire) = &mut self.wire else {
            return Ok(None);
        };
        match &mut self.left {
            Left::Nothing => Ok(None),
            Left::UntilClose if wire.received.is_empty() => Ok(None),
            Left::UntilClose => Ok(Some(Frame::data(wire.take_received().freeze()))),
            Left::Length(_) if wire.received.is_empty() => Ok(None),
            Left::Length(left) => {
                let bytes = wire
                    .received
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes as u64;
                let data = match bytes == wire.received.len() {
                    // The rest comes past this buffer: nothing need hold it.
                    true => wire.take_received().freeze(),
                    false => wire.received.split_to(bytes).freeze(),
                };
                if *left == 0 {
                    self.end();
                }
                Ok(Some(Frame::data(data)))
            }
            Left::Chunks(chunks) => {
                let frame = match chunks.next(&mut wire.received)? {
                    Piece::Data(data) => Frame::data(data),
                    Piece::Trailers(trailers) => Frame::trailers(trailers),
                    Piece::Wanting => return Ok(None),
                    Piece::End => {
                        self.end();
                        return Ok(None);
                    }
                };
                // The end is often there already: the client's last frame can say so.
                if chunks.is_ended() {
                    self.end();
                }
                Ok(Some(frame))
            }
        }
    }

    /// The next piece, received now. A body that is framed by nothing inside
    /// it goes on as it is received; chunks are read where they can be taken apart.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        if self.flow.is_full() {
            return Poll::Pending;
        }
        if self.flow.is_blocked() {
            self.read_bytes = READ_BYTES_MIN;
        }
        let wanted = self.read_bytes.min(self.flow.piece_max());
        let Some(wire) = &mut self.wire else {
            return Poll::Ready(Ok(None));
        };
        let (data, bytes) = match self.left {
            Left::Chunks(_) => match wire.poll_receive(cx, wanted) {
                Poll::Ready(Ok(bytes)) => (None, bytes),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Lost(error))),
                Poll::Pending => {
                    if wire.received.is_empty() && wire.received.capacity() > READ_BYTES_MIN {
                        wire.shed();
                    }
                    return self.poll_pause(cx);
                }
            },
            Left::Length(_) | Left::UntilClose | Left::Nothing => {
                // Not a byte past this answer: what comes behind it is nobody's.
                let most = match self.left {
                    Left::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
                    Left::Chunks(_) | Left::UntilClose | Left::Nothing => usize::MAX,
                };
                match wire.poll_chunk(cx, wanted.min(most)) {
                    Poll::Ready(Ok(data)) => {
                        let bytes = data.len();
                        (Some(data), bytes)
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Lost(error))),
                    Poll::Pending => return self.poll_pause(cx),
                }
            }
        };
        if bytes == 0 {
            if !matches!(self.left, Left::UntilClose) {
                return Poll::Ready(Err(Broken::Short));
            }
            self.end();
            return Poll::Ready(Ok(None));
        }
        self.flow.hold(bytes);
        if bytes == wanted {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        self.wait.reset(self.pause_max);
        if let Left::Length(left) = &mut self.left
            && data.is_some()
        {
            *left -= bytes as u64;
            if *left == 0 {
                self.end();
            }
        }
        Poll::Ready(Ok(data))
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        Pin::new(&mut self.wait)
            .poll(cx)
            .map(|()| Err(Broken::Paused(self.pause_max)))
    }

    /// Goes on with the request while its answer comes. That the endpoint
    /// reads no more is no fault of its answer's; that the request ends short is.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let (Some(upload), Some(wire)) = (&mut self.upload, &mut self.wire) else {
            return Ok(());
        };
        match upload.poll(cx, wire) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(upload::Error::Endpoint(_))) => wire.keeps(false, None),
            Poll::Ready(Err(upload::Error::Client(error))) => return Err(Broken::Request(error)),
        }
        self.upload = None;
        Ok(())
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
        if let Err(broken) = self.poll_upload(cx) {
            return self.break_off(cx, broken);
        }
        loop {
            match self.received() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.wire.is_none() => return Poll::Ready(None),
                Ok(None) => {}
                Err(broken) => return self.break_off(cx, broken),
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(Some(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(broken)) => return self.break_off(cx, broken),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.wire.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Length(left) => SizeHint::with_exact(left),
            Left::Nothing => SizeHint::with_exact(0),
            Left::Chunks(_) | Left::UntilClose => SizeHint::default(),
        }
    }
}

impl Download {
    /// Tells of it in the next turn: a reset at once would throw away what was
    /// given before, the head with it (h2).
    fn break_off(
        &mut self,
        cx: &mut Context<'_>,
        broken: Broken,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.wire = None;
        self.left = Left::Nothing;
        self.broken = Some(broken);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
