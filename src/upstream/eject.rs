//! `eject`: an endpoint that fails again and again is left alone for a while.
//!
//! ```yaml
//! upstream: { endpoints: [8080, 8081], eject: { after: 5, for: 10s } }
//! ```
//!
//! Passive: what is counted is requests that were made anyway. Failures are a
//! refused or broken connection, no answer in time, one that is not HTTP, and
//! 502, 503 and 504. Never the last one: when all are out, all are tried.

use std::time::{Duration, Instant};

/// Failures in a row that are enough.
pub const AFTER: u32 = 5;
/// How long the first time out lasts.
pub const FOR: Duration = Duration::from_secs(10);
/// The longest time out; they double up to it.
pub const FOR_MAX: Duration = Duration::from_secs(300);

/// `eject` as meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// At least 1. Default [`AFTER`].
    pub after: u32,
    /// Default [`FOR`]; doubles up to [`FOR_MAX`], or is longer if it says so.
    pub first: Duration,
}

impl Default for Eject {
    fn default() -> Self {
        Self {
            after: AFTER,
            first: FOR,
        }
    }
}

/// A time out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// When it ends.
    pub until: Instant,
    /// How long it is in all: the next may be twice as long.
    pub length: Duration,
}

impl Eject {
    /// The next time out: twice as long as the last, if that ended no longer
    /// ago than it lasted.
    pub fn next(&self, last: Option<Ejection>, now: Instant) -> Ejection {
        let length = match last {
            Some(last) if now < last.until + last.length => {
                (last.length * 2).min(FOR_MAX.max(self.first))
            }
            _ => self.first,
        };
        Ejection {
            until: now + length,
            length,
        }
    }

    /// What the count of failures begins with after a time out: one more is enough then.
    pub fn probation(&self) -> u32 {
        self.after - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_double_while_nothing_gets_better() {
        let eject = Eject::default();
        let start = Instant::now();
        let mut last = None;
        let mut lengths = Vec::new();
        let mut now = start;
        for _ in 0..7 {
            let ejection = eject.next(last, now);
            lengths.push(ejection.length.as_secs());
            (last, now) = (Some(ejection), ejection.until);
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 300, 300]);
        // It was well for as long as it had been out.
        let later = now + Duration::from_secs(300);
        assert_eq!(eject.next(last, later).length, FOR);
    }
}
