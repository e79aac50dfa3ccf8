//! An endpoint: one address, as all upstreams that name it share it.
//!
//! Sites that lead to the same port share its connections, and a reload keeps
//! them. What one upstream thinks of an endpoint is its [`super::member`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::ConnectTimeout;
use super::place::{Address, Named, Spot};
use super::protocol::{EndpointSettings, Protocol, Trust};

/// How long a connect to this machine may take.
const CONNECT_TIMEOUT_NEAR: Duration = Duration::from_secs(1);
/// How long one to another machine may take.
const CONNECT_TIMEOUT_FAR: Duration = Duration::from_secs(3);

type Key = (Spot, Protocol, Duration);

/// All endpoints of a process, one an address.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    endpoints: HashMap<Key, Weak<Endpoint>>,
    /// By the file that the configuration names; `None`: the system's.
    trusts: HashMap<Option<PathBuf>, Trust>,
}

/// Why an endpoint cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No certificates were read to hold an endpoint's against.
    #[error("no CA was read that could vouch for the endpoint")]
    NoTrust,
    /// No certificate can be for the name that it would have to be for.
    #[error("no certificate can be for its name")]
    NoCertificate,
    /// Only what `sites.yaml` names is looked up.
    #[error("a name that is to be looked up stands in sites.yaml")]
    Named,
}

impl Endpoints {
    /// Sets what certificates of endpoints are held against from now on.
    pub fn trust(&self, trusts: impl Iterator<Item = (Option<PathBuf>, Trust)>) {
        self.known().trusts = trusts.collect();
    }

    /// The endpoint that is meant, in one of its spots: the one that is there
    /// already, or a new one. Unfit: its certificate could not be verified.
    pub fn of(
        &self,
        settings: &EndpointSettings,
        spot: &Spot,
        timeout: ConnectTimeout,
    ) -> Result<Arc<Endpoint>, Unfit> {
        let timeout = within(timeout, &spot.address);
        let mut known = self.known();
        let protocol = Protocol::of(settings, |ca| known.trusts.get(ca).cloned())?;
        let key = (spot.clone(), protocol, timeout);
        if let Some(endpoint) = known.endpoints.get(&key).and_then(Weak::upgrade) {
            return Ok(endpoint);
        }
        known
            .endpoints
            .retain(|_, endpoint| endpoint.strong_count() > 0);
        let endpoint = Arc::new(Endpoint::new(settings, spot, key.1.clone(), timeout));
        known.endpoints.insert(key, Arc::downgrade(&endpoint));
        Ok(endpoint)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One address.
#[derive(Debug)]
pub struct Endpoint {
    /// Never used twice in a process: connections are kept under it.
    pub id: u64,
    /// Where it listens.
    pub address: Address,
    /// What is spoken to it.
    pub protocol: Protocol,
    /// The endpoint as it is told in logs: `db.internal:8080@10.0.0.7` where a
    /// name leads to it.
    pub name: Arc<str>,
    /// The name that leads to it, where one does.
    behind: Option<Named>,
    /// The `Host` that tells of nothing but the endpoint.
    host: Arc<str>,
    /// With the handshake, over TLS. Default 1 s on this machine, 3 s elsewhere.
    pub connect_timeout: Duration,
    /// For a port: `::1` was the last that worked.
    prefers_v6: AtomicBool,
    /// How many upstreams have it.
    pub(super) members: AtomicUsize,
    /// Over TLS: the endpoint chose HTTP/1.1 the last time.
    pub(super) chose_http1: AtomicBool,
}

impl Endpoint {
    fn new(
        settings: &EndpointSettings,
        spot: &Spot,
        protocol: Protocol,
        connect_timeout: Duration,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            connect_timeout,
            name: format!("{}{spot}", settings.protocol.scheme()).into(),
            host: spot.host(protocol.default_port()).into(),
            behind: spot.behind.clone(),
            address: spot.address.clone(),
            protocol,
            prefers_v6: AtomicBool::new(false),
            members: AtomicUsize::new(0),
            chose_http1: AtomicBool::new(false),
        }
    }

    /// The `Host` of a request to it that shall not tell a public name.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn spot(&self) -> Spot {
        Spot {
            address: self.address.clone(),
            behind: self.behind.clone(),
        }
    }

    /// Whether no upstream has it any more.
    pub fn is_retired(&self) -> bool {
        self.members.load(Ordering::Relaxed) == 0
    }

    /// The two addresses of a port, the one that worked last first.
    pub(super) fn loopbacks(&self, port: u16) -> [SocketAddr; 2] {
        let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
        if self.prefers_v6.load(Ordering::Relaxed) {
            [v6, v4]
        } else {
            [v4, v6]
        }
    }

    pub(super) fn worked(&self, address: SocketAddr) {
        if address.is_ipv6() != self.prefers_v6.load(Ordering::Relaxed) {
            self.prefers_v6.store(address.is_ipv6(), Ordering::Relaxed);
        }
    }
}

fn within(timeout: ConnectTimeout, address: &Address) -> Duration {
    match timeout {
        ConnectTimeout::Of(timeout) => timeout,
        ConnectTimeout::ByDistance if address.is_near() => CONNECT_TIMEOUT_NEAR,
        ConnectTimeout::ByDistance => CONNECT_TIMEOUT_FAR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_endpoint_for_as_long_as_someone_has_it() {
        let known = Endpoints::default();
        let of = |port| {
            let settings = EndpointSettings::from(Address::Port(port));
            let spot = settings.written().unwrap().spot;
            known
                .of(&settings, &spot, ConnectTimeout::default())
                .unwrap()
        };
        let (first, second) = (of(1), of(2));
        assert_eq!(of(1).id, first.id);
        assert_ne!(first.id, second.id);
        let id = first.id;
        drop(first);
        assert_ne!(of(1).id, id);
        assert_eq!(of(2).id, second.id);
    }
}
