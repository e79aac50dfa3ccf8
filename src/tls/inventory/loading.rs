//! Reading all that the settings speak of, and choosing the best for each name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::Inventory;
use super::pair::{Pair, concerns};
use crate::diagnostic::{self, Diagnostic, Place};
use crate::host::{HostName, HostPattern};
use crate::tls::directory;
use crate::tls::identity::{Identity, Validity, told};
use crate::tls::{CertificateFiles, Otherwise, Settings, SiteSettings};

/// What has been read so far.
pub(super) struct Loading<'a> {
    base: &'a Path,
    now: SystemTime,
    pairs: HashMap<&'a CertificateFiles, Pair>,
    /// The best certificate of each name.
    named: BTreeMap<HostPattern, Arc<Identity>>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<'a> Loading<'a> {
    pub(super) fn new(base: &'a Path, now: SystemTime) -> Self {
        Self {
            base,
            now,
            pairs: HashMap::new(),
            named: BTreeMap::new(),
            diagnostics: Vec::new(),
        }
    }

    pub(super) fn own_pair(&mut self, site: &'a SiteSettings) -> Option<Arc<Identity>> {
        let files = site.certificate.as_ref()?;
        let (base, now) = (self.base, self.now);
        let pair = self
            .pairs
            .entry(files)
            .or_insert_with(|| Pair::read(files, base, now))
            .clone();
        let at = site.at.key("certificate");
        for finding in pair.findings {
            self.diagnostics.push(finding.at(&at));
        }
        let identity = pair.identity?;
        let bare = site
            .hosts
            .iter()
            .filter(|host| !identity.covers_pattern(host));
        let bare: Vec<_> = bare.cloned().collect();
        if !bare.is_empty() {
            let message = format!("the certificate does not cover {}", told(&bare));
            self.diagnostics.push(
                Diagnostic::error(Place::Value(at.key("chain")), message)
                    .label(format!("covers {}", identity.told_names()))
                    .help(
                        "name a certificate that does; without `certificate` one is \
                         found by its names",
                    ),
            );
        }
        Some(identity)
    }

    pub(super) fn directory(&mut self, settings: &Settings) {
        let at = Place::Value(
            diagnostic::Path::root()
                .key("certificates")
                .key("directory"),
        );
        let directory = self.base.join(&settings.directory);
        let found = match directory::read(&directory) {
            Ok(found) => found,
            Err(error) => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                if settings.directory_is_required || !is_missing {
                    self.diagnostics.push(unreadable(at, &directory, &error));
                }
                return;
            }
        };
        let notices = found.notices.into_iter();
        let mut warnings: Vec<_> = notices
            .map(|notice| Diagnostic::warning(at.clone(), notice.message).help(notice.help))
            .collect();
        for identity in &found.identities {
            let concerns = concerns(identity, self.now).into_iter();
            warnings.extend(concerns.map(|finding| finding.warning(at.clone())));
            self.offer(identity);
        }
        // A pair that a site names may lie here too: what was said of it there is not said twice.
        let told: HashSet<_> = self
            .diagnostics
            .iter()
            .map(|told| told.message.clone())
            .collect();
        warnings.retain(|warning| !told.contains(&warning.message));
        self.diagnostics.append(&mut warnings);
    }

    /// Puts an identity under those of its names that it is the best for.
    pub(super) fn offer(&mut self, identity: &Arc<Identity>) {
        for name in identity.names() {
            let now = self.now;
            let best = self
                .named
                .entry(name.clone())
                .or_insert_with(|| Arc::clone(identity));
            if rank(identity, now) > rank(best, now) {
                *best = Arc::clone(identity);
            }
        }
    }

    /// The best of each name. An exact name whose certificate is of no use
    /// leaves the name to a wildcard whose certificate is.
    pub(super) fn winners(&self) -> Vec<(HostPattern, Arc<Identity>)> {
        let is_valid = |identity: &Identity| identity.validity(self.now) == Validity::Valid;
        let has_better = |pattern: &HostPattern| {
            let HostPattern::Exact(name) = pattern else {
                return false;
            };
            let above = name
                .parent()
                .and_then(|parent| HostName::parse(parent).ok());
            let above = above.and_then(|parent| self.named.get(&HostPattern::Wildcard(parent)));
            above.is_some_and(|identity| is_valid(identity))
        };
        let named = self.named.iter();
        named
            .filter(|(pattern, identity)| is_valid(identity) || !has_better(pattern))
            .map(|(pattern, identity)| (pattern.clone(), Arc::clone(identity)))
            .collect()
    }

    /// Clients that say no name have been given an address, or are very old.
    /// They get the pair of a site that is an address, else the best
    /// certificate that names any address. Without one the local CA makes a
    /// leaf for this machine; where it may not, the only certificate serves.
    pub(super) fn unnamed(&self, inventory: &Inventory) -> Option<Arc<Identity>> {
        let of_site = inventory.addresses.iter().find_map(|name| {
            inventory
                .sites
                .get(name.as_str())
                .and_then(|site| site.own.clone())
        });
        let names_an_address = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) => name.is_address(),
            HostPattern::Wildcard(_) => false,
        };
        let with_address = || {
            let named = self
                .named
                .iter()
                .filter(|(pattern, _)| names_an_address(pattern));
            named
                .map(|(_, identity)| identity)
                .max_by_key(|one| rank(one, self.now))
                .cloned()
        };
        let only = || {
            let mut all = self.named.values();
            let first = all
                .next()
                .filter(|_| inventory.otherwise == Otherwise::Refuse)?;
            all.all(|other| other.chain() == first.chain())
                .then(|| Arc::clone(first))
        };
        of_site.or_else(with_address).or_else(only)
    }
}

/// Which of two certificates for one name is better.
fn rank(identity: &Identity, now: SystemTime) -> (bool, SystemTime) {
    (
        identity.validity(now) == Validity::Valid,
        identity.not_after,
    )
}

fn unreadable(at: Place, directory: &Path, error: &io::Error) -> Diagnostic {
    let directory = directory.display();
    if error.kind() == io::ErrorKind::NotFound {
        return Diagnostic::error(at, format!("the directory `{directory}` does not exist"))
            .label("no such directory")
            .help("create it; a relative path is beside the configuration file");
    }
    Diagnostic::error(
        at,
        format!("the directory `{directory}` could not be read: {error}"),
    )
    .label("cannot be read")
    .help("it has to be a directory that the user who runs hostmux can read")
}
