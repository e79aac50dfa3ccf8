//! Whether a silent client is still there: a PING after 20 s of silence, 20 s to answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::{Ping, PingPong};

use crate::rt::clock::Wait;
use crate::server::transport::Io;

/// After so much silence the client is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(20);
/// How long it has to answer.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Keepalive {
    pings: PingPong,
    wait: Wait,
    received_bytes: u64,
    asked: bool,
}

impl Keepalive {
    pub(super) fn new(pings: PingPong) -> Self {
        Self {
            pings,
            wait: Wait::of(PING_AFTER),
            received_bytes: 0,
            asked: false,
        }
    }

    /// Ready once the client did not answer. Anything it sends is an answer.
    pub(super) fn poll_dead(&mut self, cx: &mut Context<'_>, io: &Io) -> Poll<()> {
        // The answer itself is only taken off.
        let _ = self.pings.poll_pong(cx);
        while Pin::new(&mut self.wait).poll(cx).is_ready() {
            let received_bytes = io.0.borrow().received_bytes();
            let silent =
                std::mem::replace(&mut self.received_bytes, received_bytes) == received_bytes;
            if silent && self.asked {
                return Poll::Ready(());
            }
            self.asked = silent && self.pings.send_ping(Ping::opaque()).is_ok();
            self.wait
                .reset(if self.asked { PONG_TIMEOUT } else { PING_AFTER });
        }
        Poll::Pending
    }
}
