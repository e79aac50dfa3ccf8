//! `hostmux lookup URL`: which site, route, endpoint and certificate would serve it, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use http::Uri;
use serde_json::{Value, json};

use super::out::say;
use super::{FAILED, endpoints, load};
use crate::config::{BrokenSite, Config, Otherwise, PlainHttp, RouteConfig, SiteConfig, Target};
use crate::diagnostic::Colour;
use crate::host::{Authority, HostPattern};
use crate::path::spelling::{self, Ambiguous};
use crate::server::reload;
use crate::tls::{Identity, Inventory, Origin, Which};

pub(super) fn run(url: &str, named: Option<PathBuf>, as_json: bool) -> anyhow::Result<ExitCode> {
    let file = load::find(named)?;
    let mut loaded = reload::load(&file);
    let Some((config, inventory)) = loaded.take() else {
        eprint!("{}", loaded.render(Colour::Plain));
        return Ok(ExitCode::from(FAILED));
    };
    let found = lookup(url, &config, &inventory)?;
    if as_json {
        say(format_args!("{found:#}"))?;
    } else {
        for (key, value) in found.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or("none");
            say(format_args!("{key:12} {value}"))?;
        }
    }
    let served = found.get("site").is_some_and(|site| !site.is_null());
    Ok(if served {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn lookup(url: &str, config: &Config, inventory: &Inventory) -> anyhow::Result<Value> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    let uri: Uri = whole
        .parse()
        .with_context(|| format!("`{url}` is not a URL"))?;
    let secure = match uri.scheme_str() {
        Some("https" | "wss") => true,
        Some("http" | "ws") => false,
        other => bail!(
            "`{}` is served by nobody here: https, http, wss or ws",
            other.unwrap_or_default()
        ),
    };
    let authority = uri.authority().context("the URL names no host")?;
    let name = Authority::parse(authority.as_str())
        .with_context(|| format!("`{authority}` is not a host name"))?
        .name
        .into_owned();
    let mut found = json!({ "name": name });
    if let Some(broken) = broken(config, &name) {
        found["site"] = broken.name.as_str().into();
        found["why"] = "the site has a fault, and is not served".into();
        if secure {
            found["certificate"] = certificate(config, inventory, &name).into();
        }
        found["leads_to"] = format!("500, config line {}: {}", broken.line, broken.message).into();
        return Ok(found);
    }
    let Some((site, why)) = site(config, &name) else {
        found["site"] = Value::Null;
        found["why"] = "no site has this name, and there is no fallback: 404".into();
        return Ok(found);
    };
    found["site"] = format!("{} (line {})", site.name, site.line).into();
    found["why"] = why.into();
    if secure {
        found["certificate"] = certificate(config, inventory, &name).into();
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let Some(route) = route(site, uri.path(), &mut found) else {
        return Ok(found);
    };
    // The site's own upstream is that of its route `/`.
    let target = match &route.target {
        Target::Inherited => site.route("/").map(|own| &own.target),
        own @ (Target::Upstream(_) | Target::Redirect(_)) => Some(own),
    };
    found["leads_to"] = match (target, route.plain_http) {
        (_, PlainHttp::Redirect) if !secure => "308 to https".to_owned(),
        (_, PlainHttp::Refuse) if !secure => "403: plain_http is `refuse`".to_owned(),
        (Some(Target::Redirect(redirect)), _) => {
            format!("308 to {}", redirect.template.replace("{path}", path))
        }
        (Some(Target::Upstream(upstream)), _) => endpoints::told(upstream),
        (Some(Target::Inherited) | None, _) => "nothing: 404".to_owned(),
    }
    .into();
    Ok(found)
}

/// The route of a path, told with its reason, and how the endpoint sees the path.
fn route<'c>(site: &'c SiteConfig, path: &str, found: &mut Value) -> Option<&'c RouteConfig> {
    if let [only] = site.routes.as_slice()
        && only.prefix.is_root()
    {
        return Some(only);
    }
    let (route, path_sent) = match spelling::resolve(path, |path| site.find(path)) {
        Ok((Some(route), path_sent)) => (&site.routes[route], path_sent),
        Ok((None, _)) => {
            found["leads_to"] = "no route holds the path: 404".into();
            return None;
        }
        Err(Ambiguous) => {
            found["leads_to"] = "the path can be read as one of two routes: 400".into();
            return None;
        }
    };
    found["route"] = format!("{} (line {})", route.prefix, route.line).into();
    let why = match route.prefix.is_root() {
        true => "no longer prefix holds the path",
        false => "the longest prefix that holds the path",
    };
    found["route_why"] = why.into();
    let seen = match route.strip_prefix {
        true => route.prefix.strip(&path_sent),
        false => path_sent.as_ref().into(),
    };
    if seen != path {
        found["path"] = format!("{seen}, as the endpoint sees it").into();
    }
    Some(route)
}

/// The broken site of a name: an exact name before a wildcard, those that are
/// served before those that are not, the fallback last.
fn broken<'c>(config: &'c Config, name: &str) -> Option<&'c BrokenSite> {
    let served = site(config, name).map(|(site, _)| site);
    let has = |host: &HostPattern| host.holds(name);
    let exact = |hosts: &[HostPattern]| {
        let mut hosts = hosts.iter();
        hosts.any(|host| matches!(host, HostPattern::Exact(_)) && has(host))
    };
    let is_named = served.is_some_and(|site| exact(&site.hosts));
    let is_held = served.is_some_and(|site| site.hosts.iter().any(has));
    let mut broken = config.broken.iter();
    let of_name = broken.clone().find(|site| !is_named && exact(&site.hosts));
    let of_parent = || {
        broken
            .clone()
            .find(|site| !is_held && site.hosts.iter().any(has))
    };
    of_name
        .or_else(of_parent)
        .or_else(|| broken.find(|site| !is_held && site.is_fallback()))
}

/// The site of a name, as the running table finds it.
fn site<'c>(config: &'c Config, name: &str) -> Option<(&'c SiteConfig, String)> {
    let holding = |exact: bool| {
        config.sites.iter().find_map(|site| {
            let pattern = site
                .hosts
                .iter()
                .find(|host| matches!(host, HostPattern::Exact(_)) == exact && host.holds(name))?;
            Some((site, pattern))
        })
    };
    if let Some((site, _)) = holding(true) {
        return Some((site, "the name stands under `sites`".to_owned()));
    }
    if let Some((site, pattern)) = holding(false) {
        return Some((
            site,
            format!("no site has just this name; `{pattern}` holds it"),
        ));
    }
    let fallback = config.fallback.as_ref()?;
    Some((fallback, "no site holds the name: `fallback`".to_owned()))
}

fn certificate(config: &Config, inventory: &Inventory, name: &str) -> String {
    match (inventory.identity_for(name), config.certificates.otherwise) {
        (Which::Files(identity), _) => files(identity),
        (Which::LocalCa, Otherwise::LocalCa) => "issued by hostmux's own CA".to_owned(),
        (Which::LocalCa, Otherwise::Refuse) | (Which::Refused, _) => {
            "none covers the name: the handshake is refused".to_owned()
        }
    }
}

fn files(identity: &Identity) -> String {
    match &identity.origin {
        Origin::Files { chain, key } if chain == key => {
            format!("{}, for {}", chain.display(), identity.told_names())
        }
        Origin::Files { chain, key } => {
            format!(
                "{} with {}, for {}",
                chain.display(),
                key.display(),
                identity.told_names()
            )
        }
        Origin::LocalCa => "issued by hostmux's own CA".to_owned(),
    }
}
