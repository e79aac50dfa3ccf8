//! `routes`: parts of a site's paths, each with a target or policies of its own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::policy::{Policies, is_absent};
use super::{Check, Wrong, redirect, words};
use crate::config::file::{self, Shape, Value};
use crate::config::{RouteConfig, Target};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::host::HostPattern;
use crate::path::spelling::{decoded, normal};
use crate::path::{NotAPrefix, PathPrefix, longest};
use crate::upstream::Settings;

/// A route, and where it stands.
pub(super) type Placed = (RouteConfig, Path);

const ROUTE: &str = "a port such as `8080`, a list of them, or the keys of a route";
const WHOLE: &str = "a prefix is whole segments, such as `/api`, and holds all paths below them";
const OWN: &str = "paths that no route holds go to the site's own `upstream`";

/// Whether something is to answer for all paths of a site, or of a route.
pub(super) fn has_target(written: &file::Site) -> bool {
    !is_absent(&written.upstream) || written.redirect != Value::Absent
}

impl Check<'_> {
    /// The routes of a site but for its own, unsorted. What they do not say is
    /// as in `policies`.
    pub(super) fn routes(
        &mut self,
        site: &file::Site,
        own: &Path,
        policies: &Policies,
    ) -> Option<Vec<Placed>> {
        let below = own.key("routes");
        if let Shape::Other(Value::List(_) | Value::Text(_) | Value::Number(_)) = site.routes {
            self.add(
                Diagnostic::error(Place::Value(below), "`routes` is not a mapping")
                    .label("expected `/prefix: upstream`")
                    .help("write each route behind its prefix:\nroutes:\n  /api: 8080"),
            );
            return None;
        }
        let Some(entries) = self.mapping(&site.routes, &below, "`/prefix: upstream`")? else {
            return Some(Vec::new());
        };
        let mut seen: HashMap<PathPrefix, Path> = HashMap::new();
        let mut routes = Some(Vec::with_capacity(entries.0.len()));
        let mut root_has_upstream = !is_absent(&site.upstream);
        let mut inherit = Vec::new();
        for (text, written) in &entries.0 {
            let at = below.key(text);
            let prefix = self.prefix(text, site, (&at, own));
            if let Some(prefix) = &prefix {
                match seen.entry(prefix.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(at.clone());
                    }
                    Entry::Occupied(first) => self.prefix_again(text, &at, first.get()),
                }
            }
            // Judged whether or not its prefix is right.
            let is_root = prefix.as_ref().is_some_and(PathPrefix::is_root);
            let route = self.route(text, is_root, written, &at, policies);
            if let Some((Target::Inherited, ..)) = route {
                inherit.push(at.clone());
            } else if is_root && !matches!(route, Some((Target::Redirect(_), ..))) {
                root_has_upstream = true;
            }
            routes = match (routes, route, prefix) {
                (Some(mut routes), Some((target, strip_prefix, policies)), Some(prefix)) => {
                    let line = self.line(&at);
                    routes.push((policies.route(prefix, line, target, strip_prefix), at));
                    Some(routes)
                }
                _ => None,
            };
        }
        if !root_has_upstream && !inherit.is_empty() {
            routes = None;
            for at in inherit {
                self.nothing_to_inherit(&at);
            }
        }
        routes
    }

    /// One route in any form.
    fn route(
        &mut self,
        name: &str,
        is_root: bool,
        written: &Shape<file::Site>,
        at: &Path,
        policies: &Policies,
    ) -> Option<(Target, bool, Policies)> {
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(Value::Null | Value::Absent) => {
                self.nothing_behind(name, at);
                return None;
            }
            Shape::Other(value) => {
                let endpoints = self.endpoints(value, at, ROUTE, None)?;
                let target = Target::Upstream(Settings::of(endpoints));
                return Some((target, false, policies.clone()));
            }
        };
        self.keys(&written.unknown, at, words::ROUTE, "a route");
        self.keys_of_a_site(written, at);
        let policies = self.policies(written, at, policies);
        let target = match has_target(written) {
            true => self.target(name, written, at),
            // An unknown key may be a misspelt `upstream`.
            false if written.unknown.0.is_empty() => Some(Target::Inherited),
            false => None,
        };
        let strips = self.strip_prefix(written, is_root, at);
        Some((target?, strips?, policies))
    }

    /// What is said for all of a site at once.
    fn keys_of_a_site(&mut self, written: &file::Site, at: &Path) {
        if !is_absent(&written.certificate) {
            self.add(
                Diagnostic::error(
                    Place::Key(at.key("certificate")),
                    "`certificate` belongs to a site, not to a route",
                )
                .label("is shown before a path is asked for")
                .help("move it out of `routes`, beside the site's other keys"),
            );
        }
        if !is_absent(&written.routes) {
            self.add(
                Diagnostic::error(
                    Place::Key(at.key("routes")),
                    "a route has no `routes` of its own",
                )
                .label("routes stand side by side")
                .help(format!(
                    "write each whole, beside `{name}`, such as `{}/v1`",
                    at.name().trim_end_matches('/'),
                    name = at.name(),
                )),
            );
        }
    }

    fn strip_prefix(&mut self, written: &file::Site, is_root: bool, at: &Path) -> Option<bool> {
        let at = at.key("strip_prefix");
        let strips = self.switch(&written.strip_prefix, &at)?.unwrap_or(false);
        let place = Place::Key(at);
        if strips && written.redirect != Value::Absent {
            self.add(
                Diagnostic::error(place, "`strip_prefix` does nothing for a redirect")
                    .label("no endpoint sees the path")
                    .help("remove it; `{path}` in a redirect is the path as it was sent"),
            );
            return None;
        }
        if strips && is_root {
            self.add(
                Diagnostic::error(place, "`/` has no prefix to strip")
                    .label("paths begin with `/` in any case")
                    .help("remove it"),
            );
            return None;
        }
        Some(strips)
    }

    fn prefix(
        &mut self,
        text: &str,
        site: &file::Site,
        (at, own): (&Path, &Path),
    ) -> Option<PathPrefix> {
        let place = Place::Key(at.clone());
        let prefix = match PathPrefix::parse(text) {
            Ok(prefix) => prefix,
            Err(why) => {
                self.add(no_prefix(text, &why).at(place));
                return None;
            }
        };
        if prefix.is_root() && has_target(site) {
            let key = if is_absent(&site.upstream) {
                "redirect"
            } else {
                "upstream"
            };
            self.add(
                Diagnostic::error(place, "`/` is all of the site, which has its own target")
                    .label("would answer for the same paths")
                    .help(format!("keep either this route or the site's `{key}`"))
                    .other(Place::Key(own.key(key)), "answers for what no route holds"),
            );
            return None;
        }
        Some(prefix)
    }

    fn prefix_again(&mut self, text: &str, at: &Path, first: &Path) {
        let fault = Diagnostic::error(
            Place::Key(at.clone()),
            format!("`{text}` and `{}` are the same prefix", first.name()),
        );
        self.add(
            fault
                .label("again here")
                .help("keep one of the two; a `/` at the end says nothing")
                .other(Place::Key(first.clone()), "first here"),
        );
    }

    fn nothing_to_inherit(&mut self, at: &Path) {
        if self.whole {
            self.add(
                Diagnostic::error(
                    Place::Key(at.clone()),
                    format!("`{}` has neither an `upstream` nor a `redirect`", at.name()),
                )
                .label("nor has its site an upstream")
                .help("add `upstream: 8080` with the port that answers, here or to the site"),
            );
        }
    }

    /// Redirects that lead back to where they stand. `sorted` by prefix.
    pub(super) fn circles(&mut self, hosts: &[HostPattern], sorted: &[Placed]) {
        for (route, at) in sorted {
            let Target::Redirect(redirect) = &route.target else {
                continue;
            };
            let own = redirect::host(redirect)
                .is_some_and(|host| hosts.contains(&HostPattern::Exact(host)));
            let back = match redirect::path(redirect) {
                None => true,
                Some(path) => {
                    let found = longest(sorted, |(route, _)| &route.prefix, &normal(path));
                    found.is_some_and(|found| sorted[found].0.prefix == route.prefix)
                }
            };
            if own && back {
                let place = Place::Value(at.key("redirect"));
                let to = if route.prefix.is_root() {
                    "site"
                } else {
                    "route"
                };
                let message = format!("this redirect leads to its own {to}");
                self.add(
                    Diagnostic::warning(place, message)
                        .label("a client that follows it goes round in a circle"),
                );
            }
        }
    }
}

