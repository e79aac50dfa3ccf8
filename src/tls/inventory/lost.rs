//! Pairs of the directory that do not load any more, but were not taken away.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Place};
use crate::tls::directory::Found;
use crate::tls::identity::{Identity, Origin};
use crate::tls::kept::{Read, absolute, kept};

/// Finds them: half of one is there, or something is wrong with what is.
pub(super) struct Lost<'a> {
    found: &'a Found,
    files: HashSet<PathBuf>,
    faulty: HashSet<PathBuf>,
}

impl<'a> Lost<'a> {
    pub(super) fn new(found: &'a Found) -> Self {
        Self {
            found,
            files: found.files.iter().map(|path| absolute(path)).collect(),
            faulty: found.faulty.iter().map(|path| absolute(path)).collect(),
        }
    }

    pub(super) fn holds(&self, identity: &Identity) -> bool {
        let Origin::Files { chain, key } = &identity.origin else {
            return false;
        };
        let (chain, key) = (absolute(chain), absolute(key));
        let is_faulty = |path: &Path| {
            let folder = path.parent().unwrap_or(path);
            self.faulty.contains(path) || self.faulty.contains(folder)
        };
        let half = self.files.contains(&chain) != self.files.contains(&key);
        (half || is_faulty(&chain) || is_faulty(&key)) && !self.is_found(identity)
    }

    /// The same certificate lies elsewhere, with as long a chain.
    fn is_found(&self, identity: &Identity) -> bool {
        let chain = identity.chain();
        let mut found = self.found.identities.iter().map(|found| found.chain());
        found.any(|found| found[0] == chain[0] && found.len() >= chain.len())
    }
}

/// What is said of one that is kept.
pub(super) fn told(read: &Read, at: Place) -> Diagnostic {
    let path = match &read.identity.origin {
        Origin::Files { chain, .. } => chain.display().to_string(),
        Origin::LocalCa => String::new(),
    };
    let fault = Diagnostic::warning(at, format!("the pair of `{path}` does not load"))
        .label("a pair is kept")
        .help("put a chain and the key that belongs to it there, or take both away");
    kept(fault, read.at)
}
