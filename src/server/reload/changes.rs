//! The difference between two configurations, by site.

use std::collections::HashMap;

use serde::Serialize;

use crate::config::{BrokenSite, Config, Listen, Log, SiteConfig};
use crate::tls::{Inventory, Told};

/// What a file that is taken over has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub added: Vec<Change>,
    /// With the lines they had.
    pub removed: Vec<Change>,
    pub changed: Vec<Change>,
    /// Those that were broken and are served again.
    pub mended: Vec<Change>,
    /// Those that a new fault keeps from being served.
    pub broken: Vec<Change>,
    /// Certificates of files that names get now, or no longer.
    pub certificates: Vec<Certificate>,
    /// Other keys of the file that hold at once.
    pub settings: Vec<&'static str>,
    /// Keys whose change waits for a restart or an upgrade.
    pub waiting: Vec<&'static str>,
}

/// A site that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// As in the file.
    pub site: String,
    /// Of the site; of a broken one that of its fault.
    pub line: usize,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A certificate that is another than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// What it is for, as in messages.
    pub names: String,
    /// The day of its end.
    pub until: String,
    /// Whether it is the new one, or one that is served no more.
    pub now: Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Now {
    Added,
    Removed,
}

impl Now {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

impl Certificate {
    /// What one inventory has more and less than the one before it.
    pub(super) fn between(before: &Inventory, after: &Inventory) -> Vec<Self> {
        let told = |certificates: Vec<Told>, now| {
            certificates.into_iter().map(move |told| Self {
                names: told.names,
                until: told.until,
                now,
            })
        };
        let added = told(after.beyond(before), Now::Added);
        added
            .chain(told(before.beyond(after), Now::Removed))
            .collect()
    }
}

impl Changes {
    /// Whether all is as it was, but for what waits.
    pub fn is_empty(&self) -> bool {
        let Self {
            added,
            removed,
            changed,
            mended,
            broken,
            certificates,
            settings,
            waiting: _,
        } = self;
        let sites = [added, removed, changed, mended, broken];
        sites.iter().all(|sites| sites.is_empty()) && certificates.is_empty() && settings.is_empty()
    }

    /// Without what waits ([`Self::waiting`]), which a file may have said long before.
    pub(super) fn between(before: &Config, after: &Config) -> Self {
        let (had, has) = (by_name(before), by_name(after));
        let mut changes = Self::default();
        for site in sites(after) {
            match had.get(site.name()) {
                Some(before) if site.is_as(before) => {}
                _ if site.fault().is_some() => changes.broken.push(site.told()),
                Some(before) if before.fault().is_some() => changes.mended.push(site.told()),
                Some(_) => changes.changed.push(site.told()),
                None => changes.added.push(site.told()),
            }
        }
        let gone = sites(before).filter(|site| !has.contains_key(site.name()));
        changes.removed = gone.map(|site| site.told()).collect();
        let differ = |differs: bool, key: &'static str| differs.then_some(key);
        let (old, new) = (&before.listen, &after.listen);
        changes.settings = [
            differ(before.certificates != after.certificates, "certificates"),
            differ(
                before.trusted_proxies != after.trusted_proxies,
                "trusted_proxies",
            ),
            differ(
                old.proxy_protocol_from != new.proxy_protocol_from,
                "listen.proxy_protocol_from",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        changes
    }

    /// The keys of a configuration that wait, by those that a process started with.
    pub(super) fn waiting(listen: &Listen, log: &Log, now: &Config) -> Vec<&'static str> {
        let addresses = |listen: &Listen| (listen.https.clone(), listen.http.clone());
        let mut waiting = Vec::new();
        if addresses(listen) != addresses(&now.listen) {
            waiting.push("listen");
        }
        if *log != now.log {
            waiting.push("log");
        }
        waiting
    }
}

/// A site of the file, however it is.
enum Site<'a> {
    Served(&'a SiteConfig),
    Broken(&'a BrokenSite),
}

impl<'a> Site<'a> {
    fn name(&self) -> &'a str {
        match self {
            Self::Served(site) => &site.name,
            Self::Broken(site) => &site.name,
        }
    }

    fn fault(&self) -> Option<&str> {
        match self {
            Self::Served(_) => None,
            Self::Broken(site) => Some(&site.message),
        }
    }

    fn told(&self) -> Change {
        Change {
            site: self.name().to_owned(),
            line: match self {
                Self::Served(site) => site.line,
                Self::Broken(site) => site.line,
            },
            fault: self.fault().map(str::to_owned),
        }
    }

    /// A line above it more or less changes no site.
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Served(one), Self::Served(other)) => without_lines(one) == without_lines(other),
            (Self::Broken(one), Self::Broken(other)) => one.message == other.message,
            (Self::Served(_), Self::Broken(_)) | (Self::Broken(_), Self::Served(_)) => false,
        }
    }
}

