//! One client's connection: the handshake, then HTTP/1 or HTTP/2 by ALPN, then its end.
//!
//! One task a connection. It drives hyper, sends what hyper wrote in one go,
//! and minds the connection's clocks. An upgraded connection becomes a tunnel
//! in the same task.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::net::TcpStream;

use super::clocks::{Clocks, FAREWELL_TIMEOUT, Seen, Struck};
use super::transport::{Io, Transport};
use super::tunnel;
use super::worker::Worker;
use crate::body::{Body, BoxError};
use crate::exchange::Interim;
use crate::proxy::{Peer, Proxy, Tie, strict};
use crate::rt::clock::{CoarseTimer, Wait};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long we listen to a client after our last word, so that it can read it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// hyper's buffers of one h1 connection: a header of 32 KiB, a target of 16 KiB, and some room.
const H1_BUFFER_BYTES: usize = 64 * 1024;

/// The bounds of an h2 connection (RFC 9113 §6.5.2); measured with the whole.
mod h2 {
    use std::time::Duration;

    pub(super) const STREAMS_MAX: u32 = 250;
    pub(super) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
    pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
    pub(super) const FRAME_BYTES_MAX: u32 = 16 * 1024;
    pub(super) const SEND_BUFFER_BYTES: usize = 16 * 1024;
    /// After so much silence the client is asked whether it is there.
    pub(super) const PING_AFTER: Duration = Duration::from_secs(20);
    pub(super) const PONG_TIMEOUT: Duration = Duration::from_secs(20);
}

/// How a listener's connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Https,
    Http,
}

/// Serves one connection to its end.
pub(super) async fn run(
    socket: TcpStream,
    address: SocketAddr,
    speaks: Speaks,
    worker: Rc<Worker>,
) {
    let tie = Rc::new(Tie::default());
    let mut peer = Peer {
        address,
        secure: speaks == Speaks::Https,
        chosen: None,
        tie,
    };
    let mut alpn_h2 = false;
    let transport = match speaks {
        Speaks::Http => Transport::plain(socket, peer.tie.flow.clone()),
        Speaks::Https => {
            let config = worker.proxy.live().current().tls.config().clone();
            let Ok(mut transport) = Transport::tls(socket, peer.tie.flow.clone(), config) else {
                return;
            };
            if let Err(error) = within(HANDSHAKE_TIMEOUT, |cx| transport.poll_handshake(cx)).await {
                tracing::debug!(client = %address.ip(), %error, "TLS handshake failed");
                worker.noise.handshake();
                return;
            }
            peer.chosen = transport.chosen();
            alpn_h2 = transport.alpn() == Some(b"h2");
            transport
        }
    };
    // What came behind the handshake already is the beginning of a head.
    let begun = u64::from(transport.holds_received());
    let received = transport.progress().0 - begun;
    let driver = Driver {
        io: Io::new(transport),
        tie: peer.tie.clone(),
        clocks: Clocks::new(Instant::now(), !alpn_h2, received),
        wait: Wait::of(super::clocks::IDLE_TIMEOUT),
        worker: worker.clone(),
        told_to_drain: false,
        multiplexed: alpn_h2,
    };
    let peer = Rc::new(peer);
    if alpn_h2 {
        serve_h2(driver, peer).await;
    } else {
        serve_h1(driver, peer).await;
    }
}

/// What is done besides HTTP whenever a connection is polled.
struct Driver {
    io: Io,
    tie: Rc<Tie>,
    clocks: Clocks,
    wait: Wait,
    worker: Rc<Worker>,
    told_to_drain: bool,
    /// Many answers share the connection (h2).
    multiplexed: bool,
}

/// Why a connection's turn has ended.
enum Ended {
    /// HTTP is over, well or not.
    Http(hyper::Result<()>),
    /// The client cannot be reached any more.
    Gone,
    Struck(Struck),
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.worker.forget(&self.tie);
        // A tunnel that never began holds its exchange, and that the tie.
        self.tie.abandon();
    }
}

