//! One client's socket, plain or TLS: what is written during one wake-up of
//! its connection leaves in one send.
//!
//! HTTP writes a head, a chunk, a frame at a time. Here they are gathered,
//! sealed into full TLS records, and sent when the connection has been polled
//! ([`Transport::poll_send`], called by `connection`), so that the answers of
//! many h2 streams cost one system call and few records. rustls' unbuffered
//! interface lets records be sealed straight into the bytes to send.
//!
//! An idle connection holds no buffer: buffers are lent by the thread
//! ([`Lent`]) and go back as soon as they are empty. A connection whose client
//! stalls holds at most one burst ([`BURST`]).

mod session;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::session::{RECORD, Session};
use super::lent::Lent;
use crate::rt::flow::Flow;
use crate::tls;

/// The most that is gathered before it is sent, and so the most that a stalled
/// client's socket leaves with us.
pub(crate) const BURST: usize = crate::rt::flow::BURST_MAX;
/// The least room a read is given: a whole record, so that one can always be finished.
const RECEIVE_LEAST: usize = RECORD + 1024;
/// The most that is received at a time: what is read at a time, and one record.
const RECEIVE_MOST: usize = 64 * 1024 + RECEIVE_LEAST;
/// The most that is read from a closing connection before it is cut.
const DISCARD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most that is received before others of the thread get their turn.
const TURN_BYTES_MAX: usize = 256 * 1024;
/// The most handshake bytes a client may send before it is let in.
const HANDSHAKE_BYTES_MAX: u64 = 64 * 1024;

/// A client's socket.
pub(crate) struct Transport {
    socket: TcpStream,
    session: Option<Box<Session>>,
    outgoing: Lent,
    /// Told whenever the socket takes no more, and when it does again.
    flow: Flow,
    /// FIN was sent.
    shut: bool,
    received_bytes: u64,
    /// Of these, since others had a turn.
    turn_bytes: usize,
    sent_bytes: u64,
    discarded_bytes: usize,
}

impl Transport {
    pub(crate) fn plain(socket: TcpStream, flow: Flow) -> Self {
        Self {
            socket,
            session: None,
            outgoing: Lent::default(),
            flow,
            shut: false,
            received_bytes: 0,
            turn_bytes: 0,
            sent_bytes: 0,
            discarded_bytes: 0,
        }
    }

    pub(crate) fn tls(
        socket: TcpStream,
        flow: Flow,
        config: Arc<ServerConfig>,
    ) -> Result<Self, rustls::Error> {
        let session = Session::new(config)?;
        Ok(Self {
            session: Some(Box::new(session)),
            ..Self::plain(socket, flow)
        })
    }

