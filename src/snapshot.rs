//! The running configuration, whole. A request reads one snapshot from top to
//! bottom, and a snapshot never changes.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use ipnet::IpNet;

use crate::config::{Config, Hsts, LogFormat, SiteConfig, Target as TargetConfig};
use crate::host::HostMap;
use crate::site::{Site, Target};
use crate::tls::Tls;
use crate::upstream::protocol::Trust;
use crate::upstream::{Endpoints, Upstream};

/// What a request may read.
pub struct Snapshot {
    pub sites: HostMap<Arc<Site>>,
    pub fallback: Option<Arc<Site>>,
    /// Every endpoint of every site.
    pub endpoints: Endpoints,
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
    /// kept with their endpoints.
    pub fn build(config: &Config, tls: Tls, previous: Option<&Self>) -> Self {
        let mut endpoints =
            previous.map_or_else(Endpoints::default, |previous| previous.endpoints.clone());
        endpoints.trust(trusts(&tls));
        let mut sites = HostMap::default();
        for site in &config.sites {
            let before = previous.and_then(|previous| {
                site.hosts
                    .iter()
                    .find_map(|host| previous.sites.of(host))
                    .map(AsRef::as_ref)
            });
            let running = Arc::new(open(site, before, &mut endpoints));
            for host in &site.hosts {
                sites.insert(host.clone(), running.clone());
            }
        }
        let before = previous.and_then(|previous| previous.fallback.as_deref());
        let fallback = config
            .fallback
            .as_ref()
            .map(|site| Arc::new(open(site, before, &mut endpoints)));
        let all = sites
            .values()
            .chain(&fallback)
            .filter_map(|site: &Arc<Site>| site.upstream().cloned());
        endpoints.settle(all);
        Self {
            sites,
            fallback,
            endpoints,
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_protocol_from: config.listen.proxy_protocol_from.clone(),
            tls: Arc::new(tls),
            https_port: config
                .listen
                .https
                .first()
                .map_or(443, |address| address.port()),
            log_agents: config.log.format == Some(LogFormat::Combined),
        }
    }
}

fn open(site: &SiteConfig, before: Option<&Site>, endpoints: &mut Endpoints) -> Site {
    let target = match &site.target {
        TargetConfig::Redirect(redirect) => Target::Redirect(redirect.clone()),
        TargetConfig::Upstream(settings) => {
            let upstream = Upstream::new(settings.clone(), endpoints);
            Target::Upstream(match before.and_then(Site::upstream) {
                Some(before) if before.is_as(&upstream) => before.clone(),
                _ => Arc::new(upstream),
            })
        }
    };
    Site {
        name: site.name.as_str().into(),
        line: site.line,
        target,
        host: site.host.clone(),
        plain_http: site.plain_http,
        hsts: site.hsts.map(hsts),
        max_body: site.max_body,
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
pub struct Live(ArcSwap<Snapshot>);

impl Live {
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    pub fn replace(&self, next: Snapshot) {
        self.0.store(Arc::new(next));
    }
}
