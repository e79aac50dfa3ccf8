//! The clocks of one client's connection: head, idle, stall.
//!
//! An exchange has clocks of its own (body, connect, answer); these run
//! between exchanges, and over what the client takes. Pure: what it is shown,
//! it judges.

use std::time::{Duration, Instant};

/// How long a request's head may take to come whole (h1).
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may lie idle.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// The same once no more than one request is waited for: the process ends, or
/// the client was told that the connection does.
pub(super) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may take nothing of what waits for it.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What is seen of a connection whenever it has been polled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Exchanges under way.
    pub(super) busy: bool,
    /// Exchanges that have begun, ever.
    pub(super) served: u64,
    /// Something came that is no whole head yet (h1; over h2 frames come at any time).
    pub(super) begun: bool,
    /// Grows while the client takes.
    pub(super) sent: u64,
    /// Bytes wait for the client to take them.
    pub(super) blocked: bool,
}

/// Which clock has struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Struck {
    /// A head was begun and not finished.
    Head,
    Idle,
    /// The client takes nothing.
    Stall,
}

#[derive(Debug)]
pub(super) struct Clocks {
    idle_timeout: Duration,
    idle_since: Instant,
    head_since: Option<Instant>,
    stalled_since: Option<Instant>,
    last: Seen,
}

impl Clocks {
    pub(super) fn new(now: Instant) -> Self {
        let last = Seen {
            busy: false,
            served: 0,
            begun: false,
            sent: 0,
            blocked: false,
        };
        Self {
            idle_timeout: IDLE_TIMEOUT,
            idle_since: now,
            head_since: None,
            stalled_since: None,
            last,
        }
    }

    /// Takes a look; where a clock has begun to run, says when the next one strikes.
    pub(super) fn look(&mut self, now: Instant, seen: Seen) -> Option<Instant> {
        let last = std::mem::replace(&mut self.last, seen);
        let mut begun = false;
        if seen.busy || last.busy || seen.served != last.served {
            self.idle_since = now;
        }
        if seen.busy || !seen.begun {
            self.head_since = None;
        } else if self.head_since.is_none() {
            self.head_since = Some(now);
            begun = true;
        }
        if !seen.blocked {
            self.stalled_since = None;
        } else if self.stalled_since.is_none() {
            self.stalled_since = Some(now);
            begun = true;
        } else if seen.sent != last.sent {
            self.stalled_since = Some(now);
        }
        if begun { self.judge(now).ok() } else { None }
    }

    /// The connection ends: once idle, it need not stay so for long. Whether
    /// that is news.
    pub(super) fn hurry(&mut self) -> bool {
        std::mem::replace(&mut self.idle_timeout, FAREWELL_TIMEOUT) != FAREWELL_TIMEOUT
    }

