//! HTTP/2 as clients speak it: many exchanges on one connection (RFC 9113).
//!
//! The connection's task drives frames; each stream is a task of its own,
//! which ends with its connection. Frames, states and their errors are the
//! library's; what a stream means is ours.

mod abuse;
mod body;
mod keepalive;
mod meter;
mod stream;
mod websocket;

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use ::h2::server::{Builder, Connection};
use ::h2::{Error, Reason};
use bytes::Bytes;

use self::abuse::Abuse;
use self::keepalive::Keepalive;
use self::meter::{Meter, Metered};
use super::clocks::Struck;
use super::connection::{self, Driver, Ended};
use crate::proxy::{Peer, strict};

/// The most streams at a time (RFC 9113 §6.5.2); measured with the whole.
const STREAMS_MAX: u32 = 250;
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// What a stream may leave with us before it is asked for more: less than the
/// least piece, so that a stream that stalls leaves one.
const SEND_BUFFER_BYTES: usize = 6 * 1024;
/// Streams that were reset before we saw them, at a time: a page that is
/// reloaded resets all that it has open at once.
const UNSEEN_RESETS_MAX: usize = 2 * STREAMS_MAX as usize;
/// Stream errors of the client's that we answer with resets, ever (RFC 9113
/// §5.4.2, CVE-2025-8671).
const RESETS_OF_OURS_MAX: usize = 1024;

/// Serves a connection to its end.
pub(super) async fn serve(driver: Driver, peer: Rc<Peer>) {
    let meter = Rc::<Meter>::default();
    let handshake = Builder::new()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(strict::HEADER_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(RESETS_OF_OURS_MAX))
        .enable_connect_protocol()
        .handshake::<_, Bytes>(Metered::new(driver.io.clone(), meter.clone()));
    let mut session = Session {
        driver,
        peer,
        abuse: Rc::default(),
        shaking_hands: true,
        meter,
        farewell: false,
    };
    let mut handshake = Box::pin(handshake);
    let connection = session.turn(|cx, _| handshake.as_mut().poll(cx)).await;
    session.shaking_hands = false;
    let ended = match connection {
        Ok(Ok(mut connection)) => {
            let keepalive = connection.ping_pong().map(Keepalive::new);
            session.run(connection, keepalive).await
        }
        Ok(Err(error)) => Ok(Err(error)),
        Err(ended) => Err(ended),
    };
    session.end(ended).await;
}

struct Session {
    driver: Driver,
    peer: Rc<Peer>,
    abuse: Rc<Abuse>,
    /// The client's preface is waited for (RFC 9113 §3.4), as a head is.
    shaking_hands: bool,
    meter: Rc<Meter>,
    /// The client was told that no more streams are taken.
    farewell: bool,
}

impl Session {
    /// Polls, with all that a wake-up brings.
    async fn turn<T>(
        &mut self,
        mut poll: impl FnMut(&mut Context<'_>, &mut Self) -> Poll<T>,
    ) -> Result<T, Ended> {
        std::future::poll_fn(|cx| {
            self.driver.before(cx);
            match poll(cx, self) {
                Poll::Ready(ready) => Poll::Ready(Ok(ready)),
                Poll::Pending => self.driver.after(cx, self.shaking_hands).map(Err),
            }
        })
        .await
    }

    /// Accepts streams until the connection has ended.
    async fn run(
        &mut self,
        mut connection: Connection<Metered, Bytes>,
        mut keepalive: Option<Keepalive>,
    ) -> Result<Result<(), Error>, Ended> {
        loop {
            let ended = self
                .turn(|cx, session| {
                    let polled = session.poll(cx, &mut connection);
                    if polled.is_pending() && session.driver.worker.is_draining() {
                        if session.awaits_first() {
                            session.driver.end_soon();
                            return polled;
                        }
                        session.say_farewell(&mut connection);
                        return session.poll(cx, &mut connection);
                    }
                    if polled.is_pending()
                        && let Some(keepalive) = &mut keepalive
                        && keepalive.poll_dead(cx, &session.driver.io).is_ready()
                    {
                        return Poll::Ready(Ok(()));
                    }
                    polled
                })
                .await;
            match ended {
                // GOAWAY first, so that no request is lost on its way here.
                Err(Ended::Struck(Struck::Idle)) if !self.farewell => {
                    self.say_farewell(&mut connection);
                    if !self.driver.worker.is_draining() {
                        self.driver.await_farewell();
                    }
                }
                ended => return ended,
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection<Metered, Bytes>,
    ) -> Poll<Result<(), Error>> {
        loop {
            if self.abuse.is_too_much() || self.meter.is_too_much() {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            match std::task::ready!(connection.poll_accept(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok((request, respond))) => {
                    let proxy = self.driver.worker.proxy.clone();
                    let peer = self.peer.clone();
                    let abuse = self.abuse.clone();
                    // Ends with the connection: its stream is reset then.
                    tokio::task::spawn_local(stream::serve(proxy, peer, abuse, request, respond));
                }
            }
        }
    }

    /// Whether a connection that was just made has yet to bring its first
    /// request, which is on its way.
    fn awaits_first(&self) -> bool {
        !self.farewell && self.peer.tie.served.get() == 0
    }

    fn say_farewell(&mut self, connection: &mut Connection<Metered, Bytes>) {
        if !std::mem::replace(&mut self.farewell, true) {
            connection.graceful_shutdown();
            // A client that sleeps answers nothing and must not hold the drain.
            self.driver.hurry();
        }
    }

    async fn end(self, ended: Result<Result<(), Error>, Ended>) {
        match ended {
            Ok(result) => {
                if self.abuse.is_too_much() || self.meter.is_too_much() {
                    let client = self.peer.address.ip();
                    tracing::debug!(%client, "h2 connection cut: a flood of resets or of frames about nothing");
                    self.driver.worker.noise.abuse();
                }
                if let Err(error) = result {
                    let client = self.peer.address.ip();
                    tracing::debug!(%client, %error, "h2 connection ended");
                    if error.reason().is_some() && !error.is_remote() {
                        self.driver.worker.noise.request();
                    }
                }
                connection::close(self.driver).await;
            }
            Err(Ended::Struck(Struck::Idle)) => connection::close(self.driver).await,
            Err(Ended::Struck(Struck::Head | Struck::Stall) | Ended::Gone) => {}
        }
    }
}
