//! An upstream: the set of endpoints behind a route.
//!
//! Here is what all threads share of it: which endpoints there are
//! ([`registry`]) and which of them a request goes to ([`balance`]).
//! Connections are a thread's own (`upstream::client`).

mod assembly;
pub mod balance;
pub mod client;
pub mod discovery;
pub mod eject;
pub mod endpoint;
pub mod h1;
pub mod health;
pub mod member;
pub mod place;
pub mod protocol;
pub mod registry;
pub mod room;
mod settings;
pub mod sticky;
mod table;

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::balance::{Balance, Candidate, Draw};
use self::discovery::{Found, NameService};
use self::member::{Lease, Member, Origin};
use self::registry::{Outcome, Refused, Registry};
use self::room::Room;
use self::sticky::{Secret, Sticky};
use self::table::Table;
use crate::rt;

pub use self::endpoint::{Endpoint, Endpoints, Unfit};
pub use self::place::{Address, Named, Place};
pub use self::protocol::{EndpointSettings, ProtocolSettings, TlsSettings};
pub use self::settings::{ConnectTimeout, RESPONSE_TIMEOUT, Settings, WAIT_FOR_ENDPOINT};

/// What all upstreams of a process share. Outlives snapshots.
#[derive(Clone, Debug)]
pub struct Commons {
    /// One an address, whichever upstreams name it.
    pub endpoints: Endpoints,
    /// What sticky clients' cookies are signed with.
    pub secret: Secret,
    /// Told when upstreams or their members come or go: whoever watches them looks again.
    pub changed: Arc<watch::Sender<()>>,
    /// How many endpoints health checks ask at the moment.
    pub probed: Arc<AtomicUsize>,
    /// Who is asked for the addresses of names.
    pub names: NameService,
    /// How long a tunnel lives on that nothing leads to any more.
    pub retire_timeout: Duration,
}

/// How long a tunnel lives on once a changed configuration leads nobody to its
/// endpoint any more: as long as one at the end of the process.
pub const RETIRE_TIMEOUT: Duration = Duration::from_secs(30);

impl Commons {
    /// None yet of all that is shared, and the machine's own name servers.
    pub fn new(secret: Secret) -> Self {
        Self {
            endpoints: Endpoints::default(),
            secret,
            changed: Arc::new(watch::channel(()).0),
            probed: Arc::default(),
            names: NameService::default(),
            retire_timeout: RETIRE_TIMEOUT,
        }
    }
}

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    /// The site and, but for the site itself, the route: `app.xyz.com/api`.
    pub name: Arc<str>,
    settings: Settings,
    commons: Commons,
    /// Who there is at the moment.
    pub registry: Registry,
    /// What its settings name, with their weights.
    declared: Vec<(Arc<Endpoint>, u16)>,
    /// `None`: clients stick to no endpoint.
    pub sticky: Option<Sticky>,
    turn: AtomicUsize,
    /// There where `max_connections` bounds something.
    room: Option<Arc<Room>>,
    /// Requests that wait for an endpoint, or for a place at one.
    pub held: AtomicUsize,
}

/// What a request wants of an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The members that were tried.
    pub tried: &'a [u64],
    /// Whose hash chooses, with [`Balance::ClientHash`].
    pub client: IpAddr,
    /// What the client's cookie says.
    pub token: Option<&'a str>,
}

/// Who a request goes to.
#[derive(Debug)]
pub enum Pick {
    Lease(Lease),
    /// `max_connections` is reached wherever it could go.
    Full,
    /// All were tried, or there is none.
    Nobody,
}

impl Upstream {
    /// As `sites.yaml` has them.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The endpoints that its settings name, with their weights: what it has
    /// more or less than these was added or removed while it runs.
    pub fn declared(&self) -> &[(Arc<Endpoint>, u16)] {
        &self.declared
    }

    /// A member for an endpoint that comes while it runs, and has an address.
    pub fn member(
        &self,
        endpoint: &EndpointSettings,
        origin: Origin,
    ) -> Result<Arc<Member>, Unfit> {
        let written = endpoint.written().ok_or(Unfit::Named)?;
        self.member_behind(endpoint, &written, origin)
    }

    /// A member for what was found behind the name of an endpoint.
    fn member_behind(
        &self,
        endpoint: &EndpointSettings,
        found: &Found,
        origin: Origin,
    ) -> Result<Arc<Member>, Unfit> {
        assembly::make(
            &self.name,
            &self.settings,
            &self.commons,
            endpoint,
            found,
            origin,
        )
        .map(Arc::new)
    }

    /// One more endpoint; whoever watches members is told. Refused: one that is
    /// there already, and one more than [`registry::MEMBERS_MAX`].
    pub fn add(&self, member: Arc<Member>) -> Result<(), Refused> {
        self.registry.add(member)?;
        self.commons.changed.send_replace(());
        Ok(())
    }

