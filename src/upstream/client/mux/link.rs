//! One connection that many streams share, and the task that drives it.
//!
//! The task is this thread's and owns the connection. It ends when the
//! connection does: closed by the endpoint, found dead, or let go of by all
//! who could still use it. At a drain all streams end with their exchanges,
//! and the task with its thread's runtime.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::links::{self, Links};
use crate::rt::clock::{self, Wait};
use crate::upstream::Endpoint;
use crate::upstream::client::wire::{ConnectError, Offer, Wire, within};
use crate::upstream::h1::HEAD_BYTES_MAX;
use crate::upstream::protocol::Protocol;

/// The most streams of one connection, however many the endpoint allows.
const STREAMS_MAX: usize = 250;
/// What an endpoint may send of one answer before the client has taken it.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same where there are many: together they hold no more than a few.
const CROWDED_WINDOW_BYTES: u32 = 16 * 1024;
/// More streams than this are many, until they are half of it.
const CROWD: usize = 32;
/// The same for all answers of a connection: none that stalls keeps another
/// from its window.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX as u32 * STREAM_WINDOW_BYTES;
/// What is held of one request that the endpoint does not read.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// After so much silence under a stream the endpoint is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);
/// How long before it is asked again in the same silence: gRPC servers cut
/// those who ask twice within five minutes in which they had nothing to say.
const PING_AGAIN: Duration = Duration::from_secs(310);

/// A connection, as those see it who use it.
pub(super) struct Link {
    requests: SendRequest<Bytes>,
    active: Cell<usize>,
    served: Cell<u64>,
    /// Since when it has no stream.
    idle_since: Cell<Instant>,
}

/// What a new connection turned out to be.
pub(super) enum Opened {
    Link(Rc<Link>),
    /// The endpoint chose HTTP/1.1.
    Http1(Box<Wire>),
}

/// Opens a connection within the endpoint's `connect_timeout`: its handshake,
/// and its SETTINGS, which say how many streams it takes (RFC 9113 §3.4).
pub(super) async fn open(endpoint: &Arc<Endpoint>) -> Result<Opened, ConnectError> {
    within(endpoint, async {
        let wire = Wire::open(endpoint, Offer::Any).await?;
        if let Protocol::Tls { .. } = &endpoint.protocol {
            let http1 = !wire.chose_http2();
            endpoint.chose_http1.store(http1, Ordering::Relaxed);
            if http1 {
                return Ok(Opened::Http1(wire));
            }
        }
        let received = Rc::new(Cell::new(0));
        let counted = Counted {
            wire,
            received: received.clone(),
        };
        let (requests, mut connection) = builder().handshake(counted).await.map_err(not_http2)?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(ConnectError::NotHttp2(
                "it closed the connection without a word".into(),
            ))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(not_http2(error))),
            // Zero until SETTINGS have come.
            Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let link = Rc::new(Link {
            requests,
            active: Cell::new(0),
            served: Cell::new(0),
            idle_since: Cell::new(clock::now()),
        });
        let ping_pong = connection.ping_pong();
        tokio::task::spawn_local(
            Driver {
                limit: connection.max_concurrent_send_streams(),
                connection,
                link: Rc::downgrade(&link),
                links: Rc::downgrade(&links::of(endpoint)),
                ping_pong,
                crowded: false,
                asked: Asked::Not,
                received,
                seen: 0,
                wait: Wait::of(PING_AFTER),
            }
            .run(),
        );
        Ok(Opened::Link(link))
    })
    .await
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .initial_max_send_streams(0);
    builder
}

fn not_http2(error: h2::Error) -> ConnectError {
    match error.get_io().map(io::Error::kind) {
        // A server that goes away still accepts for a moment.
        Some(io::ErrorKind::ConnectionReset) => {
            ConnectError::Refused(io::ErrorKind::ConnectionReset.into())
        }
        _ => ConnectError::NotHttp2(error.into()),
    }
}

impl Link {
    /// Whether it takes new streams: not closed, and no GOAWAY was seen (RFC 9113 §6.8).
    pub(super) fn stands(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(
            self.requests.clone().poll_ready(&mut cx),
            Poll::Ready(Err(_))
        )
    }

    /// Whether one more stream may be opened (RFC 9113 §5.1.2).
    pub(super) fn has_room(&self) -> bool {
        self.active.get() < self.requests.current_max_send_streams().min(STREAMS_MAX)
    }

    /// How long it has had no stream.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        (self.active.get() == 0).then(|| now.saturating_duration_since(self.idle_since.get()))
    }
}