/// What is wrong with a text that is no prefix.
fn no_prefix(text: &str, why: &NotAPrefix) -> Wrong {
    if text.trim().is_empty() {
        return Wrong::new("a path prefix is empty", "expected a path such as `/api`").help(OWN);
    }
    let fault = Wrong::new(format!("`{text}` is not a path prefix"), why.to_string());
    let write = |path: &str| match PathPrefix::parse(path) {
        Ok(path) if !path.is_root() => format!("write `{path}`: a prefix holds all paths below it"),
        Ok(_) | Err(_) => WHOLE.to_owned(),
    };
    // The whole segments before what other proxies give a meaning to.
    let before = |odd: &[char]| {
        let before = &text[..text.find(odd).unwrap_or(text.len())];
        write(&before[..before.rfind('/').unwrap_or(0)])
    };
    fault.help(match why {
        // nginx, HAProxy, Traefik: `~ ^/api/(.*)$`, `path_beg /api`, ``PathPrefix(`/api`)``.
        NotAPrefix::NoSlash if text.contains(['~', '^', '=', '(', '`', ' ']) => {
            let path = text.find('/').map_or("", |slash| &text[slash..]);
            let end = path.find(['(', '[', '.', '*', '$', '\\', '`', ' ']);
            write(&path[..end.unwrap_or(path.len())])
        }
        NotAPrefix::NoSlash => write(&format!("/{text}")),
        NotAPrefix::Pattern if text == "/*" => OWN.to_owned(),
        NotAPrefix::Pattern => before(&['*', '%']),
        NotAPrefix::NotOfThePath(odd) => write(&text[..text.find(*odd).unwrap_or(text.len())]),
        NotAPrefix::Odd('\\') => write(&text.replace('\\', "/")),
        NotAPrefix::Odd(';') => "to many servers it begins what is no part of the path".to_owned(),
        NotAPrefix::Odd(odd @ ('{' | '[' | '^' | '|')) => before(&[*odd]),
        NotAPrefix::Odd(_) => write(&decoded(text)),
        NotAPrefix::Unclear(_) => "end the prefix before its segment".to_owned(),
        NotAPrefix::BadEscape => "write `%25` for a `%` itself".to_owned(),
        NotAPrefix::EmptySegment | NotAPrefix::DotSegment(_) => write(&normal(text)),
        NotAPrefix::NotNormal(normal) => {
            format!("write `{normal}`: all spellings of a path are compared as this")
        }
        NotAPrefix::Nul => "leave it out".to_owned(),
        NotAPrefix::TooLong => WHOLE.to_owned(),
    })
}