    /// One less: it gets no more requests, and those under way go on to their
    /// end. `name`: such as `localhost:8080`. Refused: one that is not there, and
    /// without `force` the last.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Refused> {
        self.registry.remove(name, force)?;
        self.commons.changed.send_replace(());
        Ok(())
    }

    /// Makes the members of an origin these. Who is there already stays.
    pub fn replace(&self, origin: &Origin, found: Vec<Arc<Member>>) {
        self.registry.replace(origin, found);
        self.commons.changed.send_replace(());
    }

    /// Whether any endpoint can say that it did nothing with a request: over
    /// HTTP/2 even one that may not be sent twice can go again then.
    pub fn may_decline(&self) -> bool {
        let table = self.registry.table();
        let mut members = table.members.iter();
        members.any(|member| member.endpoint.protocol != protocol::Protocol::Http1)
    }

    /// The line of those who wait for a place, where there is one.
    pub fn room(&self) -> Option<&Room> {
        self.room.as_deref()
    }

    /// Who a request goes to now.
    pub fn pick(&self, wish: &Wish<'_>, now: Instant) -> Pick {
        let table = self.registry.current(now);
        if let Some(stuck) = wish.token.and_then(|token| table.stuck(token))
            && !wish.tried.contains(&stuck.id)
        {
            return self.lease(stuck).map_or(Pick::Full, Pick::Lease);
        }
        let full = Cell::new(false);
        let look = |place: u16| {
            let member = table.at(place);
            if wish.tried.contains(&member.id) {
                return None;
            }
            let in_flight = member.in_flight();
            if let Some(max) = self.settings.max_connections
                && in_flight >= max
            {
                full.set(true);
                return None;
            }
            Some(Candidate {
                key: member.key,
                weight: member.weight().max(1),
                in_flight,
            })
        };
        // Another thread may be quicker at a last place.
        for _ in 0..=table.members.len() {
            let place = match self.choose(&table, wish, look) {
                Some(place) => place,
                // One that is out is no better than a wait for a place.
                None if full.get() => return Pick::Full,
                None => match table.out.iter().find(|place| look(**place).is_some()) {
                    Some(place) => *place,
                    None if full.get() => return Pick::Full,
                    None => return Pick::Nobody,
                },
            };
            if let Some(lease) = self.lease(table.at(place)) {
                return Pick::Lease(lease);
            }
        }
        Pick::Full
    }

    fn choose(
        &self,
        table: &Table,
        wish: &Wish<'_>,
        look: impl Fn(u16) -> Option<Candidate>,
    ) -> Option<u16> {
        if let [only] = *table.round
            && table.rest.is_empty()
        {
            return look(only).map(|_| only);
        }
        let balance = self.settings.balance;
        let draw = Draw {
            turn: match balance {
                // Who failed has had its turn; another attempt takes none, or with
                // two endpoints the next request would come to the same one again.
                Balance::RoundRobin | Balance::LeastRequests if !wish.tried.is_empty() => {
                    self.turn.load(Ordering::Relaxed)
                }
                Balance::RoundRobin | Balance::LeastRequests => {
                    self.turn.fetch_add(1, Ordering::Relaxed)
                }
                Balance::Random | Balance::TwoChoices | Balance::ClientHash => 0,
            },
            dice: match balance {
                Balance::Random | Balance::TwoChoices => rt::random() as u64,
                Balance::RoundRobin | Balance::LeastRequests | Balance::ClientHash => 0,
            },
            client: match balance {
                Balance::ClientHash => hash(wish.client),
                Balance::RoundRobin
                | Balance::Random
                | Balance::LeastRequests
                | Balance::TwoChoices => 0,
            },
        };
        balance::choose(balance, &table.round, draw, &look).or_else(|| {
            table
                .rest
                .iter()
                .copied()
                .find(|place| look(*place).is_some())
        })
    }

    fn lease(&self, member: &Arc<Member>) -> Option<Lease> {
        match self.settings.max_connections {
            None => Some(Lease::take(member)),
            Some(max) => Lease::take_below(max, member, self.room.as_ref()),
        }
    }

    /// Whether anyone is left to be asked.
    pub fn has_another(&self, tried: &[u64]) -> bool {
        self.has_untried(tried, |_| true)
    }

    /// Whether one is left of which no health check thinks that it is down.
    pub fn has_another_up(&self, tried: &[u64]) -> bool {
        self.has_untried(tried, |member| !member.is_down())
    }

    fn has_untried(&self, tried: &[u64], fits: impl Fn(&Member) -> bool) -> bool {
        let table = self.registry.table();
        let places = table.round.iter().chain(&table.rest).chain(&table.out);
        let mut members = places.map(|place| table.at(*place));
        members.any(|member| !tried.contains(&member.id) && fits(member))
    }

    /// How an attempt went.
    pub fn report(&self, lease: &Lease, outcome: Outcome, now: Instant) {
        self.registry.report(&lease.member, outcome, now);
    }
}

fn hash(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(v4) => balance::stable_hash(&v4.octets()),
        IpAddr::V6(v6) => balance::stable_hash(&v6.octets()),
    }
}

#[cfg(test)]
mod tests;
