//! `health_check`: how endpoints are asked if they are well.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Check, Wrong, value, words};
use crate::config::file::{self, Shape, Value};
use crate::config::{HostHeader, SiteConfig, Target};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::host::{Authority, HostPattern};
use crate::units;
use crate::upstream::health::{self, HealthCheck};

const FORMS: &str = "a path such as `/healthz`, `tcp`, or `{ path: /healthz, every: 5s }`";
/// What a final answer can have (RFC 9110 §15).
const STATUSES: RangeInclusive<u16> = 100..=599;

impl Check<'_> {
    /// The outer `None`: a fault was told; the inner one: nobody is asked.
    pub(super) fn health_check(
        &mut self,
        written: &Shape<file::HealthCheck>,
        at: &Path,
    ) -> Option<Option<HealthCheck>> {
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(Value::Absent) => return Some(None),
            Shape::Other(value) if value::is_off(value) => return Some(None),
            Shape::Other(value) => {
                let text = self.text(value, at, FORMS)??;
                let path = match text.as_str() {
                    "tcp" => None,
                    _ => Some(self.asked_for(&text, at, "`tcp`")?),
                };
                return Some(Some(of(path)));
            }
        };
        self.keys(&written.unknown, at, words::HEALTH_CHECK, "`health_check`");
        let path_at = at.key("path");
        let path = match self.text(&written.path, &path_at, "a path such as `/healthz`") {
            Some(Some(text)) => self.asked_for(&text, &path_at, "no `path`").map(Some),
            none => none,
        };
        if written.path == Value::Absent && written.unknown.0.is_empty() {
            let of_an_answer = [("host", &written.host), ("status", &written.status)];
            for (key, _) in of_an_answer
                .into_iter()
                .filter(|(_, value)| **value != Value::Absent)
            {
                self.add(
                    Diagnostic::warning(
                        Place::Key(at.key(key)),
                        format!("`{key}` has no effect here"),
                    )
                    .label("without a `path` a connection is all that is asked for"),
                );
            }
        }
        let host = self.asked_host(&written.host, &at.key("host"));
        let times = self.times(written, at);
        let status = self.statuses(&written.status, &at.key("status"));
        let down_after = self.count(&written.down_after, &at.key("down_after"));
        let up_after = self.count(&written.up_after, &at.key("up_after"));
        let (every, timeout) = times?;
        Some(Some(HealthCheck {
            path: path?,
            host: host?,
            every,
            timeout,
            status: status?.unwrap_or(health::STATUS),
            down_after: down_after?.unwrap_or(health::DOWN_AFTER),
            up_after: up_after?.unwrap_or(health::UP_AFTER),
        }))
    }

    /// `else_tcp`: what is written for a connection alone.
    fn asked_for(&mut self, text: &str, at: &Path, else_tcp: &str) -> Option<String> {
        match path(text, else_tcp) {
            Ok(path) => Some(path),
            Err(wrong) => {
                self.add(wrong.at(Place::Value(at.clone())));
                None
            }
        }
    }

    fn asked_host(&mut self, value: &Value, at: &Path) -> Option<Option<String>> {
        let Some(text) = self.word(value, at, "a name such as `app.internal`")? else {
            return Some(None);
        };
        if let Err(wrong) = Authority::parse(&text) {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    format!("`{text}` is not a host name"),
                )
                .label(wrong.to_string()),
            );
            return None;
        }
        Some(Some(text))
    }

    /// `every` and `timeout`.
    fn times(&mut self, written: &file::HealthCheck, at: &Path) -> Option<(Duration, Duration)> {
        let every = self.duration(&written.every, &at.key("every"));
        let timeout = self.bound(&written.timeout, &at.key("timeout"));
        let every = every?.unwrap_or(health::EVERY);
        if every.is_zero() {
            self.add(
                Diagnostic::error(
                    Place::Value(at.key("every")),
                    "a health check without a pause would never end",
                )
                .label("more than zero")
                .help("`health_check: off` asks nobody"),
            );
            return None;
        }
        let timeout = timeout?.unwrap_or_else(|| health::TIMEOUT.min(every));
        if timeout > every {
            let (long, short) = (units::show_duration(timeout), units::show_duration(every));
            self.add(
                Diagnostic::error(
                    Place::Value(at.key("timeout")),
                    format!("a health check may take {long}, and the next begins after {short}"),
                )
                .label(format!("at most `every`, which is {short}"))
                .help(format!(
                    "write `every: {long}` or more, or a shorter `timeout`"
                )),
            );
            return None;
        }
        Some((every, timeout))
    }

    fn statuses(&mut self, value: &Value, at: &Path) -> Option<Option<RangeInclusive<u16>>> {
        let Some(text) = self.text(value, at, "a status, or a range such as `200-399`")? else {
            return Some(None);
        };
        match statuses(&text) {
            Ok(statuses) => Some(Some(statuses)),
            Err(wrong) => {
                self.add(wrong.at(Place::Value(at.clone())));
                None
            }
        }
    }
}

