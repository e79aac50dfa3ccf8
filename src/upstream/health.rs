//! `health_check`: an endpoint is asked now and then whether it is well.
//!
//! ```yaml
//! upstream:
//!   endpoints: [8080, 8081]
//!   health_check: { path: /healthz, every: 5s, timeout: 2s, status: 200-399, down_after: 3, up_after: 2 }
//! ```
//!
//! Without a `path` a connection is enough of an answer.
//!
//! The first probe comes at once and decides alone; after it `down_after`
//! failures in a row, or `up_after` successes, change what is thought. An
//! endpoint that is down is asked every second, where `every` is longer: whoever
//! restarts a server waits for it. Every probe is a GET over a connection of its
//! own, so that it shows whether the endpoint still takes connections. What our
//! own want of descriptors keeps from being asked counts neither way.

mod count;
mod probe;
mod supervise;

pub use self::supervise::supervise;

use std::ops::RangeInclusive;
use std::time::Duration;

/// How often an endpoint is asked.
pub const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// Failures in a row after which an endpoint is down.
pub const DOWN_AFTER: u32 = 3;
/// Successes in a row after which it is up again.
pub const UP_AFTER: u32 = 2;
/// Statuses that are well.
pub const STATUS: RangeInclusive<u16> = 200..=399;

/// `health_check` as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Begins with `/`; `None`: a connection is enough.
    pub path: Option<String>,
    /// The `Host` it asks for; `None`: the endpoint's own.
    pub host: Option<String>,
    /// Default [`EVERY`].
    pub every: Duration,
    /// Default [`TIMEOUT`].
    pub timeout: Duration,
    /// Default [`STATUS`].
    pub status: RangeInclusive<u16>,
    /// Default [`DOWN_AFTER`], at least 1.
    pub down_after: u32,
    /// Default [`UP_AFTER`], at least 1.
    pub up_after: u32,
}

#[cfg(test)]
mod tests;
