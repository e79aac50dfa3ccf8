//! `sites.yaml` as written: its shape, key for key. Nothing is judged here.
//!
//! The only user of serde_yaml, with [`shape`].

mod shape;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::locate::Unreadable;

pub(super) use self::shape::{Entries, Shape, Value};

/// The whole file. Only `sites` is required.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    /// Where clients connect.
    pub(super) listen: Shape<Listen>,
    /// Where certificates come from.
    pub(super) certificates: Shape<Certificates>,
    /// Networks or single addresses whose `X-Forwarded-*`, `Forwarded` and
    /// `X-Request-ID` are believed. Absent: none.
    pub(super) trusted_proxies: Value,
    /// What is written to the log, and how.
    pub(super) log: Shape<Log>,
    /// Policies of all sites, where a site does not say otherwise.
    /// Of the keys of a site only these: `host`, `plain_http`, `hsts`, `max_body`.
    // Of one shape with a site, so that what belongs elsewhere can be told.
    pub(super) defaults: Shape<Site>,
    /// Host → site. A host is a name, or `"*.name"` for all names one label below.
    pub(super) sites: Shape<Entries<Shape<Site>>>,
    /// The site of all names that `sites` does not have. Absent: they get a 404.
    pub(super) fallback: Shape<Site>,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listen {
    /// A port (all addresses, IPv6 and IPv4), `addr:port`, or a list of these. Absent: 443.
    pub(super) https: Value,
    /// The same, or `off`. Absent: 80.
    pub(super) http: Value,
    /// Networks or single addresses of proxies whose connections begin with a
    /// PROXY protocol header (v1 or v2), and the client's address is the one in
    /// it; a connection of theirs that does not is closed. From all others no
    /// header is believed. Absent: none.
    pub(super) proxy_protocol_from: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Certificates {
    /// A folder, beside this file unless absolute. Absent: `certs`.
    pub(super) directory: Value,
    /// What a name that no certificate covers gets: `local_ca` or `refuse`.
    /// Absent: `local_ca`.
    pub(super) otherwise: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Log {
    /// `text`, `json` or `combined`. Absent: text on a terminal, JSON otherwise.
    pub(super) format: Value,
    /// Whether each exchange gets a line: `on` or `off`. Absent: `on`.
    pub(super) requests: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

/// A site or a route in its long form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Site {
    /// What answers: an endpoint, a list of them, or the long form. A route
    /// without it has that of its site.
    pub(super) upstream: Shape<Upstream>,
    /// Of a site only. Path prefix → route: an endpoint, a list of them, or the
    /// keys of a site but for `certificate` and this one; policies it does not
    /// have are its site's. `/api` holds `/api` and all below it, not `/apix`;
    /// the longest prefix that holds a path has it. Letters keep their case.
    /// Held against the path without escapes of what needs none, `.` and `..`
    /// segments and doubled slashes; a path that leads to two routes, as one
    /// reads it (`%2F`, `;`), gets a 400. Absent: all paths go to the upstream.
    pub(super) routes: Shape<Entries<Shape<Self>>>,
    /// Of a route only: its endpoints see paths without the prefix (`/` for the
    /// prefix alone), and are told of it in `X-Forwarded-Prefix`; `Location`,
    /// `Content-Location`, `Refresh` and cookies' `Path` get it back. The path
    /// is sent as it came; in its normal form where the prefix was spelled
    /// otherwise. Absent: `off`.
    pub(super) strip_prefix: Value,
    /// An `http://` or `https://` URL to send every request to instead;
    /// `{path}` in it is the request's path and query.
    pub(super) redirect: Value,
    /// Of a site only: the certificate to show. Absent: one of `certificates.directory` by its names.
    pub(super) certificate: Shape<Certificate>,
    /// The `Host` an endpoint sees: `preserve`, `endpoint`, or a name. Absent: `preserve`.
    pub(super) host: Value,
    /// What a request over plain HTTP gets: `redirect`, `serve` or `refuse`.
    /// Absent: `redirect`.
    pub(super) plain_http: Value,
    /// `Strict-Transport-Security`: `off`, `on` (a year), a duration, or the
    /// long form. Absent: `off`.
    pub(super) hsts: Shape<Hsts>,
    /// The largest request body, such as `10MiB`; `off`: no bound. Absent: `off`.
    pub(super) max_body: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hsts {
    /// How long a browser remembers. Required.
    pub(super) max_age: Value,
    /// Whether it holds for all names below. Absent: `off`.
    pub(super) include_subdomains: Value,
    /// Whether browsers may build the name in. Absent: `off`.
    pub(super) preload: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

/// A pair of PEM files, beside this file unless absolute. Both are required.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Certificate {
    /// The certificate and those that link it to a CA.
    pub(super) chain: Value,
    /// Its private key.
    pub(super) key: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

/// An upstream in its long form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    /// One or several. In long, `{ address: 8080, weight: 2, backup: on }`:
    /// `weight` is its share of the requests beside the others', 0 to 256, 0
    /// for none (absent: 1); a `backup` is asked only when none of the others
    /// can be (absent: `off`). Required.
    pub(super) endpoints: Value,
    /// Which endpoint a request goes to, by their weights: `round_robin`, in
    /// turns; `random`; `least_requests`, the one with the fewest under way;
    /// `two_choices`, the better of two taken at random; `client_hash`, the
    /// same for the same client address. Absent: `round_robin`.
    pub(super) balance: Value,
    /// `cookie`: a client stays with its endpoint, by a signed cookie that says
    /// nothing of it; when that is gone it moves. Absent: `off`.
    pub(super) sticky: Value,
    /// Whether endpoints are asked now and then if they are well: a path such
    /// as `/healthz`, `tcp` for a connection alone, or the long form. Absent: `off`.
    pub(super) health_check: Shape<HealthCheck>,
    /// When an endpoint that fails is left alone for a while: `on`, `off`, or
    /// the long form. Failures are a refused or broken connection, no answer in
    /// time, one that is not HTTP, and 502, 503 and 504. Never the last one.
    /// Absent: `on`.
    pub(super) eject: Shape<Eject>,
    /// The most requests under way at one endpoint; more wait, for as long as
    /// `wait_for_endpoint` says, 1,024 of them. Absent: `off`, no bound.
    pub(super) max_connections: Value,
    /// How long a request waits for a loopback endpoint that refuses, which is
    /// probably restarting. Absent: `5s`; `0s`: not at all.
    pub(super) wait_for_endpoint: Value,
    /// How long a connect may take. Absent: `1s` on this machine, `3s` elsewhere.
    pub(super) connect_timeout: Value,
    /// How long the head of a response may take. Absent: `300s`.
    pub(super) response_timeout: Value,
    /// How certificates of `https://` endpoints are verified, as a mapping of
    /// `ca`, a PEM file of the only CAs or endpoints' own certificates to trust
    /// (absent: the system's), and `name`, the name a certificate must be for
    /// (absent: the address's host).
    /// An endpoint in long may have its own.
    pub(super) tls: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

/// How endpoints are asked if they are well.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HealthCheck {
    /// What is asked for. Absent: a connection is enough.
    pub(super) path: Value,
    /// The `Host` of the question. Absent: that of a request to the site.
    pub(super) host: Value,
    /// The time from one question to the next. Absent: `5s`.
    pub(super) every: Value,
    /// How long an answer may take; at most `every`. Absent: `2s`, or `every`
    /// where that is less.
    pub(super) timeout: Value,
    /// The statuses that are well: one, or a range of them. Absent: `200-399`.
    pub(super) status: Value,
    /// Failures in a row after which an endpoint gets no more requests. Absent: 3.
    pub(super) down_after: Value,
    /// Successes in a row after which it gets them again. Absent: 2.
    pub(super) up_after: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

/// When an endpoint is left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Eject {
    /// Failures in a row that are enough. Absent: 5.
    pub(super) after: Value,
    /// How long the first time lasts; each that follows at once is twice as
    /// long as the last, up to `5m`. Absent: `10s`.
    #[serde(rename = "for")]
    pub(super) length: Value,
    #[serde(flatten)]
    pub(super) unknown: Entries<IgnoredAny>,
}

impl File {
    /// Reads a text; what is no mapping is given back as it is.
    pub(super) fn read(text: &str) -> Result<Shape<Self>, Unreadable> {
        serde_yaml::from_str(text).map_err(Unreadable::from)
    }
}
