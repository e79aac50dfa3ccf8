//! What commands change: all of what they say, or nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::{Change, Endpoints};
use crate::config::{nearest, parse_endpoint};
use crate::host::HostPattern;
use crate::path::PathPrefix;
use crate::server::handover::Outcome;
use crate::site::gate::State;
use crate::site::{Route, Site};
use crate::snapshot::Snapshot;
use crate::upstream::member::{Member, Origin};
use crate::upstream::registry::{MEMBERS_MAX, Refused};
use crate::upstream::{EndpointSettings, ProtocolSettings, Unfit, Upstream};

/// The most names that are told where one was not found.
const TOLD_MAX: usize = 8;

pub(super) fn gate(snapshot: &Snapshot, host: &str, state: State) -> Result<Value, Refusal> {
    let site = site(snapshot, host)?;
    let now = state.as_str();
    let was = site.gate.set(state);
    tracing::info!(site = %site.name, was = was.as_str(), now, why = "by hand", "site state changed");
    Ok(json!({
        "site": &*site.name,
        "was": was.as_str(),
        "now": now,
        "waiting": site.gate.waiting(),
    }))
}

/// Endpoints more in the running table.
pub(super) fn add(snapshot: &Snapshot, host: &str, asked: &Endpoints) -> Result<Value, Refusal> {
    let upstream = upstream(snapshot, host, &asked.prefix)?;
    if asked.endpoints.is_empty() {
        return Err(Refusal::senseless(
            "no endpoint is named",
            "name one, such as `8081`",
        ));
    }
    let mut members: Vec<Arc<Member>> = Vec::with_capacity(asked.endpoints.len());
    for text in &asked.endpoints {
        let (settings, origin) = meant(settings(text, upstream)?, upstream);
        let member = upstream.member(&settings, origin).map_err(|unfit| {
            let fix = match unfit {
                Unfit::NoTrust => {
                    "name an `https://` endpoint of this site in sites.yaml first, so that its CA is read"
                }
                Unfit::Named => "add it to the file: `hostmux add` without `--runtime`",
                Unfit::NoCertificate => "name it as its certificate does",
            };
            Refusal::conflict(format!("`{text}` cannot be added: {unfit}"), fix)
        })?;
        let there = upstream.registry.members();
        let mut others = there.iter().chain(&members);
        if others.any(|other| other.endpoint.id == member.endpoint.id) {
            return Err(refused(Refused::Present, upstream, &settings.to_string()));
        }
        members.push(member);
    }
    if upstream.registry.members().len() + members.len() > MEMBERS_MAX {
        return Err(refused(Refused::Full, upstream, ""));
    }
    let mut added: Vec<String> = Vec::with_capacity(members.len());
    for member in members {
        let name = member.endpoint.name.to_string();
        if let Err(error) = upstream.add(member) {
            // Something else came in between: all or nothing.
            for name in &added {
                let _ = upstream.remove(name, true);
            }
            return Err(refused(error, upstream, &name));
        }
        added.push(name);
    }
    tracing::info!(upstream = %upstream.name, endpoints = added.join(", "), "endpoints added by hand");
    Ok(json!({ "upstream": &*upstream.name, "added": added }))
}

