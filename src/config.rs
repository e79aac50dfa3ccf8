//! `sites.yaml` as meant: checked, plain data that can be compared with `==`.
//!
//! [`check`] reads a text and judges it whole: every fault is found at once,
//! each with its place. Nothing here opens a file or a socket; `hostmux check`
//! ends where this module ends.

mod broken;
mod check;
pub mod edit;
mod file;
mod locate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::diagnostic;
use crate::host::HostPattern;
use crate::path::{self, PathPrefix};
use crate::upstream;

pub use crate::tls::{AuthoritySettings, CertificateFiles, Otherwise};
pub use broken::BrokenSite;
pub use check::{BadEndpoint, Checked, check, nearest, parse_endpoint};
pub use locate::Places;

/// The largest `sites.yaml` that is read, in bytes: forty times what 10,000
/// sites in their short form need.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// The whole configuration, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    pub certificates: Certificates,
    /// Networks whose `X-Forwarded-*`, `Forwarded` and `X-Request-ID` are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub log: Log,
    /// In the order of the file.
    pub sites: Vec<SiteConfig>,
    /// Those that are not served as written: each has a fault of its own.
    pub broken: Vec<BrokenSite>,
    /// The site of all names that no other site has.
    pub fallback: Option<SiteConfig>,
    /// The CAs that certificates of endpoints are held against.
    pub authorities: Vec<AuthoritySettings>,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    pub https: Vec<ListenAddress>,
    /// Empty where `http: off`.
    pub http: Vec<ListenAddress>,
    /// Networks whose connections have to begin with a PROXY protocol header,
    /// on all listeners.
    pub proxy_protocol_from: Vec<IpNet>,
}

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// All addresses of this machine, IPv6 and IPv4.
    Port(u16),
    Address(SocketAddr),
}

impl ListenAddress {
    pub fn port(self) -> u16 {
        match self {
            Self::Port(port) => port,
            Self::Address(address) => address.port(),
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(port) => write!(f, "port {port}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificates {
    /// Each pair of PEM chain and key in it is found by the names inside. As
    /// written; a relative path is beside `sites.yaml`.
    pub directory: PathBuf,
    /// The directory was written down, so that it has to be there.
    pub directory_is_required: bool,
    pub otherwise: Otherwise,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `None`: text on a terminal, JSON otherwise.
    pub format: Option<LogFormat>,
    /// Whether each exchange gets a line.
    pub requests: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
    Combined,
}

/// One site: its names and what stands behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteConfig {
    /// As the user wrote it, for pages and logs; `fallback` for the fallback.
    pub name: String,
    /// Empty for the fallback only.
    pub hosts: Vec<HostPattern>,
    /// Where it stands in the file, from 1.
    pub line: usize,
    pub certificate: Option<CertificateFiles>,
    /// At least one; in the order of their prefixes, the longest first.
    pub routes: Vec<RouteConfig>,
}

/// A route: a part of a site's paths, and what it leads to. The site's own is `/`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    pub prefix: PathPrefix,
    /// Where it stands in the file, from 1.
    pub line: usize,
    pub target: Target,
    /// The endpoint does not see the prefix.
    pub strip_prefix: bool,
    pub host: HostHeader,
    pub plain_http: PlainHttp,
    pub hsts: Option<Hsts>,
    /// Bytes; `None`: no bound.
    pub max_body: Option<u64>,
}

impl SiteConfig {
    /// Where the site stands in the document.
    pub fn path(&self) -> diagnostic::Path {
        if self.hosts.is_empty() {
            return diagnostic::Path::root().key("fallback");
        }
        diagnostic::Path::root().key("sites").key(&self.name)
    }

    /// The place of the route of a path in its normal form.
    pub fn find(&self, path: &str) -> Option<usize> {
        path::longest(&self.routes, |route| &route.prefix, path)
    }

    /// The route of a path in its normal form.
    pub fn route(&self, path: &str) -> Option<&RouteConfig> {
        self.routes.get(self.find(path)?)
    }
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Upstream(upstream::Settings),
    /// The upstream of the site itself.
    Inherited,
    Redirect(Redirect),
}

/// `redirect`: where a request is sent instead. `{path}` in the template is
/// the request's path and query.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    pub template: String,
}

/// `host`: the `Host` header that an endpoint sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum HostHeader {
    /// As the client sent it.
    #[default]
    Preserve,
    /// `localhost:PORT` for a port of this machine, else the endpoint's own address.
    Endpoint,
    Name(String),
}

/// `plain_http`: what a request over plain HTTP gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// 308 to https, path and query kept.
    #[default]
    Redirect,
    Serve,
    /// 403.
    Refuse,
}

/// `hsts`: the `Strict-Transport-Security` header (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    pub max_age: Duration,
    pub include_subdomains: bool,
    pub preload: bool,
}
