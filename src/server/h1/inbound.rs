//! What a client sends over HTTP/1: heads, and the body of the request under way.
//!
//! The connection and the body of its request share it; both run in the
//! connection's own task.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::head::{Head, Scanner};
use crate::body::BoxError;
use crate::framing::Framing;
use crate::framing::chunks::{Chunks, Piece};
use crate::rt::buffers;
use crate::server::transport::Io;

/// How much is read at a time while a head is waited for.
const HEAD_READ_BYTES: usize = 4 * 1024;
/// How much of a body is read at a time.
const BODY_READ_BYTES: usize = 64 * 1024;
/// The most that is read ahead of a request that is being answered.
const AHEAD_BYTES_MAX: usize = 16 * 1024;
/// RFC 9110 §15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a request's body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the client closed the connection in the middle of the body")]
    Short,
    #[error("the connection to the client broke")]
    Lost(#[source] io::Error),
    #[error(transparent)]
    Chunks(#[from] crate::framing::chunks::Broken),
}

/// What is left to be read of a request's body.
#[derive(Debug, Default)]
enum Left {
    #[default]
    Nothing,
    Length(u64),
    Chunks(Chunks),
    /// Its end cannot be found any more.
    Lost,
}

/// The receiving side of a connection.
pub(super) struct Inbound {
    io: Io,
    /// Received and not yet read.
    received: BytesMut,
    scanner: Scanner,
    left: Left,
    /// The client waits for a 100 before it sends the body.
    owes_continue: bool,
}

impl Inbound {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            received: BytesMut::new(),
            scanner: Scanner::default(),
            left: Left::Nothing,
            owes_continue: false,
        }
    }

    /// Whether something came that belongs to no request yet.
    pub(super) fn has_begun(&self) -> bool {
        !self.received.is_empty() || self.io.0.borrow().holds_received()
    }

    /// The next head; `None` at the client's end.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Head>>> {
        loop {
            if !self.received.is_empty()
                && let Some(head) = self.scanner.head(&mut self.received)
            {
                return Poll::Ready(Ok(Some(head)));
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.received.is_empty() {
                        // An idle connection holds no buffer.
                        self.received = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// A body begins that is framed like this.
    pub(super) fn begin(&mut self, framing: Framing, expects_continue: bool) {
        self.left = match framing {
            Framing::Length(0) | Framing::UntilClose => Left::Nothing,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks(Chunks::default()),
        };
        self.owes_continue = expects_continue && !self.is_ended();
    }

    /// The answer begins: a 100 would stand in the middle of it. Whether the
    /// client may still wait for one (RFC 9110 §10.1.1).
    pub(super) fn answer_begins(&mut self) -> bool {
        std::mem::take(&mut self.owes_continue)
    }

    /// Whether the request was read to its end.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    /// Throws away what has come of a body that nobody reads.
    pub(super) fn skip(&mut self) {
        while let Ok(Some(_)) = self.next() {}
    }

    /// What was received behind the request.
    pub(super) fn take_received(&mut self) -> Bytes {
        std::mem::take(&mut self.received).freeze()
    }

    /// Ready once the client is gone; until then, what it sends early is kept.
    ///
    /// A client that only says that it sends no more cannot be told from one
    /// that has closed, for whom an endpoint would work in vain: both are gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.is_ended() && self.received.len() < AHEAD_BYTES_MAX {
            match ready!(self.poll_receive(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Receives a little more: through a buffer of the thread's, so that nothing
    /// is held while nothing comes, and what is held fits.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = buffers::take();
        let mut into = ReadBuf::new(&mut buffer[..HEAD_READ_BYTES]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut into);
        let bytes = into.filled().len();
        self.received.extend_from_slice(into.filled());
        buffers::give(buffer);
        polled.map_ok(|()| bytes)
    }

    /// Receives as much more of a body as there is, where it can be taken apart.
    fn poll_receive_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.received.reserve(BODY_READ_BYTES);
        let mut room = (&mut self.received).limit(BODY_READ_BYTES);
        let polled = pin!(self.io.read_buf(&mut room)).poll(cx);
        if polled.is_pending() && self.received.is_empty() {
            self.received = BytesMut::new();
        }
        polled
    }

    /// The next piece of the body that was received already.
    fn next(&mut self) -> Result<Option<Frame<Bytes>>, Broken> {
        match &mut self.left {
            Left::Nothing | Left::Lost => Ok(None),
            Left::Length(_) if self.received.is_empty() => Ok(None),
            Left::Length(left) => {
                let bytes = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = self
                    .received
                    .split_to(bytes.min(self.received.len()))
                    .freeze();
                self.took(data.len());
                Ok(Some(Frame::data(data)))
            }
            Left::Chunks(chunks) => {
                let piece = match chunks.next(&mut self.received) {
                    Ok(piece) => piece,
                    Err(broken) => {
                        self.left = Left::Lost;
                        return Err(broken.into());
                    }
                };
                let frame = match piece {
                    Piece::Data(data) => Some(Frame::data(data)),
                    Piece::Trailers(trailers) => Some(Frame::trailers(trailers)),
                    Piece::Wanting | Piece::End => None,
                };
                // The end is often there already, behind the last piece.
                if chunks.is_ended() {
                    self.left = Left::Nothing;
                }
                Ok(frame)
            }
        }
    }

    fn took(&mut self, bytes: usize) {
        if let Left::Length(left) = &mut self.left {
            *left -= bytes as u64;
            if *left == 0 {
                self.left = Left::Nothing;
            }
        }
    }

    /// The next piece of the body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if std::mem::take(&mut self.owes_continue)
            && self.received.is_empty()
            && let Err(error) = self.io.0.borrow_mut().put(CONTINUE)
        {
            return Poll::Ready(Some(Err(Broken::Lost(error))));
        }
        loop {
            match self.next() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.is_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
            let received = match self.left {
                // Chunks are taken apart where they lie.
                Left::Chunks(_) => ready!(self.poll_receive_body(cx)).map(|bytes| {
                    if bytes == 0 {
                        self.left = Left::Lost;
                    }
                    Bytes::new()
                }),
                Left::Length(left) => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    ready!(buffers::poll_receive(
                        cx,
                        Pin::new(&mut self.io),
                        most.min(BODY_READ_BYTES)
                    ))
                }
                Left::Nothing | Left::Lost => Ok(Bytes::new()),
            };
            match received {
                Err(error) => {
                    self.left = Left::Lost;
                    return Poll::Ready(Some(Err(Broken::Lost(error))));
                }
                Ok(data) if !data.is_empty() => {
                    self.took(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(_) if matches!(self.left, Left::Chunks(_)) => {}
                Ok(_) => {
                    self.left = Left::Lost;
                    return Poll::Ready(Some(Err(Broken::Short)));
                }
            }
        }
    }
}

/// The body of the request under way. Dropped, the rest is left unread.
pub(super) struct RequestBody(pub(super) Rc<RefCell<Inbound>>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = self.0.borrow_mut().poll_frame(cx);
        polled.map(|frame| frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.borrow().left {
            Left::Length(left) => SizeHint::with_exact(left),
            Left::Nothing => SizeHint::with_exact(0),
            Left::Chunks(_) | Left::Lost => SizeHint::default(),
        }
    }
}