/// A place for one stream. Given back on drop.
pub struct Lease {
    link: Rc<Link>,
    links: Rc<Links>,
    reused: bool,
}

impl Lease {
    pub(super) fn of(link: &Rc<Link>, links: &Rc<Links>) -> Self {
        link.active.set(link.active.get() + 1);
        Self {
            reused: link.served.replace(link.served.get() + 1) > 0,
            link: link.clone(),
            links: links.clone(),
        }
    }

    /// Whether the connection has carried an exchange before.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Opens the stream. `whole`: the head is the whole request.
    pub(super) fn open(
        &self,
        request: Request<()>,
        whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.link.requests.clone().send_request(request, whole)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.link.active.set(self.link.active.get() - 1);
        if self.link.active.get() == 0 {
            self.link.idle_since.set(clock::now());
        }
        self.links.tell_one();
    }
}

/// Whether the endpoint was asked if it is there (RFC 9113 §6.7).
enum Asked {
    /// Not in this silence.
    Not,
    Now,
    /// It was there at that time.
    Answered(Instant),
}

/// The task of a connection.
struct Driver {
    connection: Connection<Counted, Bytes>,
    link: Weak<Link>,
    links: Weak<Links>,
    ping_pong: Option<PingPong>,
    /// Streams have the smaller window.
    crowded: bool,
    asked: Asked,
    /// Counts what is received, so that silence is known.
    received: Rc<Cell<u64>>,
    /// How much of that was there at the last look.
    seen: u64,
    wait: Wait,
    /// How many streams the endpoint takes.
    limit: usize,
}

impl Driver {
    async fn run(mut self) {
        // Those who have streams are told why; nobody else need know.
        let _ = poll_fn(|cx| self.poll(cx)).await;
        let links = self.links.upgrade();
        // Its streams hear of it first.
        drop(self);
        if let Some(links) = links {
            links.tell_all();
        }
    }

    /// Gives streams the window that their number allows (RFC 9113 §6.9.2).
    fn fit_windows(&mut self) {
        let streams = self.link.upgrade().map_or(0, |link| link.active.get());
        let crowded = streams > if self.crowded { CROWD / 2 } else { CROWD };
        if crowded != self.crowded {
            let bytes = match crowded {
                true => CROWDED_WINDOW_BYTES,
                false => STREAM_WINDOW_BYTES,
            };
            // Refused while the endpoint has not taken the last; then later.
            if self.connection.set_initial_window_size(bytes).is_ok() {
                self.crowded = crowded;
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        // First, so that it reaches the endpoint before the streams do.
        self.fit_windows();
        if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(ended);
        }
        let limit = self.connection.max_concurrent_send_streams();
        if std::mem::replace(&mut self.limit, limit) != limit
            && let Some(links) = self.links.upgrade()
        {
            links.tell_all();
        }
        if let (Asked::Now, Some(ping_pong)) = (&self.asked, &mut self.ping_pong)
            && let Poll::Ready(answered) = ping_pong.poll_pong(cx)
        {
            answered?;
            self.asked = Asked::Answered(clock::now());
            self.seen = self.received.get();
            self.wait.reset(PING_AFTER);
        }
        while Pin::new(&mut self.wait).poll(cx).is_ready() {
            // Whatever it says, it is there.
            if let Asked::Now = self.asked
                && self.received.get() == self.seen
            {
                return Poll::Ready(Ok(()));
            }
            self.look(clock::now())?;
            // What was said now has to leave.
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    }

    /// Asks, if there is a stream and nothing has come for a while.
    fn look(&mut self, now: Instant) -> Result<(), h2::Error> {
        self.wait.reset(PING_AFTER);
        let received = self.received.get();
        if std::mem::replace(&mut self.seen, received) != received {
            self.asked = Asked::Not;
            return Ok(());
        }
        let busy = self
            .link
            .upgrade()
            .is_some_and(|link| link.active.get() > 0);
        let enough = match self.asked {
            Asked::Answered(at) => now.saturating_duration_since(at) < PING_AGAIN,
            Asked::Not | Asked::Now => false,
        };
        if busy
            && !enough
            && let Some(ping_pong) = &mut self.ping_pong
        {
            ping_pong.send_ping(Ping::opaque())?;
            self.asked = Asked::Now;
            self.wait.reset(PONG_TIMEOUT);
        }
        Ok(())
    }
}

/// A connection that counts what it receives.
struct Counted {
    wire: Box<Wire>,
    received: Rc<Cell<u64>>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.wire).poll_read(cx, into);
        let bytes = (into.filled().len() - before) as u64;
        self.received.set(self.received.get() + bytes);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
