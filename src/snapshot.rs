//! The running configuration, whole. A request reads one snapshot from top to
//! bottom, and a snapshot never changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderValue;
use ipnet::IpNet;
use tokio::sync::watch;

use crate::config::{BrokenSite, Config, Hsts, LogFormat, SiteConfig, Target as TargetConfig};
use crate::host::{HostMap, HostPattern};
use crate::site::{Broken, Route, Site, Target};
use crate::tls::Tls;
use crate::upstream::protocol::Trust;
use crate::upstream::{Commons, Upstream};

/// What a request may read.
pub struct Snapshot {
    pub sites: HostMap<Arc<Site>>,
    pub fallback: Option<Arc<Site>>,
    /// Broken sites that answer for no name: of which nothing can be made, or
    /// whose name another has.
    pub nameless: Vec<Arc<Site>>,
    /// What all upstreams share; the same in every snapshot of a process.
    pub commons: Commons,
    pub trusted_proxies: Vec<IpNet>,
    /// Whose connections begin with a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    pub tls: Arc<Tls>,
    /// The port that a redirect to https names.
    pub https_port: u16,
    /// The access log tells `User-Agent` and `Referer`.
    pub log_agents: bool,
}

impl Snapshot {
    /// Opens what a configuration names. Upstreams that `previous` had are
    /// kept; of those that changed, what is known of their endpoints. A site
    /// that was paused or stopped stays so. Listeners and log are those that
    /// the process started with.
    pub fn build(config: &Config, tls: Tls, commons: Commons, previous: Option<&Self>) -> Self {
        commons.endpoints.trust(trusts(&tls));
        let mut sites = HostMap::default();
        for site in &config.sites {
            let before = previous.and_then(|previous| previous.before(&site.hosts));
            let running = Arc::new(open(site, before.map(AsRef::as_ref), &commons));
            for host in &site.hosts {
                sites.insert(host.clone(), running.clone());
            }
        }
        let before = previous.and_then(|previous| previous.before(&[]));
        let mut fallback = config
            .fallback
            .as_ref()
            .map(|site| Arc::new(open(site, before.map(AsRef::as_ref), &commons)));
        let mut nameless = Vec::new();
        for site in &config.broken {
            if site.hosts.is_empty() && !site.is_fallback() {
                nameless.push(Arc::new(broken(site, None)));
                continue;
            }
            let before = previous.and_then(|previous| previous.before(&site.hosts));
            let running = Arc::new(broken(site, before));
            if site.is_fallback() {
                fallback = Some(running);
                continue;
            }
            let mut answers = false;
            for host in &site.hosts {
                // Of two that have a name the one without a fault has it.
                if sites.of(host).is_none() {
                    sites.insert(host.clone(), running.clone());
                    answers = true;
                }
            }
            if !answers {
                nameless.push(Arc::new(broken(site, None)));
            }
        }
        Self {
            sites,
            fallback,
            nameless,
            commons,
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_protocol_from: config.listen.proxy_protocol_from.clone(),
            tls: Arc::new(tls),
            https_port: previous.map_or_else(|| https_port(config), |had| had.https_port),
            log_agents: previous.map_or_else(|| log_agents(config), |had| had.log_agents),
        }
    }

    /// The site that had one of these names, as it was last served; without a
    /// name the fallback.
    fn before(&self, hosts: &[HostPattern]) -> Option<&Arc<Site>> {
        let had = match hosts {
            [] => self.fallback.as_ref(),
            hosts => hosts.iter().find_map(|host| self.sites.of(host)),
        }?;
        let was = had.broken.as_ref().and_then(|broken| broken.was.as_ref());
        Some(was.unwrap_or(had))
    }

    /// Every site: the fallback too, and those that answer for no name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Site>> {
        let named = self.sites.values().chain(&self.fallback);
        named.chain(&self.nameless)
    }
}

fn https_port(config: &Config) -> u16 {
    let first = config.listen.https.first();
    first.map_or(443, |address| address.port())
}

fn log_agents(config: &Config) -> bool {
    config.log.format == Some(LogFormat::Combined)
}

fn open(site: &SiteConfig, before: Option<&Site>, commons: &Commons) -> Site {
    let mut routes: Vec<Route> = Vec::with_capacity(site.routes.len());
    // The site's own comes last, and those below it may share its upstream.
    for route in site.routes.iter().rev() {
        let before = before.and_then(|before| {
            let mut routes = before.routes.iter();
            routes
                .find(|before| before.prefix == route.prefix)?
                .upstream()
        });
        let target = match &route.target {
            TargetConfig::Redirect(redirect) => Target::Redirect(redirect.clone()),
            TargetConfig::Inherited => match routes.first().and_then(Route::upstream) {
                Some(inherited) => Target::Upstream(inherited.clone()),
                None => continue, // a checked configuration has none such
            },
            TargetConfig::Upstream(settings) => {
                let settings = settings.clone();
                let prefix = route.prefix.as_str();
                let known = before.map(AsRef::as_ref);
                let upstream = Upstream::new(&site.name, prefix, settings, commons, known);
                Target::Upstream(match before {
                    Some(before) if before.is_as(&upstream) => before.clone(),
                    _ => Arc::new(upstream),
                })
            }
        };
        routes.push(Route {
            prefix: route.prefix.clone(),
            target,
            strip_prefix: route.strip_prefix,
            host: route.host.clone(),
            plain_http: route.plain_http,
            hsts: route.hsts.map(hsts),
            max_body: route.max_body,
        });
    }
    routes.reverse();
    Site {
        name: site.name.as_str().into(),
        line: site.line,
        routes,
        broken: None,
        gate: before.map_or_else(Arc::default, |before| before.gate.clone()),
    }
}

/// A site of which its visitors see only that it has a fault.
fn broken(site: &BrokenSite, before: Option<&Arc<Site>>) -> Site {
    Site {
        name: site.name.as_str().into(),
        line: site.line,
        routes: Vec::new(),
        broken: Some(Broken {
            line: site.line,
            message: site.message.clone(),
            was: before.filter(|before| before.broken.is_none()).cloned(),
        }),
        gate: before.map_or_else(Arc::default, |before| before.gate.clone()),
    }
}

/// What certificates of endpoints are held against, as upstreams need it.
fn trusts(tls: &Tls) -> impl Iterator<Item = (Option<PathBuf>, Trust)> {
    let authorities = tls.inventory().authorities().iter();
    authorities.map(|(file, authority)| {
        let trust = Trust {
            fingerprint: authority.fingerprint,
            any: authority.any.clone(),
            http1: authority.http1.clone(),
        };
        (file.clone(), trust)
    })
}

/// RFC 6797 §6.1.
fn hsts(hsts: Hsts) -> HeaderValue {
    let mut text = format!("max-age={}", hsts.max_age.as_secs());
    if hsts.include_subdomains {
        text.push_str("; includeSubDomains");
    }
    if hsts.preload {
        text.push_str("; preload");
    }
    HeaderValue::try_from(text).expect("digits and letters make a field value")
}

/// The snapshot that new requests read.
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    replaced: watch::Sender<()>,
}

impl Live {
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            replaced: watch::channel(()).0,
        }
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Told whenever another is there.
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Whoever watches upstreams is told.
    pub fn replace(&self, next: Snapshot) {
        let next = Arc::new(next);
        self.snapshot.store(next.clone());
        // What was learnt of endpoints while it was built went to the last one's tables.
        let now = Instant::now();
        for upstream in next.all().flat_map(|site| site.upstreams()) {
            upstream.registry.refresh(now);
        }
        next.commons.changed.send_replace(());
        self.replaced.send_replace(());
    }
}
