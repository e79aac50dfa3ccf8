//! Streams that a client resets before they are answered (CVE-2023-44487).
//!
//! A page with thousands of modules that is reloaded over and over resets
//! hundreds; an attack resets without end. Each costs a point, and time gives
//! points back; answers give none, or cheap ones would pay for dear resets.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::rt::clock;

/// How many points a connection has: eight reloads of a page that has all its streams open.
const POINTS_MAX: u32 = 2000;
/// How many come back in a second.
const POINTS_PER_SECOND: u32 = 100;

/// What a connection has spent.
#[derive(Debug)]
pub(super) struct Abuse {
    spent: Cell<u32>,
    since: Cell<Instant>,
}

impl Default for Abuse {
    fn default() -> Self {
        Self {
            spent: Cell::new(0),
            since: Cell::new(clock::now()),
        }
    }
}

impl Abuse {
    /// The client reset a stream that had no answer yet.
    pub(super) fn unserved(&self) {
        self.unserved_at(clock::now());
    }

    fn unserved_at(&self, now: Instant) {
        let seconds = now.saturating_duration_since(self.since.get()).as_secs();
        if seconds > 0 {
            self.since
                .set(self.since.get() + Duration::from_secs(seconds));
            let back = u32::try_from(seconds).unwrap_or(u32::MAX);
            let back = back.saturating_mul(POINTS_PER_SECOND);
            self.spent.set(self.spent.get().saturating_sub(back));
        }
        self.spent.set(self.spent.get() + 1);
    }

    /// Whether the client has had its share.
    pub(super) fn is_too_much(&self) -> bool {
        self.spent.get() > POINTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_without_answers_are_too_much_and_reloads_are_not() {
        let now = Instant::now();
        let page = Abuse::default();
        for reload in 0..100 {
            for _ in 0..250 {
                page.unserved_at(now + Duration::from_secs(3 * reload));
            }
        }
        assert!(!page.is_too_much());
        let attack = Abuse::default();
        for _ in 0..=POINTS_MAX {
            attack.unserved_at(now);
        }
        assert!(attack.is_too_much());
        attack.unserved_at(now + Duration::from_secs(2));
        assert!(!attack.is_too_much());
    }
}