/// Endpoints less in the running table; none named: all.
pub(super) fn remove(snapshot: &Snapshot, host: &str, asked: &Endpoints) -> Result<Value, Refusal> {
    let upstream = upstream(snapshot, host, &asked.prefix)?;
    let members = upstream.registry.members();
    let mut names: Vec<Arc<str>> = Vec::new();
    for text in &asked.endpoints {
        let member = member(upstream, text)?;
        let name = member.endpoint.name.clone();
        if let Origin::Discovered(behind) = &member.origin {
            return Err(Refusal::conflict(
                format!("`{name}` was found behind `{behind}`, and would be found again"),
                format!("drain it, or remove `{behind}` from sites.yaml (`hostmux remove`)"),
            ));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if asked.endpoints.is_empty() {
        names = members
            .iter()
            .map(|member| member.endpoint.name.clone())
            .collect();
        if !asked.force {
            return Err(Refusal::conflict(
                format!(
                    "without an endpoint named, all of `{}` would go",
                    upstream.name
                ),
                "name an endpoint, or use `force` (`--force`) if that is meant",
            ));
        }
    }
    if names.len() >= members.len() && !asked.force {
        let name = names.first().map_or("", |name| name);
        return Err(refused(Refused::Last, upstream, name));
    }
    let mut leaving = 0;
    for name in &names {
        let gone = upstream.registry.find(name);
        upstream
            .remove(name, asked.force)
            .map_err(|error| refused(error, upstream, name))?;
        leaving += gone.map_or(0, |member| member.in_flight());
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    tracing::info!(upstream = %upstream.name, endpoints = names.join(", "), in_flight = leaving, "endpoints removed by hand");
    Ok(json!({ "upstream": &*upstream.name, "removed": names, "in_flight": leaving }))
}

/// Another weight, or a drain.
pub(super) fn endpoint(
    snapshot: &Snapshot,
    host: &str,
    text: &str,
    asked: &Change,
) -> Result<Value, Refusal> {
    let upstream = upstream(snapshot, host, &asked.prefix)?;
    let member = member(upstream, text)?;
    let name = &member.endpoint.name;
    let registry = &upstream.registry;
    if let Some(weight) = asked.weight {
        let was = member.weight();
        registry
            .set_weight(name, weight)
            .map_err(|error| refused(error, upstream, name))?;
        tracing::info!(upstream = %upstream.name, endpoint = %name, was, now = weight, why = "by hand", "weight changed");
    }
    if let Some(draining) = asked.draining {
        registry
            .set_draining(name, draining)
            .map_err(|error| refused(error, upstream, name))?;
    }
    Ok(json!({
        "upstream": &*upstream.name,
        "endpoint": &**name,
        "weight": member.weight(),
        "state": member.state(std::time::Instant::now()).as_str(),
        "in_flight": member.in_flight(),
    }))
}

/// What became of an upgrade.
pub(super) fn upgraded(outcome: Outcome) -> Result<Value, Refusal> {
    match outcome {
        Ok(upgraded) => Ok(json!({
            "was": std::process::id(),
            "pid": upgraded.pid,
            "version": upgraded.version,
            "degraded": upgraded.degraded,
        })),
        Err(fault) if fault.is_refusal() => Err(Refusal::conflict(fault.told(), fault.help())),
        Err(fault) => Err(Refusal::conflict(
            format!("{}; process {} goes on", fault.told(), std::process::id()),
            fault.help(),
        )),
    }
}

fn site<'s>(snapshot: &'s Snapshot, host: &str) -> Result<&'s Site, Refusal> {
    let named = match host {
        "fallback" => snapshot.fallback.as_ref(),
        _ => None,
    };
    let pattern = HostPattern::parse(host);
    let named = named.or_else(|| snapshot.all().find(|site| *site.name == *host));
    let found = named.or_else(|| snapshot.sites.of(pattern.as_ref().ok()?));
    if let Some(found) = found {
        return Ok(found);
    }
    let names: Vec<&str> = snapshot.all().map(|site| &*site.name).collect();
    let error = match &pattern {
        Ok(_) => format!("there is no site `{host}`"),
        Err(wrong) => format!("`{host}` is not the name of a site: {wrong}"),
    };
    let fix = match nearest(host, &names) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => there("sites", &names),
    };
    Err(Refusal::absent(error, fix))
}

fn there(what: &str, names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    match names.len().saturating_sub(TOLD_MAX) {
        _ if names.is_empty() => format!("there are no {what}"),
        0 => format!("{what} there: `{}`", names.join("`, `")),
        more => format!(
            "{what} there: `{}` and {more} more",
            names[..TOLD_MAX].join("`, `")
        ),
    }
}