impl Driver {
    /// The thread learns whom to wake; what is left of the last wake-up leaves
    /// first: it makes room.
    fn before(&self, cx: &mut Context<'_>) {
        self.worker.remember(cx.waker(), &self.tie);
        let mut transport = self.io.0.borrow_mut();
        if transport.is_blocked() {
            // An error is met again behind the poll.
            let _ = transport.poll_send(cx);
        }
    }

    /// Whether the connection has to be told that no more requests are taken.
    fn is_to_drain(&mut self) -> bool {
        self.worker.is_draining() && !std::mem::replace(&mut self.told_to_drain, true)
    }

    /// Sends what was written and looks at the clocks.
    fn after(&mut self, cx: &mut Context<'_>, polled: Poll<hyper::Result<()>>) -> Poll<Ended> {
        let mut transport = self.io.0.borrow_mut();
        let sent = transport.poll_send(cx);
        if let Poll::Ready(Err(_)) = sent {
            return Poll::Ready(Ended::Gone);
        }
        if let Poll::Ready(result) = polled {
            return Poll::Ready(Ended::Http(result));
        }
        let blocked = transport.is_blocked();
        transport.shrink();
        if !blocked && self.tie.flow.release() {
            cx.waker().wake_by_ref();
        }
        let (received, mut sent) = transport.progress();
        // Over h2 a client may keep its socket busy and take nothing of its answers.
        let withheld = self.multiplexed && self.tie.waits_for_client();
        if withheld {
            sent = self.tie.given.get();
        }
        let seen = Seen {
            busy: self.tie.busy.get() > 0,
            served: self.tie.served.get(),
            received,
            sent,
            blocked: blocked || withheld,
        };
        if let Some(sooner) = self.clocks.look(crate::rt::clock::now(), seen) {
            self.wait.reset_to(sooner);
        }
        while Pin::new(&mut self.wait).poll(cx).is_ready() {
            match self.clocks.judge(Instant::now()) {
                Ok(due) => self.wait.reset_to(due),
                Err(struck) => return Poll::Ready(Ended::Struck(struck)),
            }
        }
        Poll::Pending
    }
}

async fn serve_h1(mut driver: Driver, peer: Rc<Peer>) {
    let service = service(driver.worker.proxy.clone(), peer.clone());
    let mut http = http1::Builder::new()
        .timer(CoarseTimer)
        .header_read_timeout(None)
        .max_headers(strict::HEADER_LINES_MAX)
        .max_buf_size(H1_BUFFER_BYTES)
        .serve_connection(driver.io.clone(), service);
    driver.tie.flow.set_alone();
    let ended = poll_fn(|cx| {
        driver.before(cx);
        let mut polled = Pin::new(&mut http).poll(cx);
        // What has arrived is read first: hyper closes what it has not begun.
        if polled.is_pending() && driver.is_to_drain() {
            Pin::new(&mut http).graceful_shutdown();
            polled = Pin::new(&mut http).poll(cx);
        }
        driver.after(cx, polled)
    })
    .await;
    match ended {
        Ended::Gone | Ended::Struck(Struck::Stall) => return,
        Ended::Struck(Struck::Idle) => {}
        Ended::Struck(Struck::Head) => {
            drop(http);
            tracing::debug!(client = %peer.address.ip(), "request head not complete in time");
            driver.worker.noise.head();
            // A client that takes nothing is not told.
            if driver.io.0.borrow().is_blocked() {
                return;
            }
            let told =
                |cx: &mut Context<'_>| driver.io.0.borrow_mut().poll_write(cx, REQUEST_TIMEOUT);
            let _ = within(LINGER_TIMEOUT, told).await;
            return close(driver).await;
        }
        Ended::Http(result) => {
            let tunnel = peer.tie.tunnel.take();
            if let (Ok(()), Some(tunnel)) = (&result, tunnel) {
                let parts = http.into_parts();
                return tunnel::run(&driver.io, parts.read_buf, tunnel).await;
            }
            if let Err(error) = result
                && (error.is_parse() || error.is_parse_too_large())
            {
                tracing::debug!(client = %peer.address.ip(), %error, "request is not HTTP");
                driver.worker.noise.request();
            }
        }
    }
    close(driver).await;
}

