//! An upstream: the set of endpoints behind a route.
//!
//! Here is what all threads share of it: which endpoints there are and whose
//! turn it is. Connections are a thread's own (`upstream::client`).

pub mod client;
pub mod h1;
pub mod protocol;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use self::protocol::{Protocol, Trust};

pub use self::protocol::{EndpointSettings, ProtocolSettings, TlsSettings};

/// How long a refused request waits for a loopback endpoint that is probably restarting.
pub const WAIT_FOR_ENDPOINT: Duration = Duration::from_secs(5);
/// How long an endpoint may take to begin its answer: dev servers compile.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT_NEAR: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT_FAR: Duration = Duration::from_secs(3);

/// `upstream` as meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At least one.
    pub endpoints: Vec<EndpointSettings>,
    pub connect_timeout: ConnectTimeout,
    /// Default [`RESPONSE_TIMEOUT`].
    pub response_timeout: Duration,
    /// Default [`WAIT_FOR_ENDPOINT`]; zero: fail at once.
    pub wait_for_endpoint: Duration,
}

impl Settings {
    /// These endpoints, and the default for all else.
    pub fn of(endpoints: Vec<EndpointSettings>) -> Self {
        Self {
            endpoints,
            connect_timeout: ConnectTimeout::default(),
            response_timeout: RESPONSE_TIMEOUT,
            wait_for_endpoint: WAIT_FOR_ENDPOINT,
        }
    }
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A port of this machine: `127.0.0.1` and `::1` are both tried, the last
    /// that worked first.
    Port(u16),
    Socket(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Whether the endpoint is on this machine.
    pub fn is_near(&self) -> bool {
        match self {
            Self::Port(_) | Self::Unix(_) => true,
            Self::Socket(address) => address.ip().is_loopback(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "localhost:{port}"),
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How long a connect to an endpoint may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectTimeout {
    /// 1 s on this machine, 3 s elsewhere.
    #[default]
    ByDistance,
    Of(Duration),
}

/// The running set.
#[derive(Debug)]
pub struct Upstream {
    settings: Settings,
    endpoints: Vec<Arc<Endpoint>>,
    turn: AtomicUsize,
    /// Requests held until an endpoint accepts again.
    pub held: AtomicUsize,
}

impl Upstream {
    /// The endpoints of the settings, from those that are known already. One
    /// that is named twice, in whatever spelling, is one.
    pub fn new(settings: Settings, known: &mut Endpoints) -> Self {
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(settings.endpoints.len());
        for endpoint in &settings.endpoints {
            let endpoint = known.of(endpoint, settings.connect_timeout);
            if endpoints.iter().all(|other| other.id != endpoint.id) {
                endpoints.push(endpoint);
            }
        }
        Self {
            settings,
            endpoints,
            turn: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether another has the same settings and the same endpoints: a CA's
    /// file may have changed though its name did not.
    pub fn is_as(&self, other: &Self) -> bool {
        let ids = |upstream: &Self| -> Vec<u64> {
            upstream
                .endpoints
                .iter()
                .map(|endpoint| endpoint.id)
                .collect()
        };
        self.settings == other.settings && ids(self) == ids(other)
    }

    /// Whether any endpoint can say that it did nothing with a request: over
    /// HTTP/2 even one that may not be sent twice can go again then.
    pub fn may_decline(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| endpoint.protocol != Protocol::Http1)
    }

    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoint whose turn it is, of those that were not tried yet; `None`
    /// once all were.
    pub fn pick(&self, tried: &[u64]) -> Option<&Arc<Endpoint>> {
        let count = self.endpoints.len();
        if let [only] = self.endpoints.as_slice() {
            return (!tried.contains(&only.id)).then_some(only);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..count)
            .map(|step| &self.endpoints[(turn + step) % count])
            .find(|endpoint| !tried.contains(&endpoint.id))
    }
}

/// All endpoints of a snapshot, one an address: sites that lead to the same
/// port share its connections, and a reload keeps them.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    known: HashMap<(Address, Protocol, Duration), Arc<Endpoint>>,
    /// By the file that the configuration names; `None`: the system's.
    trusts: HashMap<Option<PathBuf>, Trust>,
}

impl Endpoints {
    /// Sets what certificates of endpoints are held against from now on.
    pub fn trust(&mut self, trusts: impl Iterator<Item = (Option<PathBuf>, Trust)>) {
        self.trusts = trusts.collect();
    }

    fn of(&mut self, settings: &EndpointSettings, timeout: ConnectTimeout) -> Arc<Endpoint> {
        let timeout = within(timeout, &settings.address);
        let protocol = Protocol::of(settings, |ca| {
            let trust = self.trusts.get(ca);
            trust
                .expect("every CA that a configuration names was read")
                .clone()
        });
        self.known
            .entry((settings.address.clone(), protocol.clone(), timeout))
            .or_insert_with(|| Arc::new(Endpoint::new(settings, protocol, timeout)))
            .clone()
    }

    /// Forgets those that no upstream has any more, and tells them so.
    pub fn settle(&mut self, upstreams: impl Iterator<Item = Arc<Upstream>>) {
        let used: HashSet<u64> = upstreams
            .flat_map(|upstream| {
                upstream
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.id)
                    .collect::<Vec<_>>()
            })
            .collect();
        self.known.retain(|_, endpoint| {
            let stays = used.contains(&endpoint.id);
            if !stays {
                endpoint.retired.store(true, Ordering::Relaxed);
            }
            stays
        });
    }
}

/// One address, as all upstreams that name it share it.
#[derive(Debug)]
pub struct Endpoint {
    /// Never used twice in a process: connections are kept under it.
    pub id: u64,
    pub address: Address,
    pub protocol: Protocol,
    /// The endpoint as it is told in logs.
    pub name: Arc<str>,
    pub connect_timeout: Duration,
    /// For a port: `::1` was the last that worked.
    prefers_v6: AtomicBool,
    /// No snapshot has it any more.
    retired: AtomicBool,
    /// Over TLS: the endpoint chose HTTP/1.1 the last time.
    chose_http1: AtomicBool,
}

impl Endpoint {
    fn new(settings: &EndpointSettings, protocol: Protocol, connect_timeout: Duration) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            connect_timeout,
            name: settings.to_string().into(),
            address: settings.address.clone(),
            protocol,
            prefers_v6: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            chose_http1: AtomicBool::new(false),
        }
    }

    /// Whether no snapshot has it any more.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// The two addresses of a port, the one that worked last first.
    fn loopbacks(&self, port: u16) -> [SocketAddr; 2] {
        let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
        if self.prefers_v6.load(Ordering::Relaxed) {
            [v6, v4]
        } else {
            [v4, v6]
        }
    }

    fn worked(&self, address: SocketAddr) {
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

    fn settings(ports: &[u16]) -> Settings {
        let endpoints = ports.iter().copied().map(Address::Port);
        Settings::of(endpoints.map(EndpointSettings::from).collect())
    }

    fn upstream(ports: &[u16]) -> Upstream {
        Upstream::new(settings(ports), &mut Endpoints::default())
    }

    #[test]
    fn endpoints_take_turns() {
        let upstream = upstream(&[1, 2, 3]);
        let turns: Vec<_> = (0..6)
            .map(|_| upstream.pick(&[]).unwrap().address.to_string())
            .collect();
        assert_eq!(turns[..3], turns[3..]);
        assert_eq!(turns[..3], ["localhost:1", "localhost:2", "localhost:3"]);
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let upstream = upstream(&[1, 2]);
        let first = upstream.pick(&[]).unwrap().id;
        let second = upstream.pick(&[first]).unwrap().id;
        assert_ne!(first, second);
        assert!(upstream.pick(&[first, second]).is_none());
    }

    #[test]
    fn an_address_is_one_endpoint_for_as_long_as_it_is_named() {
        let mut known = Endpoints::default();
        let first = Upstream::new(settings(&[1, 2]), &mut known);
        let second = Arc::new(Upstream::new(settings(&[2, 3]), &mut known));
        assert_eq!(first.endpoints[1].id, second.endpoints[0].id);
        known.settle([second.clone()].into_iter());
        let third = Upstream::new(settings(&[1, 2]), &mut known);
        assert_ne!(third.endpoints[0].id, first.endpoints[0].id);
        assert_eq!(third.endpoints[1].id, second.endpoints[0].id);
    }
}
