//! `sites` and `fallback`: who answers for which names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::policy::{Policies, is_absent};

use super::route::has_target;
use super::{Check, SMALLEST, endpoint, host, redirect, words};
use crate::config::file::{self, Entries, Shape, Value};
use crate::config::{BrokenSite, CertificateFiles, SiteConfig, Target};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::host::HostPattern;
use crate::path::PathPrefix;
use crate::upstream::Settings;

const SITE: &str = "a port such as `8080`, a list of them, or the keys of a site";

impl Check<'_> {
    pub(super) fn sites(
        &mut self,
        written: &Shape<Entries<Shape<file::Site>>>,
        at: &Path,
        defaults: &Policies,
        needed: bool,
    ) -> Option<Vec<SiteConfig>> {
        let entries = match written {
            Shape::Mapping(entries) => entries.0.as_slice(),
            Shape::Other(Value::Absent | Value::Null) => &[],
            Shape::Other(other) => {
                self.not_sites(other, at);
                return None;
            }
        };
        if entries.is_empty() {
            return self.no_sites(written, at, needed);
        }
        let mut hosts: HashMap<HostPattern, Path> = HashMap::new();
        let mut sites = Vec::with_capacity(entries.len());
        for (n, (name, written)) in entries.iter().enumerate() {
            let at = at.key(name);
            if self.is_no_host(entries, n, &at) {
                if host::is_key_of_a_site(name) {
                    self.breaks(name, Vec::new(), None, &at);
                }
                continue;
            }
            let pattern = self.host_pattern(name, written, &at);
            if let Some(pattern) = &pattern {
                match hosts.entry(pattern.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(at.clone());
                    }
                    Entry::Occupied(first) => self.add(
                        Diagnostic::error(
                            Place::Key(at.clone()),
                            format!("`{name}` and `{}` are the same host", first.get().name()),
                        )
                        .label("again here")
                        .help(match pattern.to_string() == *name {
                            true => "keep one of the two".to_owned(),
                            false => format!("both are `{pattern}`: keep one of the two"),
                        })
                        .other(Place::Key(first.get().clone()), "first here"),
                    ),
                }
            }
            let next_is_a_key = entries
                .get(n + 1)
                .is_some_and(|(next, _)| host::is_key_of_a_site(next));
            if matches!(written, Shape::Other(Value::Null)) && (pattern.is_none() || next_is_a_key)
            {
                // What was told, or is told next, is why nothing stands behind it.
                let hosts = pattern.map_or_else(|| host::meant(name), |host| vec![host]);
                self.breaks(name, hosts, None, &at);
                continue;
            }
            // Judged whether or not its name is right.
            let hosts: Vec<HostPattern> = pattern.iter().cloned().collect();
            match self.site(name, hosts, written, &at, defaults) {
                Some(site) if pattern.is_some() => sites.push(site),
                Some(_) | None => {
                    let certificate = self.certificate.take();
                    // Nobody else is to answer for what was meant.
                    let hosts = pattern.map_or_else(|| host::meant(name), |host| vec![host]);
                    self.breaks(name, hosts, certificate, &at);
                }
            }
        }
        Some(sites)
    }

    /// Nothing can be made of a site; why is told with its faults.
    pub(super) fn breaks(
        &mut self,
        name: &str,
        hosts: Vec<HostPattern>,
        certificate: Option<CertificateFiles>,
        at: &Path,
    ) {
        let line = self.line(at);
        self.broken.push(BrokenSite {
            name: name.to_owned(),
            hosts,
            certificate,
            line,
            message: String::new(),
        });
    }

    /// `sites` that is no mapping.
    fn not_sites(&mut self, other: &Value, at: &Path) {
        let place = Place::Value(at.clone());
        let fault = match other {
            Value::List(_) => Diagnostic::error(
                place,
                "`sites` is a list, and should be a mapping",
            )
            .label("expected `host: upstream`")
            .help("write each site without the `- ` before it:\nsites:\n  app.localhost: 3000"),
            Value::Text(text) if text.contains(':') => {
                let (name, port) = text.split_once(':').unwrap_or_default();
                let port = port.split_whitespace().next().unwrap_or_default();
                Diagnostic::error(place, "a space is missing after the colon")
                    .label("YAML wants `: ` between a key and its value")
                    .help(format!("write `{name}: {port}`"))
            }
            Value::Text(text) if text.contains(' ') => {
                let (name, port) = text.split_once(' ').unwrap_or_default();
                let port = port.trim_start_matches(['=', '>', '-', ' ']);
                let port = port.split_whitespace().next().unwrap_or_default();
                Diagnostic::error(place, format!("`:` is missing after `{name}`"))
                    .label("a key without a colon")
                    .help(format!("write `{name}: {port}`"))
            }
            Value::Text(_)
            | Value::Number(_)
            | Value::Switch(_)
            | Value::Null
            | Value::Absent
            | Value::Mapping(_) => Diagnostic::error(place, "`sites` is not a mapping")
                .label("expected `host: upstream`")
                .help(SMALLEST),
        };
        self.add(fault);
    }

    fn no_sites(
        &mut self,
        written: &Shape<Entries<Shape<file::Site>>>,
        at: &Path,
        needed: bool,
    ) -> Option<Vec<SiteConfig>> {
        if !needed {
            return Some(Vec::new());
        }
        if self.whole {
            let fault = match is_absent(written) {
                true => Diagnostic::error(Place::File, "there is neither a site nor a `fallback`"),
                false => Diagnostic::error(
                    Place::Key(at.clone()),
                    "`sites` is empty, and there is no `fallback`",
                )
                .label("expected at least one site"),
            };
            self.add(fault.help(SMALLEST));
        }
        None
    }

    /// A key that stands among the sites: one of the file, or one of a site,
    /// most likely the one above.
    fn is_no_host(&mut self, entries: &[(String, Shape<file::Site>)], n: usize, at: &Path) -> bool {
        let (name, _) = &entries[n];
        if words::TOP.contains(&name.as_str()) {
            self.add(
                Diagnostic::error(
                    Place::Key(at.clone()),
                    format!("`{name}` is a key of the file, not a host name"),
                )
                .label("stands among the sites")
                .help("begin it at the first column"),
            );
            return true;
        }
        if !host::is_key_of_a_site(name) {
            return false;
        }
        let owner = entries[..n]
            .iter()
            .rev()
            .find(|(name, _)| !host::is_key_of_a_site(name));
        let fault = Diagnostic::error(
            Place::Key(at.clone()),
            format!("`{name}` is a key of a site, not a host name"),
        );
        self.add(match owner {
            Some((owner, Shape::Other(Value::Null))) => fault
                .label(format!("not indented under `{owner}`"))
                .help(format!(
                    "indent it by two more spaces, so that it belongs to `{owner}`"
                )),
            Some(_) | None => fault
                .label("stands among the sites")
                .help("indent it under its site"),
        });
        true
    }

    fn host_pattern(
        &mut self,
        name: &str,
        written: &Shape<file::Site>,
        at: &Path,
    ) -> Option<HostPattern> {
        let place = Place::Key(at.clone());
        let fused = name
            .split_once(':')
            .filter(|(_, port)| endpoint::port(port).is_ok());
        if let (Some((name, port)), Shape::Other(Value::Null)) = (fused, written) {
            self.add(
                Diagnostic::error(place, "a space is missing after the colon")
                    .label("YAML wants `: ` between a key and its value")
                    .help(format!("write `{name}: {port}`")),
            );
            return None;
        }
        match host::pattern(name) {
            Ok(pattern) => {
                if host::has_underscore(&pattern) {
                    self.add(
                        Diagnostic::warning(place, format!("`{name}` has an underscore"))
                            .label("not a letter of host names")
                            .help("browsers ask for it, but public CAs issue no certificate for it: write `-`"),
                    );
                }
                Some(pattern)
            }
            Err(wrong) => {
                self.add(wrong.at(place));
                None
            }
        }
    }

    /// One site in any form; `fallback` too.
    pub(super) fn site(
        &mut self,
        name: &str,
        hosts: Vec<HostPattern>,
        written: &Shape<file::Site>,
        at: &Path,
        defaults: &Policies,
    ) -> Option<SiteConfig> {
        let line = self.line(at);
        self.certificate = None;
        let mut site = SiteConfig {
            name: name.to_owned(),
            hosts,
            line,
            certificate: None,
            routes: Vec::new(),
        };
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(Value::Null | Value::Absent) => {
                self.nothing_behind(name, at);
                return None;
            }
            Shape::Other(value) => {
                let target = self.endpoints(value, at, SITE, None).map(Settings::of)?;
                let policies = defaults.clone();
                let target = Target::Upstream(target);
                site.routes = vec![policies.route(PathPrefix::root(), line, target, false)];
                return Some(site);
            }
        };
        self.keys(&written.unknown, at, words::SITE, "a site");
        if written.strip_prefix != Value::Absent {
            let at = at.key("strip_prefix");
            self.unknown_key("strip_prefix", &at, words::SITE, "a site");
        }
        let policies = self.policies(written, at, defaults);
        let below = self.routes(written, at, &policies);
        let own = match &below {
            // Other paths are nobody's.
            Some(routes) if !routes.is_empty() && !has_target(written) => None,
            None if !has_target(written) => None,
            Some(_) | None => Some(self.target(name, written, at)),
        };
        let certificate = self.certificate(&written.certificate, &at.key("certificate"));
        self.certificate = certificate.clone().flatten();
        let mut routes = below?;
        if let Some(target) = own {
            let own = policies.route(PathPrefix::root(), line, target?, false);
            routes.push((own, at.clone()));
        }
        routes.sort_by(|(one, _), (other, _)| one.prefix.cmp(&other.prefix));
        self.circles(&site.hosts, &routes);
        site.certificate = certificate?;
        site.routes = routes.into_iter().map(|(route, _)| route).collect();
        Some(site)
    }

    pub(super) fn line(&self, at: &Path) -> usize {
        let span = self.places.span(&Place::Key(at.clone()));
        span.map_or(0, |span| span.line)
    }

    pub(super) fn nothing_behind(&mut self, name: &str, at: &Path) {
        // With lines left out, the value may stand in one of these.
        if self.whole {
            self.add(
                Diagnostic::error(
                    Place::Key(at.clone()),
                    format!("nothing stands behind `{name}`"),
                )
                .label(format!("expected {SITE}"))
                .help(format!("write `{name}: 8080` with the port that answers")),
            );
        }
    }

    /// What a site or a route leads to.
    pub(super) fn target(&mut self, name: &str, written: &file::Site, at: &Path) -> Option<Target> {
        let upstream = !is_absent(&written.upstream);
        let to = written.redirect != Value::Absent;
        match (upstream, to) {
            (true, true) => {
                self.add(
                    Diagnostic::error(
                        Place::Key(at.key("redirect")),
                        format!("`{name}` has both an `upstream` and a `redirect`"),
                    )
                    .label("answers in place of the upstream")
                    .help("keep one of the two")
                    .other(Place::Key(at.key("upstream")), "would never be asked"),
                );
                self.upstream(&written.upstream, &at.key("upstream"));
                self.redirect(&written.redirect, &at.key("redirect"));
                None
            }
            (true, false) => self
                .upstream(&written.upstream, &at.key("upstream"))
                .map(Target::Upstream),
            (false, true) => {
                if written.host != Value::Absent {
                    self.add(
                        Diagnostic::warning(
                            Place::Key(at.key("host")),
                            "`host` has no effect here",
                        )
                        .label("a redirect asks no endpoint"),
                    );
                }
                self.redirect(&written.redirect, &at.key("redirect"))
            }
            (false, false) => {
                // An unknown key may be a misspelt one of the two.
                if self.whole && written.unknown.0.is_empty() {
                    self.add(
                        Diagnostic::error(
                            Place::Key(at.clone()),
                            format!("`{name}` has neither an `upstream` nor a `redirect`"),
                        )
                        .label("nothing answers for it")
                        .help("add `upstream: 8080` with the port that answers"),
                    );
                }
                None
            }
        }
    }

    fn redirect(&mut self, value: &Value, at: &Path) -> Option<Target> {
        let text = self.text(value, at, "a URL such as `https://new.example.com{path}`")??;
        let place = Place::Value(at.clone());
        match redirect::redirect(&text) {
            Ok(redirect) => Some(Target::Redirect(redirect)),
            Err(wrong) => {
                self.add(wrong.at(place));
                None
            }
        }
    }

    fn certificate(
        &mut self,
        written: &Shape<file::Certificate>,
        at: &Path,
    ) -> Option<Option<CertificateFiles>> {
        let Some(written) = self.mapping(written, at, "`{ chain: FILE, key: FILE }`")? else {
            return Some(None);
        };
        self.keys(&written.unknown, at, words::CERTIFICATE, "`certificate`");
        let chain = self.path(&written.chain, &at.key("chain"), "a PEM file");
        let key = self.path(&written.key, &at.key("key"), "a PEM file");
        match (chain?, key?) {
            (Some(chain), Some(key)) => Some(Some(CertificateFiles { chain, key })),
            (chain, key) => {
                if self.whole && written.unknown.0.is_empty() {
                    let missing = match (chain, key) {
                        (Some(_), _) => "`key`",
                        (None, Some(_)) => "`chain`",
                        (None, None) => "`chain` and `key`",
                    };
                    self.add(
                        Diagnostic::error(
                            Place::Key(at.clone()),
                            format!("`certificate` has no {missing}"),
                        )
                        .label(format!("{missing} missing"))
                        .help("a certificate is `{ chain: certs/app.pem, key: certs/app.key }`"),
                    );
                }
                None
            }
        }
    }
}