/// RFC 9110 §15.5.9. Written by hand: hyper closes without a word.
const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: text/plain; charset=utf-8\r\nproxy-status: hostmux; error=connection_read_timeout\r\n\
    content-length: 46\r\nconnection: close\r\n\r\nThe head of the request did not come in time.\n";

async fn serve_h2(mut driver: Driver, peer: Rc<Peer>) {
    let service = service(driver.worker.proxy.clone(), peer.clone());
    let mut http = http2::Builder::new(LocalExecutor)
        .timer(CoarseTimer)
        .max_concurrent_streams(h2::STREAMS_MAX)
        .initial_stream_window_size(h2::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(h2::CONNECTION_WINDOW_BYTES)
        .max_frame_size(h2::FRAME_BYTES_MAX)
        .max_send_buf_size(h2::SEND_BUFFER_BYTES)
        .max_header_list_size(strict::HEADER_BYTES_MAX as u32)
        .keep_alive_interval(h2::PING_AFTER)
        .keep_alive_timeout(h2::PONG_TIMEOUT)
        .serve_connection(driver.io.clone(), service);
    let mut idle_told = false;
    let ended = poll_fn(|cx| {
        loop {
            driver.before(cx);
            let mut polled = Pin::new(&mut http).poll(cx);
            if polled.is_pending() && driver.is_to_drain() {
                Pin::new(&mut http).graceful_shutdown();
                // A client that sleeps answers nothing and must not hold the drain.
                driver.clocks.hurry();
                driver.wait.reset(FAREWELL_TIMEOUT);
                idle_told = true;
                polled = Pin::new(&mut http).poll(cx);
            }
            let after = driver.after(cx, polled);
            if !matches!(after, Poll::Ready(Ended::Struck(Struck::Idle))) || idle_told {
                return after;
            }
            // GOAWAY first, so that no request is lost on its way here.
            idle_told = true;
            driver.wait.reset(HANDSHAKE_TIMEOUT);
            Pin::new(&mut http).graceful_shutdown();
        }
    })
    .await;
    if let Ended::Http(Err(error)) = &ended
        && !error.is_closed()
        && !error.is_incomplete_message()
    {
        tracing::debug!(client = %peer.address.ip(), %error, "h2 connection ended");
    }
    if matches!(ended, Ended::Http(_) | Ended::Struck(Struck::Idle)) {
        close(driver).await;
    }
}

fn service(
    proxy: Arc<Proxy>,
    peer: Rc<Peer>,
) -> impl hyper::service::HttpService<
    Incoming,
    ResBody = Body,
    Error = Infallible,
    Future = impl Future<Output = Result<http::Response<Body>, Infallible>> + 'static,
> {
    service_fn(move |request: Request<Incoming>| {
        let (proxy, peer) = (proxy.clone(), peer.clone());
        async move {
            let request = request.map(|body| Body::stream(Received(body)));
            Ok::<_, Infallible>(proxy.serve(&peer, request, None, Interim::default()).await)
        }
    })
}

/// Says goodbye, and listens a while so that the last answer is not lost to a reset.
async fn close(driver: Driver) {
    let _ = within(LINGER_TIMEOUT, |cx| {
        let mut transport = driver.io.0.borrow_mut();
        std::task::ready!(transport.poll_shutdown(cx))?;
        transport.poll_discard(cx)
    })
    .await;
}

/// Polls until it is ready, or the time is up.
async fn within<T>(
    timeout: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    let mut wait = Wait::of(timeout);
    poll_fn(|cx| match poll(cx) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => Pin::new(&mut wait)
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into())),
    })
    .await
}

/// hyper's h2 streams as tasks of this thread; they end with their connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

/// A request's body as hyper gives it.
struct Received(Incoming);

impl http_body::Body for Received {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}
