//! How an upstream is made, and what it keeps of the one before it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::member::{Member, Origin};
use super::place::Place;
use super::registry::{self, Registry};
use super::sticky::Sticky;
use super::{Commons, Endpoint, EndpointSettings, Found, Settings, Unfit, Upstream};

impl Upstream {
    /// An upstream of a route. What `previous` knows of endpoints that both
    /// have stays known, and what was added, removed or weighed by hand stays
    /// so. One that is named twice, in whatever spelling, is one.
    pub fn new(
        site: &str,
        prefix: &str,
        settings: Settings,
        commons: &Commons,
        previous: Option<&Self>,
    ) -> Self {
        let name: Arc<str> = match prefix {
            "/" => site.into(),
            prefix => format!("{site}{prefix}").into(),
        };
        let known = previous.map_or_else(Vec::new, |previous| previous.kept_by(&settings));
        let mut members: Vec<Arc<Member>> = Vec::with_capacity(settings.endpoints.len());
        let mut declared = Vec::with_capacity(settings.endpoints.len());
        let mut join = |member: Member| {
            let id = member.endpoint.id;
            let is_there = members.iter().any(|other| other.endpoint.id == id);
            if is_there || members.len() >= registry::MEMBERS_MAX {
                return;
            }
            if member.origin == Origin::File {
                declared.push((member.endpoint.clone(), member.weight()));
                if previous.is_some_and(|previous| previous.lacks_by_hand(id)) {
                    return;
                }
            }
            if let Some(weight) = previous.and_then(|previous| previous.weighed_by_hand(&member)) {
                member.set_weight(weight);
            }
            let kept = known.iter().find(|known| known.endpoint.id == id);
            members.push(match kept {
                Some(kept) if kept.may_stay_as(&member) => {
                    kept.set_weight(member.weight());
                    kept.clone()
                }
                Some(_) | None => {
                    let is_drained = previous.is_some_and(|previous| previous.drains_by_hand(id));
                    member.condition().draining = is_drained;
                    Arc::new(member)
                }
            });
        };
        for endpoint in &settings.endpoints {
            let make = |found, origin| make(&name, &settings, commons, endpoint, found, origin);
            if let Some(written) = endpoint.written() {
                let member = make(&written, Origin::File);
                join(member.expect("every CA that a configuration names was read"));
                continue;
            }
            // What a name led to holds until it is looked up again.
            let found = previous.map_or_else(Vec::new, |previous| previous.found(endpoint));
            for found in &found {
                if let Ok(member) = make(found, Origin::behind(endpoint)) {
                    join(member);
                }
            }
        }
        for added in previous.into_iter().flat_map(Self::added_by_hand) {
            let is_it = |other: &Arc<Member>| other.endpoint.id == added.endpoint.id;
            if members.iter().any(is_it) || members.len() >= registry::MEMBERS_MAX {
                continue;
            }
            let token = token(&name, &settings, commons, &added.endpoint);
            // Under another health check nobody would say that it is up again.
            members.push(match known.iter().any(is_it) && added.token == token {
                true => added,
                false => Arc::new(added.anew(token)),
            });
        }
        Self {
            registry: Registry::new(name.clone(), settings.eject, members),
            declared,
            name,
            sticky: settings.sticky.then(|| Sticky::new(prefix)),
            room: settings.max_connections.map(|_| Arc::default()),
            settings,
            commons: commons.clone(),
            turn: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }
    }

    /// The members whose condition holds under other settings too.
    fn kept_by(&self, settings: &Settings) -> Vec<Arc<Member>> {
        let same = self.settings.health_check == settings.health_check
            && self.settings.eject == settings.eject;
        if same {
            self.registry.members()
        } else {
            Vec::new()
        }
    }

    /// Its member of an endpoint.
    fn has(&self, id: u64) -> Option<Arc<Member>> {
        let table = self.registry.table();
        let mut members = table.members.iter();
        members.find(|member| member.endpoint.id == id).cloned()
    }

    /// The weight that its settings give an endpoint.
    fn declared_weight(&self, id: u64) -> Option<u16> {
        let mut declared = self.declared.iter();
        declared
            .find(|(endpoint, _)| endpoint.id == id)
            .map(|(_, weight)| *weight)
    }

    /// Whether its settings name the endpoint, and it was removed by hand.
    fn lacks_by_hand(&self, id: u64) -> bool {
        self.declared_weight(id).is_some() && self.has(id).is_none()
    }

    /// Whether the endpoint gets no more requests, by hand.
    fn drains_by_hand(&self, id: u64) -> bool {
        self.has(id)
            .is_some_and(|member| member.condition().draining)
    }

    /// The weight that was set by hand, unless the settings have another since.
    fn weighed_by_hand(&self, member: &Member) -> Option<u16> {
        let declared = self.declared_weight(member.endpoint.id)?;
        let by_hand = self.has(member.endpoint.id)?.weight();
        (by_hand != declared && declared == member.weight()).then_some(by_hand)
    }

    fn added_by_hand(&self) -> Vec<Arc<Member>> {
        let mut members = self.registry.members();
        members.retain(|member| member.origin == Origin::Runtime);
        members
    }

    /// What the name of an endpoint led to, weighed as the endpoint says now.
    pub(super) fn found(&self, endpoint: &EndpointSettings) -> Vec<Found> {
        let origin = Origin::behind(endpoint);
        let members = self.registry.members();
        let members = members.iter().filter(|member| member.origin == origin);
        members
            .map(|member| Found {
                spot: member.endpoint.spot(),
                // A service weighs each of its targets.
                weight: match &endpoint.place {
                    Place::Service(_) => member.weight(),
                    Place::At(_) | Place::Name(_) => endpoint.weight,
                },
                backup: member.backup && matches!(endpoint.place, Place::Service(_))
                    || endpoint.backup,
            })
            .collect()
    }

    /// Whether another has the same settings and the same endpoints: a CA's
    /// file may have changed though its name did not.
    pub fn is_as(&self, other: &Self) -> bool {
        let ids = |upstream: &Self| -> Vec<u64> {
            let declared = upstream.declared.iter().map(|(endpoint, _)| endpoint.id);
            let members = upstream.registry.members();
            let found = members
                .iter()
                .filter(|member| matches!(member.origin, Origin::Discovered(_)))
                .map(|member| member.endpoint.id);
            declared.chain(found).collect()
        };
        self.name == other.name && self.settings == other.settings && ids(self) == ids(other)
    }
}

/// A member for an endpoint, or for one of what its name led to.
pub(super) fn make(
    upstream: &str,
    settings: &Settings,
    commons: &Commons,
    endpoint: &EndpointSettings,
    found: &Found,
    origin: Origin,
) -> Result<Member, Unfit> {
    let timeout = settings.connect_timeout;
    let running = commons.endpoints.of(endpoint, &found.spot, timeout)?;
    let token = token(upstream, settings, commons, &running);
    let (weight, backup) = (found.weight, found.backup);
    Ok(Member::new(running, weight, backup, origin, token))
}

/// What a client that sticks to an endpoint is told; empty without `sticky`.
fn token(upstream: &str, settings: &Settings, commons: &Commons, endpoint: &Endpoint) -> String {
    match settings.sticky {
        true => commons.secret.token(upstream, &endpoint.name),
        false => String::new(),
    }
}
