//! What was changed while hostmux runs and stands in no file: told in `status`
//! and `diff`, and handed to the next process, which repeats it, at an upgrade.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change;
use super::refusal::Refusal;
use super::request::{Change, Endpoints};
use super::status::ordered;
use crate::path::PathPrefix;
use crate::site::Site;
use crate::site::gate::{Notice, State};
use crate::snapshot::Snapshot;
use crate::upstream::member;
use crate::upstream::member::Origin;
use crate::upstream::registry::WEIGHT_MAX;

/// One change. Sites and endpoints as `status` names them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
enum ByHand {
    Paused {
        site: String,
    },
    Stopped {
        site: String,
        message: String,
    },
    Added(Place),
    Removed(Place),
    Draining(Place),
    Weight {
        at: Place,
        /// What the file says.
        #[serde(default)]
        was: u16,
        weight: u16,
    },
}

/// An endpoint of a route.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    site: String,
    prefix: String,
    endpoint: String,
}

/// All changes by hand, in an order in which they can be repeated.
pub(in crate::server) fn list(snapshot: &Snapshot) -> Vec<Value> {
    let changes = all(snapshot).into_iter();
    changes
        .filter_map(|change| serde_json::to_value(change).ok())
        .collect()
}

/// The same for people: where what runs differs from the file.
pub(super) fn told(snapshot: &Snapshot) -> Value {
    all(snapshot).iter().map(ByHand::told).collect()
}

fn all(snapshot: &Snapshot) -> Vec<ByHand> {
    let now = Instant::now();
    let sites = ordered(snapshot);
    sites.iter().flat_map(|site| of_site(site, now)).collect()
}

fn of_site(site: &Site, now: Instant) -> Vec<ByHand> {
    let mut changes = Vec::new();
    let name = site.name.to_string();
    match site.gate.state() {
        State::Open => {}
        State::Paused => changes.push(ByHand::Paused { site: name }),
        State::Stopped(notice) => changes.push(ByHand::Stopped {
            site: name,
            message: notice.map_or_else(String::new, |notice| notice.as_str().to_owned()),
        }),
    }
    for route in &site.routes {
        let Some(upstream) = route.upstream() else {
            continue;
        };
        // An inherited one is told where it is its own.
        if !route.prefix.is_root() && *upstream.name == *site.name {
            continue;
        }
        let at = |endpoint: &str| Place {
            site: site.name.to_string(),
            prefix: route.prefix.as_str().to_owned(),
            endpoint: endpoint.to_owned(),
        };
        let members = upstream.registry.members();
        let declared = upstream.declared();
        for member in &members {
            let name = &member.endpoint.name;
            let is_runtime = member.origin == Origin::Runtime;
            if is_runtime {
                changes.push(ByHand::Added(at(name)));
            }
            if member.state(now) == member::State::Draining {
                changes.push(ByHand::Draining(at(name)));
            }
            let mut written = declared.iter();
            let written = written.find(|(endpoint, _)| endpoint.id == member.endpoint.id);
            let weight = written.map_or(1, |(_, weight)| *weight);
            if (written.is_some() || is_runtime) && member.weight() != weight {
                changes.push(ByHand::Weight {
                    at: at(name),
                    was: weight,
                    weight: member.weight(),
                });
            }
        }
        // Last, so that no route is without an endpoint in between.
        let gone = declared.iter().filter(|(endpoint, _)| {
            let mut members = members.iter();
            !members.any(|member| member.endpoint.id == endpoint.id)
        });
        changes.extend(gone.map(|(endpoint, _)| ByHand::Removed(at(&endpoint.name))));
    }
    changes
}

/// Repeats what another process was told. What makes no sense any more, since
/// the file has changed, is told and left.
pub fn repeat(snapshot: &Snapshot, changes: &[Value]) {
    let (mut repeated, mut left) = (0, 0);
    for change in changes {
        match again(snapshot, change) {
            Ok(()) => repeated += 1,
            Err(refusal) => {
                left += 1;
                tracing::warn!(%change, why = refusal.why(), "a change by hand is not kept");
            }
        }
    }
    if !changes.is_empty() {
        tracing::info!(
            kept = repeated,
            lost = left,
            "changes by hand were handed over"
        );
    }
}

fn again(snapshot: &Snapshot, change: &Value) -> Result<(), Refusal> {
    let change: ByHand = serde_json::from_value(change.clone())
        .map_err(|error| Refusal::senseless(error.to_string(), ""))?;
    let done = match change {
        ByHand::Paused { site } => change::gate(snapshot, &site, State::Paused),
        ByHand::Stopped { site, message } => {
            let notice = Notice::parse(&message)
                .map_err(|wrong| Refusal::senseless(wrong.to_string(), ""))?;
            change::gate(snapshot, &site, State::Stopped(notice))
        }
        ByHand::Added(at) => change::add(snapshot, &at.site, &at.endpoints()?),
        ByHand::Removed(at) => change::remove(snapshot, &at.site, &at.endpoints()?),
        ByHand::Draining(at) => {
            let change = Change {
                prefix: at.prefix()?,
                weight: None,
                draining: Some(true),
            };
            change::endpoint(snapshot, &at.site, &at.endpoint, &change)
        }
        ByHand::Weight { at, weight, was: _ } => {
            let change = Change {
                prefix: at.prefix()?,
                weight: Some(weight.min(WEIGHT_MAX)),
                draining: None,
            };
            change::endpoint(snapshot, &at.site, &at.endpoint, &change)
        }
    };
    done.map(drop)
}

impl ByHand {
    fn told(&self) -> Value {
        let of = |at: &Place, what: &str| json!({ "upstream": at.upstream(), "endpoint": at.endpoint, "change": what });
        match self {
            Self::Paused { site } => {
                json!({ "site": site, "change": State::Paused.as_str() })
            }
            Self::Stopped { site, .. } => {
                json!({ "site": site, "change": State::Stopped(None).as_str() })
            }
            Self::Added(at) => of(at, "added"),
            Self::Removed(at) => of(at, "removed"),
            Self::Draining(at) => of(at, "draining"),
            Self::Weight { at, was, weight } => {
                let mut told = of(at, "weight");
                told["was"] = (*was).into();
                told["now"] = (*weight).into();
                told
            }
        }
    }
}

impl Place {
    /// The upstream's name: of the site, or of the route.
    fn upstream(&self) -> String {
        match self.prefix.as_str() {
            "/" => self.site.clone(),
            prefix => format!("{}{prefix}", self.site),
        }
    }

    fn prefix(&self) -> Result<PathPrefix, Refusal> {
        PathPrefix::parse(&self.prefix).map_err(|wrong| Refusal::senseless(wrong.to_string(), ""))
    }

    fn endpoints(&self) -> Result<Endpoints, Refusal> {
        Ok(Endpoints {
            prefix: self.prefix()?,
            endpoints: vec![self.endpoint.clone()],
            force: true,
        })
    }
}
