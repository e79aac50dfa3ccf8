//! Reading all that the settings speak of, and choosing the best for each name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Inventory;
use super::lost::{self, Lost};
use super::own::{self, Own};
use super::pair::{Pair, concerns};
use crate::diagnostic::{self, Diagnostic, Place, Severity};
use crate::host::{HostName, HostPattern};
use crate::tls::directory;
use crate::tls::identity::{Identity, Validity};
use crate::tls::kept::{Read, absolute, kept};
use crate::tls::{CertificateFiles, Otherwise, Settings, SiteSettings};

/// What the next reading keeps where it must.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The pairs of sites that were without an error.
    own: HashMap<CertificateFiles, Read>,
    directory: PathBuf,
    in_directory: Vec<Read>,
}

/// What has been read so far.
pub(super) struct Loading<'a> {
    base: &'a Path,
    now: SystemTime,
    previous: Option<&'a Record>,
    pairs: HashMap<&'a CertificateFiles, Pair>,
    /// The best certificate of each name.
    named: BTreeMap<HostPattern, Arc<Identity>>,
    /// What was said of the pairs of sites.
    said: HashSet<String>,
    pub(super) record: Record,
    /// The files of pairs that sites name.
    pub(super) named_files: Vec<PathBuf>,
    /// The directory, and what is in it.
    pub(super) files: Vec<PathBuf>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<'a> Loading<'a> {
    pub(super) fn new(base: &'a Path, now: SystemTime, previous: Option<&'a Record>) -> Self {
        Self {
            base,
            now,
            previous,
            pairs: HashMap::new(),
            named: BTreeMap::new(),
            said: HashSet::new(),
            record: Record::default(),
            named_files: Vec::new(),
            files: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    pub(super) fn own_pair(&mut self, site: &'a SiteSettings) -> Option<Arc<Identity>> {
        let files = site.certificate.as_ref()?;
        let (base, now) = (self.base, self.now);
        let paths = [&files.chain, &files.key].map(|path| base.join(path));
        self.named_files.extend(paths);
        let pair = self
            .pairs
            .entry(files)
            .or_insert_with(|| Pair::read(files, base, now))
            .clone();
        let said = pair.findings.iter().map(|finding| &finding.message);
        self.said.extend(said.cloned());
        let before = self.previous.and_then(|previous| previous.own.get(files));
        let Own { taken, mut found } = own::judge(pair, before, site, now);
        let is_good = found
            .iter()
            .all(|found| found.severity == Severity::Warning);
        if let (Some(taken), true) = (&taken, is_good) {
            // Of several sites that have the pair, one may need what was before.
            let record = self.record.own.entry(files.clone());
            let record = record.or_insert_with(|| taken.clone());
            if taken.at < record.at {
                *record = taken.clone();
            }
        }
        self.diagnostics.append(&mut found);
        Some(taken?.identity)
    }

    pub(super) fn directory(&mut self, settings: &Settings) {
        let at = Place::Value(
            diagnostic::Path::root()
                .key("certificates")
                .key("directory"),
        );
        let directory = self.base.join(&settings.directory);
        self.files.push(directory.clone());
        self.record.directory = absolute(&directory);
        let before = self
            .previous
            .filter(|before| before.directory == self.record.directory);
        let before = before.map_or(&[][..], |before| &before.in_directory);
        let mut found = match directory::read(&directory) {
            Ok(found) => found,
            Err(error) => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                if settings.directory_is_required || !is_missing {
                    self.diagnostics.push(unreadable(at, &directory, &error));
                } else if let Some(last) = before.iter().max_by_key(|read| read.at) {
                    let fault = unreadable(at, &directory, &error);
                    self.diagnostics.push(kept(fault, last.at));
                }
                before.iter().for_each(|read| self.keep(read));
                return;
            }
        };
        self.files.append(&mut found.folders.clone());
        self.files.append(&mut found.files.clone());
        let notices = std::mem::take(&mut found.notices).into_iter();
        let mut warnings: Vec<_> = notices
            .map(|notice| Diagnostic::warning(at.clone(), notice.message).help(notice.help))
            .collect();
        // First: of two chains of one certificate the longer one is kept.
        let lost = Lost::new(&found);
        for read in before.iter().filter(|read| lost.holds(&read.identity)) {
            let mut own = self.record.own.values();
            if !own.any(|own| own.identity.chain() == read.identity.chain()) {
                warnings.push(lost::told(read, at.clone()));
            }
            self.keep(read);
        }
        for identity in &found.identities {
            let concerns = concerns(identity, self.now).into_iter();
            warnings.extend(concerns.map(|finding| finding.warning(at.clone())));
            self.keep(&Read {
                identity: Arc::clone(identity),
                at: self.now,
            });
        }
        // A pair that a site names may lie here too: what was said of it there is not said twice.
        warnings.retain(|warning| !self.said.contains(&warning.message));
        self.diagnostics.append(&mut warnings);
    }

    /// Offers an identity of the directory, and remembers it.
    fn keep(&mut self, read: &Read) {
        self.offer(&read.identity);
        self.record.in_directory.push(read.clone());
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