fn sites(config: &Config) -> impl Iterator<Item = Site<'_>> {
    let served = config.sites.iter().chain(&config.fallback);
    let broken = config.broken.iter().map(Site::Broken);
    served.map(Site::Served).chain(broken)
}

fn by_name(config: &Config) -> HashMap<&str, Site<'_>> {
    sites(config).map(|site| (site.name(), site)).collect()
}

fn without_lines(site: &SiteConfig) -> SiteConfig {
    let mut site = site.clone();
    site.line = 0;
    for route in &mut site.routes {
        route.line = 0;
    }
    site
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> Config {
        config::check(text, &|_| None).config.unwrap()
    }

    fn told(changes: &[Change]) -> Vec<(&str, usize)> {
        let changes = changes.iter();
        changes
            .map(|change| (change.site.as_str(), change.line))
            .collect()
    }

    #[test]
    fn what_changed_is_told_by_site_with_its_line() {
        let before = read("sites:\n  a.test: 1\n  b.test: 2\n  c.test: 3\nfallback: 9\n");
        let after = read("# more\nsites:\n  a.test: 1\n  b.test: 22\n  d.test: 4\nfallback: 9\n");
        let changes = Changes::between(&before, &after);
        assert_eq!(told(&changes.added), [("d.test", 5)]);
        assert_eq!(told(&changes.removed), [("c.test", 4)]);
        assert_eq!(told(&changes.changed), [("b.test", 4)]);
        assert!(changes.broken.is_empty());
        assert!(Changes::between(&after, &after).is_empty());
    }

    #[test]
    fn keys_that_are_no_site_are_told_apart() {
        let before = read("sites: { a.test: 1 }\n");
        let after = read(
            "listen: { https: 8443, proxy_protocol_from: [10.0.0.1] }\nlog: { requests: off }\n\
             trusted_proxies: [10.0.0.1]\ncertificates: { otherwise: refuse }\nsites: { a.test: 1 }\n",
        );
        let changes = Changes::between(&before, &after);
        let waiting = |now| Changes::waiting(&before.listen, &before.log, now);
        assert_eq!(waiting(&after), ["listen", "log"]);
        assert!(waiting(&before).is_empty());
        assert_eq!(
            changes.settings,
            [
                "certificates",
                "trusted_proxies",
                "listen.proxy_protocol_from"
            ]
        );
        assert!(changes.added.is_empty() && changes.changed.is_empty());
    }

    #[test]
    fn a_site_that_breaks_is_told_once_and_as_mended_later() {
        let good = read("sites:\n  a.test: 1\n  b.test: 2\n");
        let bad = read("sites:\n  a.test: 1\n  b.test: 2O\n");
        let moved = read("# more\nsites:\n  a.test: 1\n  b.test: 2O\n");
        let broken = Changes::between(&good, &bad);
        assert_eq!(told(&broken.broken), [("b.test", 3)]);
        assert_eq!(
            broken.broken[0].fault.as_deref(),
            Some("`2O` is not a port")
        );
        assert!(broken.removed.is_empty() && broken.changed.is_empty());
        assert!(Changes::between(&bad, &moved).is_empty());
        assert_eq!(told(&Changes::between(&bad, &good).mended), [("b.test", 3)]);
    }
}
