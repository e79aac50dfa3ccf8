//! A request that waits: for a restarting endpoint, for one at all, or for a
//! place at one. Bounded in number by [`HELD_MAX`], and in time by
//! `wait_for_endpoint`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{HELD_MAX, failure};
use crate::error::ProxyError;
use crate::upstream::client::wire::ConnectError;
use crate::upstream::member::Lease;
use crate::upstream::{Endpoint, Pick, Upstream};

/// The first pause between two looks at endpoints that are not there; doubles
/// up to [`PAUSE_LAST`].
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_millis(250);

/// A request that may have to wait. Dropped, it waits no more.
pub(super) struct Hold<'a> {
    upstream: &'a Upstream,
    since: Option<Instant>,
    /// Waited before, until somebody answered.
    before: Duration,
    pause: Duration,
}

impl<'a> Hold<'a> {
    pub(super) fn new(upstream: &'a Upstream) -> Self {
        Self {
            upstream,
            since: None,
            before: Duration::ZERO,
            pause: PAUSE_FIRST,
        }
    }

    /// Pauses before all endpoints are tried again, after each refused; gives
    /// the failure once that is no use: not refused, not near, or too long already.
    pub(super) async fn for_restart(
        &mut self,
        error: &ConnectError,
        endpoint: &Endpoint,
    ) -> Result<(), ProxyError> {
        let restarting = matches!(error, ConnectError::Refused(_)) && endpoint.address.is_near();
        match restarting && self.begin()? {
            true => {
                self.pause().await;
                Ok(())
            }
            false => Err(failure::unconnected(error, &endpoint.name, self.waited())),
        }
    }

    /// Pauses while there is no endpoint that takes requests.
    pub(super) async fn for_somebody(&mut self) -> Result<(), ProxyError> {
        if !self.begin()? {
            return Err(ProxyError::NoEndpoint {
                upstream: self.upstream.name.to_string(),
                waited: self.waited(),
            });
        }
        self.pause().await;
        Ok(())
    }

    /// Waits in line for a place at an endpoint. `pick` asks for one.
    pub(super) async fn for_room(
        &mut self,
        mut pick: impl FnMut() -> Pick,
    ) -> Result<Option<Lease>, ProxyError> {
        let full = |hold: &Self| ProxyError::EndpointsFull {
            upstream: hold.upstream.name.to_string(),
            waited: hold.waited(),
        };
        let (Some(room), true) = (self.upstream.room(), self.begin()?) else {
            return Err(full(self));
        };
        let left = self.limit().saturating_sub(self.waited());
        let look = || match pick() {
            Pick::Lease(lease) => Some(Some(lease)),
            // All that is left to be asked is gone: the attempts decide.
            Pick::Nobody => Some(None),
            Pick::Full => None,
        };
        match tokio::time::timeout(left, room.wait(look)).await {
            Ok(found) => Ok(found),
            Err(_) => Err(full(self)),
        }
    }

    /// Somebody answers to it.
    pub(super) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.before += since.elapsed();
            self.upstream.held.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How long it has waited in all.
    pub(super) fn total(&self) -> Duration {
        self.before + self.waited()
    }

    /// Counts it among those that wait; whether it may still.
    fn begin(&mut self) -> Result<bool, ProxyError> {
        if self.waited() >= self.limit() {
            return Ok(false);
        }
        if self.since.is_none() {
            let waiting = self.upstream.held.fetch_add(1, Ordering::Relaxed);
            self.since = Some(Instant::now());
            if waiting >= HELD_MAX {
                return Err(ProxyError::TooManyWaiting { waiting });
            }
        }
        Ok(true)
    }

    async fn pause(&mut self) {
        let left = self.limit().saturating_sub(self.waited());
        tokio::time::sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 2).min(PAUSE_LAST);
    }

    fn limit(&self) -> Duration {
        self.upstream.settings().wait_for_endpoint
    }

    fn waited(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