    /// Completes the TLS handshake. What the server says last (its ticket)
    /// leaves with whatever is sent next.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(session) = &mut self.session else {
                return Poll::Ready(Ok(()));
            };
            if let Err(error) = session.advance(&mut self.outgoing, None) {
                // The alert tells the client why, if it can read one.
                if !self.looks_plain() {
                    let _ = self.poll_send(cx);
                }
                return Poll::Ready(Err(error));
            }
            if !session.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if session.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if self.received_bytes > HANDSHAKE_BYTES_MAX {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Goes on without TLS if what came instead of a handshake looks like a
    /// plain request: so that its client can be told.
    pub(crate) fn becomes_plain(&mut self) -> bool {
        let plain = self.looks_plain();
        if plain {
            self.session = None;
            self.outgoing.give_back();
        }
        plain
    }

    fn looks_plain(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.tls.is_handshaking() && session.begins_like_a_request)
    }

    /// The identity the client was shown in its handshake.
    pub(crate) fn chosen(&mut self) -> Option<tls::Chosen> {
        self.session.as_mut()?.chosen.take()
    }

    /// The protocol agreed by ALPN (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.session.as_ref()?.tls.alpn_protocol()
    }

    /// Whether bytes wait for the client to take them.
    pub(crate) fn is_blocked(&self) -> bool {
        self.flow.is_blocked()
    }

    /// Grows while the client takes.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Grows while the client sends.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Whether a burst waits to be sent already.
    pub(crate) fn is_full(&self) -> bool {
        self.flow.is_blocked() || self.outgoing.bytes().len() >= self.flow.burst()
    }

    /// The client is to see a reset instead of an end.
    pub(crate) fn reset_at_close(&self) {
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Whether something was received that nobody has read yet.
    pub(crate) fn holds_received(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| !session.incoming.is_empty() || !session.opened.is_empty())
    }

    /// Gives back what is not needed while the client is waited for.
    pub(crate) fn shrink(&mut self) {
        if let Some(session) = &mut self.session {
            session.incoming.shrink();
            session.opened.shrink();
        }
    }

    /// Sends what was written; called once the connection has been polled.
    ///
    /// `Pending` has arranged for a wake-up when the socket takes more.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(session) = &mut self.session {
            session.seal_gathered(&mut self.outgoing)?;
        }
        self.poll_drain(cx)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let socket = Pin::new(&mut self.socket);
            match socket.poll_write(cx, self.outgoing.bytes()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    self.sent_bytes += bytes as u64;
                    self.flow.sent(bytes);
                    self.outgoing.taken(bytes);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.flow.set_blocked(true);
                    self.outgoing.shrink();
                    return Poll::Pending;
                }
            }
        }
        self.flow.set_blocked(false);
        Poll::Ready(Ok(()))
    }

    /// Takes plaintext in. Says `Pending` while an earlier burst is stuck.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.flow.is_blocked() || self.outgoing.bytes().len() >= self.flow.burst() {
            ready!(self.poll_drain(cx))?;
        }
        let burst = self.flow.burst();
        let Some(session) = &mut self.session else {
            return self.poll_write_plain(cx, bytes);
        };
        let gathered = session.gathered.bytes().len();
        if gathered + bytes.len() < RECORD {
            session.gathered.push(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        // Fill the record that was begun, then seal the rest from where it lies.
        let mut taken = 0;
        if gathered > 0 {
            taken = RECORD - gathered;
            session.gathered.push(&bytes[..taken]);
            session.seal_gathered(&mut self.outgoing)?;
        }
        let whole_records = (bytes.len() - taken) / RECORD * RECORD;
        let left = burst.saturating_sub(self.outgoing.bytes().len()) / RECORD * RECORD;
        let direct = whole_records.min(left.max(RECORD));
        if direct > 0 {
            session.seal(&bytes[taken..taken + direct], &mut self.outgoing)?;
            taken += direct;
        }
        // A full burst leaves at once: whether it does says whether more need be read.
        if self.outgoing.bytes().len() >= burst
            && let Poll::Ready(Err(error)) = self.poll_drain(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    /// Takes all of something small in, however much is held already: a head,
    /// a line of framing.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            self.outgoing.push(bytes);
            return Ok(());
        };
        session.gathered.push(bytes);
        if session.gathered.bytes().len() >= RECORD {
            session.seal_gathered(&mut self.outgoing)?;
        }
        Ok(())
    }

    fn poll_write_plain(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.outgoing.is_empty() && bytes.len() >= RECORD {
            if let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(cx, bytes) {
                let written = written?;
                self.sent_bytes += written as u64;
                self.flow.sent(written);
                return Poll::Ready(Ok(written));
            }
            // What is held says that the client is waited for.
            self.outgoing.push(&bytes[..RECORD]);
            self.outgoing.shrink();
            self.flow.set_blocked(true);
            return Poll::Ready(Ok(RECORD));
        }
        let held = self.outgoing.bytes().len();
        let taken = bytes.len().min(self.flow.burst().max(held + 1) - held);
        self.outgoing.push(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                match self.poll_write(cx, rest) {
                    Poll::Ready(Ok(bytes)) => {
                        taken += bytes;
                        rest = &rest[bytes..];
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if taken == 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Ok(taken)),
                }
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Ends our side: what was written is sent, goodbye is said, FIN follows.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(session) = &mut self.session {
            session.seal_gathered(&mut self.outgoing)?;
            session.say_goodbye(&mut self.outgoing);
        }
        ready!(self.poll_drain(cx))?;
        if !std::mem::replace(&mut self.shut, true) {
            return Pin::new(&mut self.socket).poll_shutdown(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and throws away until the client has closed.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scrap = Lent::default();
        while self.discarded_bytes < DISCARD_BYTES_MAX {
            let mut into = ReadBuf::new(scrap.room(RECORD));
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut into))?;
            if into.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.discarded_bytes += into.filled().len();
        }
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.session.is_none() {
            ready!(Pin::new(&mut self.socket).poll_read(cx, into))?;
            self.received_bytes += 1; // that something came is all that is asked
            return Poll::Ready(Ok(()));
        }
        loop {
            let Some(session) = &mut self.session else {
                return Poll::Ready(Ok(()));
            };
            let room = into.remaining();
            if room == 0 {
                return Poll::Ready(Ok(()));
            }
            if !session.opened.is_empty() {
                let bytes = room.min(session.opened.bytes().len());
                into.put_slice(&session.opened.bytes()[..bytes]);
                session.opened.taken(bytes);
                return Poll::Ready(Ok(()));
            }
            if session.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
            let Some(session) = &mut self.session else {
                return Poll::Ready(Ok(()));
            };
            session.advance(&mut self.outgoing, Some(into))?;
            if into.remaining() < room {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Waits for the client to send, and takes what came. Ends the session at EOF.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A client that sends as fast as it is read would keep the thread.
        if self.turn_bytes >= TURN_BYTES_MAX {
            self.turn_bytes = 0;
            return std::pin::pin!(tokio::task::yield_now()).poll(cx).map(Ok);
        }
        let Some(session) = &mut self.session else {
            return Poll::Ready(Ok(()));
        };
        let room = session.incoming.room(RECEIVE_LEAST);
        let most = room.len().min(RECEIVE_MOST);
        let mut into = ReadBuf::new(&mut room[..most]);
        match Pin::new(&mut self.socket).poll_read(cx, &mut into) {
            Poll::Ready(Ok(())) => {
                let bytes = into.filled().len();
                session.incoming.filled(bytes);
                session.note_beginning();
                session.ended |= bytes == 0;
                self.received_bytes += bytes as u64;
                self.turn_bytes += bytes;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.turn_bytes = 0;
                session.incoming.shrink();
                Poll::Pending
            }
        }
    }
}

/// The socket, shared by a connection and the bodies that are read from it.
#[derive(Clone)]
pub(crate) struct Io(pub(crate) Rc<RefCell<Transport>>);

impl Io {
    pub(crate) fn new(transport: Transport) -> Self {
        Self(Rc::new(RefCell::new(transport)))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, into)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing to do: what was written leaves when the wake-up ends.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_shutdown(cx)
    }
}
