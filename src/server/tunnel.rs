//! An upgraded connection: bytes both ways until both sides have ended.
//!
//! Half-close is kept: the end of one direction is passed on while the other
//! goes on. An idle tunnel holds no buffer. One that has to end, because its
//! process does or nothing leads to its endpoint any more, says goodbye to both
//! ([`goodbye`]): so their frames are followed ([`frames`]).

mod frames;
mod goodbye;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frames::Frames;
use super::lent::Lent;
use super::transport::Io;
use crate::proxy::Tunnel;
use crate::rt::clock::Wait;
use crate::upstream::client::wire::Wire;

pub use self::goodbye::GOODBYE_TIMEOUT;

/// How long a tunnel may be silent. TCP keep-alive finds dead peers sooner.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// The most that is read at once.
const READ_BYTES: usize = 64 * 1024;

/// The client's side of a tunnel.
pub(super) trait Client: Source + Sink {
    /// What was put for the client leaves in one go.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Joins client and endpoint; `early` is what the client sent behind its handshake.
///
/// Dropping the future closes both sides.
pub(super) async fn run(mut client: impl Client, early: Bytes, tunnel: Tunnel) -> End {
    let Tunnel {
        mut wire,
        mut watch,
        mut lasting,
    } = tunnel;
    let (mut up, mut down) = (Way::default(), Way::default());
    up.held.push(&early);
    down.held.push(&wire.take_received());
    let mut wait = Wait::of(IDLE_TIMEOUT);
    let carried: io::Result<End> = poll_fn(|cx| {
        if lasting.poll_leave(cx).is_ready() {
            return Poll::Ready(Ok(End::Told));
        }
        let moved = up.bytes + down.bytes;
        let upward = up.poll(cx, &mut client, &mut wire)?;
        let downward = down.poll(cx, &mut wire, &mut client)?;
        if let Poll::Ready(Err(error)) = client.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        if upward.is_ready() && downward.is_ready() {
            return Poll::Ready(Ok(End::ByItself));
        }
        if up.bytes + down.bytes != moved {
            wait.reset(IDLE_TIMEOUT);
        }
        Pin::new(&mut wait)
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    let complete = match carried {
        Ok(End::ByItself) => true,
        Ok(End::Told) => goodbye::say(up.leave(), down.leave(), &mut client, &mut wire).await,
        Err(_) => false,
    };
    let exchange = watch.exchange_mut();
    exchange.bytes_out = down.bytes;
    exchange.bytes_in = Some(std::rc::Rc::new(std::cell::Cell::new(up.bytes)));
    exchange.complete = complete;
    carried.unwrap_or(End::ByItself)
}

/// Who ended a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its client or its endpoint.
    ByItself,
    /// It was told to, and what can be said was said.
    Told,
}

/// One direction.
#[derive(Default)]
struct Way {
    held: Lent,
    /// Those that the other side was given.
    frames: Frames,
    bytes: u64,
    source_ended: bool,
    ended: bool,
}

pub(super) trait Source {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>>;
}

pub(super) trait Sink {
    fn poll_put(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Way {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
        to: &mut impl Sink,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.held.is_empty() {
                let bytes = match to.poll_put(cx, self.held.bytes()) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(bytes)) => bytes,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.held.shrink();
                        return Poll::Pending;
                    }
                };
                self.took(bytes);
            }
            if self.source_ended {
                ready!(to.poll_end(cx))?;
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_fill(cx, from))?;
        }
    }
}

impl Way {
    /// Takes what the source has; 0 is its end.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Source,
    ) -> Poll<io::Result<usize>> {
        let polled = from.poll_take(cx, &mut self.held.room(READ_BYTES)[..READ_BYTES]);
        match polled {
            Poll::Ready(Ok(bytes)) => {
                self.source_ended = bytes == 0;
                self.held.filled(bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.held.shrink(),
        }
        polled
    }

    /// The other side was given so many of the bytes held.
    fn took(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.frames.pass(&self.held.bytes()[..bytes]);
        self.held.taken(bytes);
    }
}

impl Source for Io {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        ready!(self.0.borrow_mut().poll_read(cx, &mut into))?;
        Poll::Ready(Ok(into.filled().len()))
    }
}

impl Sink for Io {
    fn poll_put(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bytes)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_shutdown(cx)
    }
}

impl Client for Io {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl Source for Box<Wire> {
    fn poll_take(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        ready!(Pin::new(self).poll_read(cx, &mut into))?;
        Poll::Ready(Ok(into.filled().len()))
    }
}

impl Sink for Box<Wire> {
    fn poll_put(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}