/// Endpoints are asked by the name that they know from clients, where there is one.
pub(super) fn ask_as_clients_do(site: &mut SiteConfig) {
    let name = site.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(_) => Some(host.to_string()),
        HostPattern::Wildcard(_) => None,
    });
    for route in &mut site.routes {
        let Target::Upstream(upstream) = &mut route.target else {
            continue;
        };
        let Some(check) = &mut upstream.health_check else {
            continue;
        };
        if check.path.is_some() && check.host.is_none() {
            check.host = match &route.host {
                HostHeader::Preserve => name.clone(),
                HostHeader::Endpoint => None,
                HostHeader::Name(name) => Some(name.clone()),
            };
        }
    }
}

/// The defaults, for this path.
fn of(path: Option<String>) -> HealthCheck {
    HealthCheck {
        path,
        host: None,
        every: health::EVERY,
        timeout: health::TIMEOUT,
        status: health::STATUS,
        down_after: health::DOWN_AFTER,
        up_after: health::UP_AFTER,
    }
}

/// A target in origin form (RFC 9112 §3.2.1).
fn path(text: &str, else_tcp: &str) -> Result<String, Wrong> {
    let fault =
        |label: &str| Wrong::new(format!("`{text}` is not the path of a health check"), label);
    if !text.starts_with('/') {
        let write =
            |path: &str| format!("write {path}, or {else_tcp} where a connection is enough");
        let some_path = || write("a path such as `/healthz`");
        return Err(match text.split_once("://") {
            Some((_, rest)) => {
                let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
                fault("a URL").help(format!(
                    "write `{path}`: each endpoint is asked at its own address"
                ))
            }
            None if ["", "on", "true", "yes"].contains(&text) => {
                fault("what to ask for is missing").help(some_path())
            }
            None => fault("a path begins with `/`").help(match path(&format!("/{text}"), "") {
                Ok(path) if text != "tcp" => write(&format!("`{path}`")),
                Ok(_) | Err(_) => some_path(),
            }),
        });
    }
    // What stands in a path or a query as it is (RFC 3986 §3.3, §3.4).
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?%".contains(*c);
    match text.chars().find(|c| !plain(c)) {
        None => Ok(text.to_owned()),
        Some(odd) => {
            Err(fault(&format!("`{odd}` cannot stand in a request"))
                .help("write it percent-encoded"))
        }
    }
}

/// `200`, or `200-399`.
fn statuses(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let wrong = |label: &str| {
        Wrong::new(
            format!("`{text}` is not a status or a range of them"),
            label,
        )
    };
    let status = |text: &str| -> Option<u16> {
        let text = text.trim();
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let ends = match text.split_once('-') {
        None => status(text).map(|only| (only, only)),
        Some((first, last)) => status(first).zip(status(last)),
    };
    let Some((first, last)) = ends else {
        let hundreds = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        let fault = wrong("such as `200` or `200-399`");
        return Err(match hundreds {
            Some(digit @ ("1" | "2" | "3" | "4" | "5")) => {
                fault.help(format!("write `{digit}00-{digit}99`"))
            }
            _ if text.contains([',', ' ']) || text.contains("..") => {
                fault.help("one range holds them all")
            }
            _ => fault,
        });
    };
    if !STATUSES.contains(&first) || !STATUSES.contains(&last) {
        return Err(wrong("statuses go from 100 to 599"));
    }
    if first > last {
        return Err(
            wrong("its end comes before its beginning").help(format!("write `{last}-{first}`"))
        );
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_range() {
        let check = |text: &str, want: Result<RangeInclusive<u16>, &str>| {
            let got = statuses(text).map_err(|wrong| wrong.label);
            assert_eq!(got, want.map_err(str::to_owned), "{text}");
        };
        check("200", Ok(200..=200));
        check("200-399", Ok(200..=399));
        check("200 - 204", Ok(200..=204));
        check("399-200", Err("its end comes before its beginning"));
        for text in [
            "99-200", "2xx", "200..299", "200,204", "", "-", "+20", "2000",
        ] {
            check(text, Err("such as `200` or `200-399`"));
        }
        for text in ["000-200", "600", "200-999"] {
            check(text, Err("statuses go from 100 to 599"));
        }
    }

    #[test]
    fn paths_are_as_a_request_has_them() {
        for right in ["/", "/healthz", "/a/b?c=d", "/%20"] {
            assert_eq!(path(right, "").unwrap(), right);
        }
        for wrong in [
            "healthz",
            "",
            "on",
            "http://a/b",
            "/a b",
            "/a#b",
            "/ä",
            "/a\u{7f}",
        ] {
            assert!(path(wrong, "").is_err(), "{wrong}");
        }
    }
}
