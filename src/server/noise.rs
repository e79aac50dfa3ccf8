//! What strangers throw at a public port all day: counted, and told once a minute.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Counts of connections that never became an exchange.
#[derive(Default)]
pub(super) struct Noise {
    handshakes: AtomicU64,
    heads: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    proxy_headers: AtomicU64,
    abuses: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Noise {
    /// A TLS handshake that failed.
    pub(super) fn handshake(&self) {
        self.count(&self.handshakes);
    }

    /// A head that did not come in time.
    pub(super) fn head(&self) {
        self.count(&self.heads);
    }

    /// Bytes that are no request.
    pub(super) fn request(&self) {
        self.count(&self.requests);
    }

    /// A connection over an address's share.
    pub(super) fn refused(&self) {
        self.count(&self.refused);
    }

    /// A connection of a listed proxy that did not begin with its header.
    pub(super) fn proxy_header(&self) {
        self.count(&self.proxy_headers);
    }

    /// A connection that was cut for a flood.
    pub(super) fn abuse(&self) {
        self.count(&self.abuses);
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut told = self
            .told
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if told.is_some_and(|told| now.duration_since(told) < TOLD_EVERY) {
            return;
        }
        *told = Some(now);
        tracing::info!(
            failed_handshakes = self.handshakes.load(Ordering::Relaxed),
            late_heads = self.heads.load(Ordering::Relaxed),
            malformed_requests = self.requests.load(Ordering::Relaxed),
            malformed_proxy_headers = self.proxy_headers.load(Ordering::Relaxed),
            floods_cut = self.abuses.load(Ordering::Relaxed),
            connections_over_limit = self.refused.load(Ordering::Relaxed),
            "connections that made no request, or too many, since the start",
        );
    }
}
