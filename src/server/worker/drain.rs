//! How a thread ends: what runs is finished, and what never ends by itself is
//! told to.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Worker;
use crate::rt::clock;
use crate::server::tunnel::GOODBYE_TIMEOUT;

/// How long a drain may take: at stop and at upgrade.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long what was told to leave may take: its own time for that, which ends
/// up to a tick late, and a little for what is sent last.
const LEAVE_TIMEOUT: Duration = GOODBYE_TIMEOUT.saturating_add(clock::TICK.saturating_mul(2));

/// How a thread is to drain.
pub(in crate::server) struct Drain {
    /// What is left then is closed.
    pub(in crate::server) until: Instant,
    /// Told once nothing is left that ends by itself, or the time is up.
    pub(in crate::server) quiet: oneshot::Sender<()>,
    /// What never ends by itself leaves as soon as this comes, and when the time is up.
    pub(in crate::server) leave: oneshot::Receiver<()>,
    /// Told how many connections were cut.
    pub(in crate::server) done: oneshot::Sender<usize>,
}

impl Worker {
    /// Whether an answer should say that its connection ends.
    pub(in crate::server) fn is_ending(&self) -> bool {
        self.census.ending.load(Ordering::Relaxed)
    }

    /// Whether no connection waits for more than one other request.
    pub(in crate::server) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Finishes what runs; gives the number of connections that had to be cut.
    pub(super) async fn drain(&self, order: Drain) {
        let Drain {
            until,
            quiet,
            leave,
            done,
        } = order;
        self.draining.set(true);
        let wakers: Vec<Waker> = self.of_known(|known| Some(known.waker.clone()));
        for waker in wakers {
            waker.wake();
        }
        self.wait(until, Self::is_quiet).await;
        let _ = quiet.send(());
        tokio::select! {
            _ = leave => {}
            () = self.wait(until, Self::is_empty) => {}
        }
        for tie in self.of_known(|known| Some(known.tie.clone())) {
            tie.lasting.leave();
        }
        let leave_until = Instant::now() + LEAVE_TIMEOUT;
        self.wait(leave_until, |worker| {
            worker.is_empty() || (Instant::now() >= until && !worker.has_lasting())
        })
        .await;
        self.wait(until, Self::is_empty).await;
        let _ = done.send(self.left());
    }

    /// Waits until it holds, or for no longer than that. It is looked at
    /// whenever a connection has ended, and with every tick.
    async fn wait(&self, until: Instant, holds: impl Fn(&Self) -> bool) {
        while !holds(self) && Instant::now() < until {
            let look = until.min(Instant::now() + clock::TICK);
            let _ = tokio::time::timeout_at(look.into(), self.ended.notified()).await;
        }
    }

    fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    /// Whether no connection is left but those whose exchanges never end by themselves.
    fn is_quiet(&self) -> bool {
        let known = self.known.borrow();
        let lasting = known.values().filter(|known| known.tie.only_lasts());
        lasting.count() == self.open.get()
    }

    fn has_lasting(&self) -> bool {
        let known = self.known.borrow();
        let mut ties = known.values().map(|known| &known.tie);
        ties.any(|tie| tie.lasting.count() > 0)
    }

    /// Connections that are not done, idle ones apart.
    fn left(&self) -> usize {
        let known = self.known.borrow();
        let idle = known.values().filter(|known| known.tie.busy.get() == 0);
        self.open.get() - idle.count()
    }
}
