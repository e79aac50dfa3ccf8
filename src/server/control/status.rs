//! What runs, as data.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use super::by_hand;
use crate::rt::date;
use crate::server::handover::Failure;
use crate::server::reload::Source;
use crate::site::gate::State;
use crate::site::{Route, Site, Target};
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
use crate::upstream::member::{self, Member, Origin};

/// Which hostmux this is, and whether it serves all that its file says.
pub(super) fn server(snapshot: &Snapshot, source: &Source, started: SystemTime) -> Value {
    let refused = source.refused();
    let broken = snapshot.all().any(|site| site.broken.is_some());
    let condition = match refused.is_some() || broken {
        true => "degraded",
        false => "serving",
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started": date::rfc3339(started),
        "config": source.file().display().to_string(),
        "condition": condition,
        "refused": refused.as_deref(),
    })
}

/// Sites, routes and endpoints with their conditions, what was changed by hand,
/// and how many endpoints are asked whether they are well.
pub(super) fn whole(snapshot: &Snapshot, source: &Source, started: SystemTime) -> Value {
    let now = Instant::now();
    let sites = ordered(snapshot);
    let mut told = server(snapshot, source, started);
    told["health_checks"] = snapshot.commons.probed.load(Ordering::Relaxed).into();
    told["runtime_changes"] = by_hand::told(snapshot);
    told["sites"] = sites.iter().map(|site| whole_site(site, now)).collect();
    told
}

/// Why the last upgrade failed, if it did.
pub(super) fn failure(failed: Option<Failure>) -> Value {
    failed.map_or(
        Value::Null,
        |failed| json!({ "why": failed.why, "at": date::rfc3339(failed.at) }),
    )
}

/// Sites and their endpoints, by name.
pub(super) fn sites(snapshot: &Snapshot) -> Value {
    let sites = ordered(snapshot);
    let sites = sites.iter().map(|site| {
        let routes = site.routes.iter().map(|route| {
            let mut told = head(route);
            if let Some(upstream) = route.upstream() {
                let members = upstream.registry.members();
                let names = members.iter().map(|member| &*member.endpoint.name);
                told["endpoints"] = names.collect();
            }
            told
        });
        json!({
            "name": &*site.name,
            "line": site.line,
            "state": state(site),
            "routes": routes.collect::<Value>(),
            "fault": fault(site),
        })
    });
    json!({ "sites": sites.collect::<Value>() })
}

/// As in the file; the fallback where it stands.
pub(super) fn ordered(snapshot: &Snapshot) -> Vec<&Arc<Site>> {
    let mut sites: Vec<&Arc<Site>> = snapshot.all().collect();
    sites.sort_by(|a, b| (a.line, &a.name).cmp(&(b.line, &b.name)));
    sites.dedup_by(|a, b| Arc::ptr_eq(a, b));
    sites
}

fn head(route: &Route) -> Value {
    match &route.target {
        Target::Redirect(redirect) => {
            json!({ "prefix": route.prefix.as_str(), "redirect": redirect.template })
        }
        Target::Upstream(upstream) => {
            json!({ "prefix": route.prefix.as_str(), "upstream": &*upstream.name })
        }
    }
}

fn whole_site(site: &Site, now: Instant) -> Value {
    let routes = site.routes.iter().map(|route| {
        let mut told = head(route);
        if let Some(upstream) = route.upstream() {
            let held = upstream.held.load(Ordering::Relaxed);
            told["balance"] = upstream.settings().balance.as_str().into();
            told["held"] = held.into();
            let members = upstream.registry.members();
            let told_members = members.iter().map(|member| endpoint(member, now));
            told["endpoints"] = told_members.chain(unresolved(upstream, &members)).collect();
            let leaving = upstream.registry.leaving();
            told["leaving"] = leaving
                .iter()
                .map(|gone| {
                    json!({ "endpoint": &*gone.endpoint.name, "in_flight": gone.in_flight() })
                })
                .collect();
        }
        told
    });
    let gate = site.gate.state();
    let mut told = json!({
        "name": &*site.name,
        "line": site.line,
        "state": state(site),
        "fault": fault(site),
        "waiting": site.gate.waiting(),
        "routes": routes.collect::<Value>(),
    });
    if let State::Stopped(Some(notice)) = &gate {
        told["message"] = notice.as_str().into();
    }
    told
}

/// One word: `broken` comes before what was said by hand.
fn state(site: &Site) -> &'static str {
    match &site.broken {
        Some(_) => "broken",
        None => site.gate.state().as_str(),
    }
}

/// What is wrong with a broken site.
fn fault(site: &Site) -> Value {
    site.broken.as_ref().map_or(
        Value::Null,
        |broken| json!({ "line": broken.line, "message": broken.message }),
    )
}

fn endpoint(member: &Member, now: Instant) -> Value {
    let state = member.state(now);
    let why = match state {
        member::State::Down => member.trouble(),
        member::State::Ejected => Some("failures in a row".to_owned()),
        member::State::Draining => Some("drained by hand".to_owned()),
        member::State::Unknown | member::State::Up => match member.failures() {
            0 => None,
            1 => Some("the last attempt failed".to_owned()),
            failures => Some(format!("the last {failures} attempts failed")),
        },
    };
    json!({
        "endpoint": &*member.endpoint.name,
        "state": state.as_str(),
        "why": why,
        "weight": member.weight(),
        "backup": member.backup,
        "origin": origin(&member.origin),
        "in_flight": member.in_flight(),
    })
}

/// Names of endpoints that led to no address so far.
fn unresolved(upstream: &Upstream, members: &[Arc<Member>]) -> Vec<Value> {
    let endpoints = upstream.settings().endpoints.iter();
    let names = endpoints.filter(|endpoint| {
        let origin = Origin::behind(endpoint);
        endpoint.written().is_none() && members.iter().all(|member| member.origin != origin)
    });
    let told = names.map(|endpoint| {
        json!({
            "endpoint": endpoint.to_string(),
            "state": member::State::Unknown.as_str(),
            "why": "the name has no address",
            "weight": endpoint.weight,
            "backup": endpoint.backup,
            "origin": origin(&Origin::File),
            "in_flight": 0,
        })
    });
    told.collect()
}

fn origin(origin: &Origin) -> &str {
    match origin {
        Origin::File => "file",
        Origin::Runtime => "runtime",
        Origin::Discovered(_) => "discovered",
    }
}
