//! What can be said for one site and, under `defaults`, for all.

use std::time::Duration;

use super::{Check, value, words};
use crate::config::file::{self, Shape, Value};
use crate::config::{HostHeader, Hsts, PlainHttp, RouteConfig, Target};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::host::Authority;
use crate::path::PathPrefix;
use crate::units;

/// What `hsts: on` says: a year.
const HSTS_AGE: Duration = Duration::from_secs(365 * 86_400);
/// The least age of a name on the browsers' preload list (hstspreload.org): a year.
const PRELOAD_AGE_MIN: Duration = HSTS_AGE;

#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    pub(super) host: HostHeader,
    pub(super) plain_http: PlainHttp,
    pub(super) hsts: Option<Hsts>,
    pub(super) max_body: Option<u64>,
}

impl Policies {
    /// A route under these policies.
    pub(super) fn route(
        self,
        prefix: PathPrefix,
        line: usize,
        target: Target,
        strip_prefix: bool,
    ) -> RouteConfig {
        RouteConfig {
            prefix,
            line,
            target,
            strip_prefix,
            host: self.host,
            plain_http: self.plain_http,
            hsts: self.hsts,
            max_body: self.max_body,
        }
    }
}

impl Check<'_> {
    /// `defaults`; after a fault in it, what is known of it.
    pub(super) fn defaults(&mut self, written: &Shape<file::Site>, at: &Path) -> Policies {
        let Some(Some(written)) = self.mapping(written, at, "policies such as `max_body: 1GiB`")
        else {
            return Policies::default();
        };
        let of_a_site = [
            ("upstream", !is_absent(&written.upstream)),
            ("redirect", written.redirect != Value::Absent),
            ("certificate", !is_absent(&written.certificate)),
            ("routes", !is_absent(&written.routes)),
            ("strip_prefix", written.strip_prefix != Value::Absent),
        ];
        for (key, _) in of_a_site.into_iter().filter(|(_, there)| *there) {
            let help = match key {
                "upstream" => {
                    "the site of all names without one is `fallback`, at the top of the file"
                        .to_owned()
                }
                _ => format!(
                    "the keys here are {}",
                    words::listed(words::POLICIES, "and")
                ),
            };
            self.add(
                Diagnostic::error(
                    Place::Key(at.key(key)),
                    format!("`{key}` cannot be a default of all sites"),
                )
                .label(match key {
                    "strip_prefix" => "belongs to one route",
                    _ => "belongs to one site",
                })
                .help(help),
            );
        }
        self.keys(&written.unknown, at, words::POLICIES, "`defaults`");
        self.policies(written, at, &Policies::default())
    }

    /// The policies of a site or a route, each its own or else that of
    /// `defaults` or of the site.
    pub(super) fn policies(
        &mut self,
        written: &file::Site,
        at: &Path,
        defaults: &Policies,
    ) -> Policies {
        let choices = [
            ("redirect", PlainHttp::Redirect),
            ("serve", PlainHttp::Serve),
            ("refuse", PlainHttp::Refuse),
        ];
        let host = self.host_header(&written.host, &at.key("host"));
        let plain_http = self.choice(&written.plain_http, &at.key("plain_http"), &choices);
        let hsts = self.hsts(&written.hsts, &at.key("hsts"));
        let max_body = self.max_body(&written.max_body, &at.key("max_body"));
        Policies {
            host: host.flatten().unwrap_or_else(|| defaults.host.clone()),
            plain_http: plain_http.flatten().unwrap_or(defaults.plain_http),
            hsts: hsts.flatten().unwrap_or(defaults.hsts),
            max_body: max_body.flatten().unwrap_or(defaults.max_body),
        }
    }

    fn host_header(&mut self, value: &Value, at: &Path) -> Option<Option<HostHeader>> {
        const CHOICES: &[&str] = &["preserve", "endpoint"];
        let Some(text) = self.word(value, at, "`preserve`, `endpoint` or a name")? else {
            return Some(None);
        };
        match text.as_str() {
            "preserve" => return Some(Some(HostHeader::Preserve)),
            "endpoint" => return Some(Some(HostHeader::Endpoint)),
            _ => {}
        }
        let place = || Place::Value(at.clone());
        if let Some(meant) = words::closest(&text, CHOICES) {
            self.add(
                words::not_a_value(&text, at, CHOICES, Some(meant)).help(format!(
                    "did you mean `{meant}`? It can be `preserve`, `endpoint` or a name"
                )),
            );
            return None;
        }
        if let Err(wrong) = Authority::parse(&text) {
            let mut fault = Diagnostic::error(place(), format!("`{text}` is not a host name"))
                .label(wrong.to_string());
            if text.contains("://") {
                fault = fault.help("write the name alone, without scheme and path");
            } else if !text.is_ascii() {
                fault = fault.help("write its A-label, which begins with `xn--`");
            }
            self.add(fault);
            return None;
        }
        Some(Some(HostHeader::Name(text)))
    }

    fn hsts(&mut self, written: &Shape<file::Hsts>, at: &Path) -> Option<Option<Option<Hsts>>> {
        let of_age = |max_age| Hsts {
            max_age,
            include_subdomains: false,
            preload: false,
        };
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(Value::Absent) => return Some(None),
            Shape::Other(value) => {
                let text =
                    self.text(value, at, "`on`, `off`, a duration, or `{ max_age: 365d }`")??;
                return match text.to_ascii_lowercase().as_str() {
                    "on" | "true" => Some(Some(Some(of_age(HSTS_AGE)))),
                    "off" | "false" => Some(Some(None)),
                    lower if lower.chars().all(char::is_alphabetic) => {
                        self.add(words::not_a_value(&text, at, &["on", "off"], None).help(
                            "it can be `on` (a year), `off`, a duration such as `30d`, or `{ max_age: 365d, include_subdomains: on }`",
                        ));
                        None
                    }
                    _ => match units::duration(&text) {
                        Ok(age) => Some(Some(Some(of_age(age)))),
                        Err(wrong) => {
                            let what = "a duration such as `365d`";
                            self.add(value::not_a_quantity(&text, &wrong, at, what));
                            None
                        }
                    },
                };
            }
        };
        self.keys(&written.unknown, at, words::HSTS, "`hsts`");
        let max_age = self.duration(&written.max_age, &at.key("max_age"));
        let include_subdomains =
            self.switch(&written.include_subdomains, &at.key("include_subdomains"));
        let preload = self.switch(&written.preload, &at.key("preload"));
        let (include_subdomains, preload) = (
            include_subdomains?.unwrap_or(false),
            preload?.unwrap_or(false),
        );
        let Some(max_age) = max_age? else {
            if self.whole {
                self.add(
                    Diagnostic::error(Place::Key(at.clone()), "`hsts` does not say for how long")
                        .label("`max_age` is missing")
                        .help(
                            "add `max_age: 365d`, or another time that browsers shall remember it",
                        ),
                );
            }
            return None;
        };
        if preload && (!include_subdomains || max_age < PRELOAD_AGE_MIN) {
            self.add(
                Diagnostic::warning(
                    Place::Key(at.key("preload")),
                    "browsers do not preload this",
                )
                .label("asks for more than the rest grants")
                .help(
                    "their list wants `include_subdomains: on` and a `max_age` of `365d` or more",
                ),
            );
        }
        Some(Some(Some(Hsts {
            max_age,
            include_subdomains,
            preload,
        })))
    }

    fn max_body(&mut self, value: &Value, at: &Path) -> Option<Option<Option<u64>>> {
        if value::is_off(value) {
            return Some(Some(None));
        }
        let bytes = self.quantity(value, at, "a size such as `10MiB`", units::size)?;
        Some(bytes.map(Some))
    }
}

pub(super) fn is_absent<T>(shape: &Shape<T>) -> bool {
    matches!(shape, Shape::Other(Value::Absent))
}