/// The upstream of a site's route, of its own.
fn upstream<'s>(
    snapshot: &'s Snapshot,
    host: &str,
    prefix: &PathPrefix,
) -> Result<&'s Arc<Upstream>, Refusal> {
    let site = site(snapshot, host)?;
    let place = match prefix.is_root() {
        true => site.name.to_string(),
        false => format!("{}{prefix}", site.name),
    };
    let Some(route) = site.routes.iter().find(|route| route.prefix == *prefix) else {
        let routes: Vec<&str> = site
            .routes
            .iter()
            .map(|route| route.prefix.as_str())
            .collect();
        return Err(Refusal::absent(
            format!("`{}` has no route `{prefix}`", site.name),
            there("routes", &routes),
        ));
    };
    match Route::upstream(route) {
        None => Err(Refusal::conflict(
            format!("`{place}` is a redirect, which has no endpoints"),
            "give it an `upstream` in sites.yaml first",
        )),
        Some(inherited) if *inherited.name != *place => Err(Refusal::conflict(
            format!("`{place}` has the endpoints of `{}`", inherited.name),
            format!(
                "change `{}`, or give the route an `upstream` in sites.yaml",
                inherited.name
            ),
        )),
        Some(own) => Ok(own),
    }
}

/// The member that is meant by a text, in whatever spelling.
fn member(upstream: &Upstream, text: &str) -> Result<Arc<Member>, Refusal> {
    let registry = &upstream.registry;
    let meant = parse_endpoint(text).map(|settings| settings.to_string());
    let found = meant.as_ref().ok().and_then(|name| registry.find(name));
    if let Some(found) = found.or_else(|| registry.find(text)) {
        return Ok(found);
    }
    match meant {
        Ok(name) => Err(refused(Refused::Absent, upstream, &name)),
        Err(bad) => Err(Refusal::senseless(bad.message, bad.help)),
    }
}

/// One of the file that was removed by hand comes back as the file says.
fn meant(said: EndpointSettings, upstream: &Upstream) -> (EndpointSettings, Origin) {
    let name = said.to_string();
    let mut written = upstream.settings().endpoints.iter();
    match written.find(|written| written.to_string() == name) {
        Some(written) => (written.clone(), Origin::File),
        None => (said, Origin::Runtime),
    }
}

fn settings(text: &str, upstream: &Upstream) -> Result<EndpointSettings, Refusal> {
    let mut settings =
        parse_endpoint(text).map_err(|bad| Refusal::senseless(bad.message, bad.help))?;
    if let ProtocolSettings::Tls(own) = &mut settings.protocol {
        // As its neighbours are verified, so is it.
        let mut others = upstream.settings().endpoints.iter();
        let tls = others.find_map(|other| match &other.protocol {
            ProtocolSettings::Tls(tls) => Some(tls.clone()),
            ProtocolSettings::Http1 | ProtocolSettings::H2c => None,
        });
        *own = tls.unwrap_or_default();
    }
    Ok(settings)
}

fn refused(why: Refused, upstream: &Upstream, endpoint: &str) -> Refusal {
    let place = &upstream.name;
    match why {
        Refused::Present => Refusal::conflict(
            format!("`{place}` has the endpoint `{endpoint}` already"),
            "there is nothing to do",
        ),
        Refused::Absent => {
            let members = upstream.registry.members();
            let names: Vec<&str> = members
                .iter()
                .map(|member| &*member.endpoint.name)
                .collect();
            Refusal::absent(
                format!("`{place}` has no endpoint `{endpoint}`"),
                there("endpoints", &names),
            )
        }
        Refused::Last => Refusal::conflict(
            format!("`{endpoint}` is the last endpoint of `{place}`"),
            "add another one first, or use `force` (`--force`) if that is meant",
        ),
        Refused::Full => Refusal::conflict(
            format!("`{place}` has {MEMBERS_MAX} endpoints at most"),
            "remove some first",
        ),
    }
}
