//! One client's connection: the handshake, then HTTP/1 or HTTP/2 by ALPN, then its end.
//!
//! One task a connection. Here is what both protocols share: the [`Driver`]
//! sends what was written in one go and minds the connection's clocks.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::clocks::{Clocks, FAREWELL_TIMEOUT, Seen, Struck};
use super::proxy_protocol;
use super::transport::{Io, Transport};
use super::worker::Worker;
use super::{h1, h2};
use crate::proxy::{Peer, Tie};
use crate::rt::clock::Wait;

/// How long a TLS handshake may take, and before it a PROXY protocol header.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client of HTTP/2 has to hear that its connection ends.
const HEAR_TIMEOUT: Duration = Duration::from_secs(10);
/// How long we listen to a client after our last word, so that it can read it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
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
    let address = match client(&socket, address, &worker).await {
        Ok(address) => address,
        Err(error) => {
            tracing::warn!(proxy = %address.ip(), %error, "a connection of proxy_protocol_from did not begin with its header");
            worker.noise.proxy_header();
            return;
        }
    };
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
                if transport.becomes_plain() {
                    let _ = transport.put(HTTPS_ONLY);
                    farewell(&Io::new(transport)).await;
                }
                return;
            }
            peer.chosen = transport.chosen();
            alpn_h2 = transport.alpn() == Some(b"h2");
            transport
        }
    };
    let driver = Driver {
        io: Io::new(transport),
        tie: peer.tie.clone(),
        clocks: Clocks::new(Instant::now()),
        wait: Wait::of(super::clocks::IDLE_TIMEOUT),
        worker: worker.clone(),
    };
    let peer = Rc::new(peer);
    if alpn_h2 {
        h2::serve(driver, peer).await;
    } else {
        h1::serve(driver, peer).await;
    }
}

/// What a client is told that speaks plain HTTP where TLS is spoken.
const HTTPS_ONLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\nproxy-status: hostmux; error=http_request_error\r\n\
    content-length: 58\r\nconnection: close\r\n\r\nThis port speaks https. Write https:// before the address.";

/// The address of the client: the socket's own, or what a listed proxy says.
async fn client(
    socket: &TcpStream,
    address: SocketAddr,
    worker: &Worker,
) -> io::Result<SocketAddr> {
    let snapshot = worker.proxy.live().current();
    let listed = &snapshot.proxy_protocol_from;
    if !listed.iter().any(|network| network.contains(&address.ip())) {
        return Ok(address);
    }
    let mut header = std::pin::pin!(proxy_protocol::take(socket));
    let source = within(HANDSHAKE_TIMEOUT, |cx| header.as_mut().poll(cx)).await?;
    Ok(source.unwrap_or(address))
}

/// What is done besides HTTP whenever a connection is polled.
pub(super) struct Driver {
    pub(super) io: Io,
    pub(super) tie: Rc<Tie>,
    pub(super) worker: Rc<Worker>,
    clocks: Clocks,
    wait: Wait,
}

/// Why a connection ended from below.
#[derive(Debug)]
pub(super) enum Ended {
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
    pub(super) fn before(&self, cx: &mut Context<'_>) {
        self.worker.remember(cx.waker(), &self.tie);
        let mut transport = self.io.0.borrow_mut();
        if transport.is_blocked() {
            // An error is met again behind the poll.
            let _ = transport.poll_send(cx);
        }
    }

    /// Sends what was written and looks at the clocks. `begun`: something came
    /// that is no whole head yet.
    pub(super) fn after(&mut self, cx: &mut Context<'_>, begun: bool) -> Poll<Ended> {
        let mut transport = self.io.0.borrow_mut();
        if let Poll::Ready(Err(_)) = transport.poll_send(cx) {
            return Poll::Ready(Ended::Gone);
        }
        let blocked = transport.is_blocked();
        transport.shrink();
        if !blocked && self.tie.flow.release() {
            cx.waker().wake_by_ref();
        }
        let seen = Seen {
            busy: self.tie.busy.get() > 0,
            served: self.tie.served.get(),
            begun: begun && !blocked,
            sent: transport.sent_bytes(),
            blocked,
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

    /// The client was told that the connection ends: it need not be idle for long.
    pub(super) fn hurry(&mut self) {
        self.clocks.hurry();
        self.wait.reset(FAREWELL_TIMEOUT);
    }

    /// The process ends, and the client cannot be told: its next request may be
    /// on its way. It is waited for [`FAREWELL_TIMEOUT`] from the last exchange,
    /// or the beginning; who was idle for longer is let go with the next tick,
    /// when what has come by now has been heard of.
    pub(super) fn end_soon(&mut self) {
        if self.clocks.hurry() {
            let now = Instant::now();
            self.wait.reset_to(self.clocks.judge(now).unwrap_or(now));
        }
    }

    /// Once more the time that a client has to hear that the connection ends.
    pub(super) fn await_farewell(&mut self) {
        self.wait.reset(HEAR_TIMEOUT);
    }

    /// Sends what was written of an answer that is not whole, and no goodbye.
    /// `abrupt`: the client sees a reset.
    pub(super) async fn cut(&mut self, abrupt: bool) {
        let io = self.io.clone();
        let _ = within(LINGER_TIMEOUT, |cx| io.0.borrow_mut().poll_send(cx)).await;
        if abrupt {
            io.0.borrow_mut().reset_at_close();
        }
    }
}

/// Says goodbye, and listens a while so that the last answer is not lost to a reset.
pub(super) async fn close(driver: Driver) {
    farewell(&driver.io).await;
}

async fn farewell(io: &Io) {
    let _ = within(LINGER_TIMEOUT, |cx| {
        let mut transport = io.0.borrow_mut();
        std::task::ready!(transport.poll_shutdown(cx))?;
        transport.poll_discard(cx)
    })
    .await;
}

/// Polls until it is ready, or the time is up.
pub(super) async fn within<T>(
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
