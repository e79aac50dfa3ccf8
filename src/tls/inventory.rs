//! The inventory: all certificates that lie in files, and which one a name gets.
//!
//! A site's own pair comes first, then whatever certificate names the host;
//! of two that do, a valid one before an expired one, then the one that lives
//! longer. Reading finds every fault at once and writes nothing, so that
//! `check` and `run` see the same. While hostmux runs, a pair or a CA that was
//! good and does not load now is kept as it was read before.

mod loading;
mod lost;
mod own;
mod pair;
mod sameness;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use sameness::Told;

use super::identity::{Identity, told};
use super::kept::absolute;
use super::local_ca::Asked;
use super::{Authorities, Otherwise, Settings, SiteSettings};
use crate::diagnostic::{Diagnostic, Place};
use crate::host::{HostMap, HostName, HostPattern, canonical};
use loading::{Loading, Record};

/// How many files and folders are told to whoever watches them. Those that the
/// configuration names come first; a file of the directory that comes too late
/// is seen by the directory's own change, if it is replaced.
pub const FILES_TOLD_MAX: usize = 10_000;

/// Certificates by the names they are for.
#[derive(Debug, Default)]
pub struct Inventory {
    sites: HostMap<OfSite>,
    by_name: HostMap<Arc<Identity>>,
    /// For clients that say no name.
    unnamed: Option<Arc<Identity>>,
    /// The sites that are addresses, which no client can say as a server name.
    addresses: Vec<HostName>,
    otherwise: Otherwise,
    authorities: Authorities,
    record: Record,
    files: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
struct OfSite {
    own: Option<Arc<Identity>>,
    /// The site has just this name, not a wildcard that holds it.
    exact: bool,
}

/// What a name gets.
#[derive(Debug)]
pub enum Which<'a> {
    /// A certificate from files.
    Files(&'a Arc<Identity>),
    /// A leaf of the local CA.
    LocalCa,
    /// A failed handshake.
    Refused,
}

impl Inventory {
    /// Reads every certificate the settings speak of. Relative paths are
    /// beside `base`, the folder of the configuration file. With an error among
    /// the diagnostics the inventory is not complete.
    ///
    /// `previous`: what was read of the same configuration file before. A
    /// site's own pair, one of the directory, or a CA that was good there and
    /// does not load now stays as it was, with a warning.
    pub fn load(
        settings: &Settings,
        base: &Path,
        now: SystemTime,
        previous: Option<&Self>,
    ) -> (Self, Vec<Diagnostic>) {
        let mut loading = Loading::new(base, now, previous.map(|previous| &previous.record));
        let mut inventory = Self {
            otherwise: settings.otherwise,
            ..Self::default()
        };
        for site in &settings.sites {
            let own = loading.own_pair(site);
            inventory.add_site(site, own.as_ref());
            if let Some(identity) = own {
                loading.offer(&identity);
            }
        }
        loading.directory(settings);
        inventory.unnamed = loading.unnamed(&inventory);
        for (pattern, identity) in loading.winners() {
            inventory.by_name.insert(pattern, identity);
        }
        let cas = settings
            .authorities
            .iter()
            .filter_map(|wanted| wanted.ca.as_ref());
        let named = loading.named_files.into_iter();
        let files = named
            .chain(cas.map(|ca| base.join(ca)))
            .chain(loading.files);
        let mut seen = HashSet::new();
        inventory.files = files
            .map(|path| absolute(&path))
            .filter(|path| seen.insert(path.clone()))
            .take(FILES_TOLD_MAX)
            .collect();
        inventory.record = loading.record;
        let mut diagnostics = loading.diagnostics;
        inventory.authorities = Authorities::load(
            &settings.authorities,
            base,
            now,
            previous.map(|previous| &previous.authorities),
            &mut diagnostics,
        );
        if settings.otherwise == Otherwise::Refuse {
            diagnostics.extend(
                settings
                    .sites
                    .iter()
                    .filter_map(|site| inventory.uncovered(site)),
            );
        }
        (inventory, diagnostics)
    }

    /// Every file and folder that was read, or looked for and not found: when
    /// one of them changes, another inventory may come of it. Absolute paths,
    /// links not followed, each once, at most [`FILES_TOLD_MAX`].
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whom endpoints are vouched for by.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// What a name gets, in any spelling of it. Issues nothing.
    pub fn identity_for(&self, name: &str) -> Which<'_> {
        match canonical(name) {
            Ok(Cow::Borrowed(name)) => self.which(name),
            Ok(Cow::Owned(name)) => self.which(&name),
            Err(_) => Which::Refused,
        }
    }

    /// What a client gets that says no name.
    pub fn identity_unnamed(&self) -> Which<'_> {
        self.unnamed
            .as_ref()
            .map_or_else(|| self.otherwise(), Which::Files)
    }

    /// What a canonical name gets.
    pub(super) fn which(&self, name: &str) -> Which<'_> {
        let own = self.sites.get(name).and_then(|site| site.own.as_ref());
        own.or_else(|| self.by_name.get(name))
            .map_or_else(|| self.otherwise(), Which::Files)
    }

    /// Whether a canonical name stands in the configuration, letter for letter.
    pub(super) fn asked(&self, name: &str) -> Asked {
        match self.sites.get(name) {
            Some(site) if site.exact => Asked::BySite,
            Some(_) | None => Asked::ByStranger,
        }
    }

    pub(super) fn addresses(&self) -> &[HostName] {
        &self.addresses
    }

    fn otherwise(&self) -> Which<'_> {
        match self.otherwise {
            Otherwise::LocalCa => Which::LocalCa,
            Otherwise::Refuse => Which::Refused,
        }
    }

    fn add_site(&mut self, site: &SiteSettings, own: Option<&Arc<Identity>>) {
        for host in &site.hosts {
            let exact = match host {
                HostPattern::Exact(name) => {
                    if name.is_address() {
                        self.addresses.push(name.clone());
                    }
                    true
                }
                HostPattern::Wildcard(_) => false,
            };
            let of_site = OfSite {
                own: own.cloned(),
                exact,
            };
            self.sites.insert(host.clone(), of_site);
        }
    }

    /// A site whose clients will all be refused.
    fn uncovered(&self, site: &SiteSettings) -> Option<Diagnostic> {
        if site.certificate.is_some() {
            return None;
        }
        let covers = |host: &HostPattern| match host {
            HostPattern::Exact(name) => self.by_name.get(name.as_str()).is_some(),
            HostPattern::Wildcard(_) => self.by_name.of(host).is_some(),
        };
        let bare: Vec<_> = site
            .hosts
            .iter()
            .filter(|host| !covers(host))
            .cloned()
            .collect();
        if bare.is_empty() {
            return None;
        }
        let message = format!("no certificate covers {}", told(&bare));
        Some(
            Diagnostic::warning(Place::Key(site.at.clone()), message)
                .label("its clients are refused")
                .help("put a pair into the certificates directory, or set `certificates.otherwise: local_ca`"),
        )
    }
}

#[cfg(test)]
mod renewal_tests;
#[cfg(test)]
mod tests;
