//! A request before a gate that is shut: it waits, or is turned away.

use std::time::{Duration, Instant};

use crate::error::ProxyError;
use crate::site::Site;
use crate::site::gate::State;

/// The most requests that wait for one paused site.
pub const HELD_MAX: usize = 1024;
/// How long each of them waits: less than a drain takes, so that a stop need
/// not cut them.
pub const HELD_TIMEOUT: Duration = Duration::from_secs(25);

/// Waits until a request may come in.
///
/// Dropping the future gives the place in line up.
pub(super) async fn pass(site: &Site) -> Result<(), ProxyError> {
    let gate = &site.gate;
    let waiting = gate.waiting();
    if waiting >= HELD_MAX && gate.state() == State::Paused {
        return Err(ProxyError::TooManyPaused {
            site: site.name.to_string(),
            waiting,
        });
    }
    let began = Instant::now();
    match tokio::time::timeout(HELD_TIMEOUT, gate.wait()).await {
        Ok(State::Open) => Ok(()),
        Ok(State::Stopped(notice)) => Err(ProxyError::Stopped {
            site: site.name.to_string(),
            notice: notice.map(|notice| notice.as_str().to_owned()),
        }),
        Ok(State::Paused) | Err(_) => Err(ProxyError::Paused {
            site: site.name.to_string(),
            waited: began.elapsed(),
        }),
    }
}