    /// Which clock has struck by now; else when the next one may.
    pub(super) fn judge(&self, now: Instant) -> Result<Instant, Struck> {
        // Whoever has begun to ask has the time of a head.
        let idle = (!self.last.busy && !self.last.blocked && self.head_since.is_none())
            .then_some((self.idle_since + self.idle_timeout, Struck::Idle));
        let head = self
            .head_since
            .map(|since| (since + HEAD_TIMEOUT, Struck::Head));
        let stall = self
            .stalled_since
            .map(|since| (since + STALL_TIMEOUT, Struck::Stall));
        match [head, stall, idle]
            .into_iter()
            .flatten()
            .min_by_key(|(due, _)| *due)
        {
            Some((due, struck)) if due <= now => Err(struck),
            Some((due, _)) => Ok(due),
            None => Ok(now + self.idle_timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run {
        start: Instant,
        clocks: Clocks,
        seen: Seen,
    }

    impl Run {
        fn new() -> Self {
            let start = Instant::now();
            let seen = Seen {
                busy: false,
                served: 0,
                begun: false,
                sent: 0,
                blocked: false,
            };
            Self {
                start,
                clocks: Clocks::new(start),
                seen,
            }
        }

        fn at(&mut self, second: u64, change: impl FnOnce(&mut Seen)) {
            change(&mut self.seen);
            self.clocks
                .look(self.start + Duration::from_secs(second), self.seen);
        }

        fn judge(&self, second: u64) -> Result<u64, Struck> {
            let due = self
                .clocks
                .judge(self.start + Duration::from_secs(second))?;
            Ok(due.duration_since(self.start).as_secs())
        }
    }

    #[test]
    fn an_idle_connection_is_let_go_after_75_s() {
        let mut run = Run::new();
        assert_eq!(run.judge(0), Ok(75));
        assert_eq!(run.judge(75), Err(Struck::Idle));
        run.at(70, |seen| (seen.busy, seen.served) = (true, 1));
        run.at(71, |seen| seen.busy = false);
        assert_eq!(run.judge(75), Ok(146));
    }

    #[test]
    fn a_connection_that_was_told_to_end_is_let_go_soon_after_its_last_exchange() {
        let mut run = Run::new();
        run.at(10, |seen| (seen.busy, seen.served) = (true, 1));
        run.clocks.hurry();
        assert_eq!(run.judge(20), Ok(22));
        run.at(30, |seen| seen.busy = false);
        assert_eq!(run.judge(31), Ok(32));
        assert_eq!(run.judge(32), Err(Struck::Idle));
        let mut idle = Run::new();
        idle.clocks.hurry();
        assert_eq!(idle.judge(70), Err(Struck::Idle), "it was idle for long");
    }

    /// A request that began just before it had 2 s of a head's 10.
    #[test]
    fn a_head_that_begins_while_its_connection_ends_has_its_time() {
        let mut run = Run::new();
        run.at(10, |seen| (seen.busy, seen.served) = (true, 1));
        run.at(11, |seen| seen.busy = false);
        assert!(run.clocks.hurry() && !run.clocks.hurry());
        run.at(12, |seen| seen.begun = true);
        assert_eq!(run.judge(13), Ok(22));
        assert_eq!(run.judge(22), Err(Struck::Head));
    }

    #[test]
    fn a_head_must_come_in_10_s_of_its_first_byte_however_it_drips() {
        let mut run = Run::new();
        run.at(30, |seen| seen.begun = true);
        for second in 31..40 {
            run.at(second, |_| {});
            assert_eq!(run.judge(second), Ok(40));
        }
        assert_eq!(run.judge(40), Err(Struck::Head));
        run.at(40, |seen| {
            (seen.busy, seen.served, seen.begun) = (true, 1, false)
        });
        assert_eq!(run.judge(4000), Ok(4075));
    }

    #[test]
    fn a_busy_connection_waits_for_its_exchange() {
        let mut run = Run::new();
        run.at(1, |seen| {
            (seen.busy, seen.served, seen.begun) = (true, 1, true)
        });
        run.at(2, |_| {});
        assert_eq!(run.judge(1000), Ok(1075));
    }

    #[test]
    fn a_client_that_takes_nothing_for_60_s_is_cut() {
        let mut run = Run::new();
        run.at(5, |seen| {
            (seen.busy, seen.blocked, seen.sent) = (true, true, 10)
        });
        assert_eq!(run.judge(64), Ok(65));
        run.at(60, |seen| seen.sent = 11);
        assert_eq!(run.judge(65), Ok(120));
        assert_eq!(run.judge(120), Err(Struck::Stall));
        run.at(121, |seen| seen.blocked = false);
        assert!(run.judge(121).is_ok());
    }

    #[test]
    fn a_head_that_came_early_has_its_time_from_the_end_of_the_exchange_before() {
        let mut run = Run::new();
        run.at(1, |seen| {
            (seen.busy, seen.served, seen.begun) = (true, 1, true)
        });
        run.at(50, |seen| seen.busy = false);
        assert_eq!(run.judge(50), Ok(60));
        assert_eq!(run.judge(60), Err(Struck::Head));
    }
}
