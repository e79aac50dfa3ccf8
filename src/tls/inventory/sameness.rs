//! Whether two inventories serve the same: files are read again more often
//! than they say anything else.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Authorities, Inventory};
use crate::tls::identity::Identity;

impl Inventory {
    /// Whether every name gets the same certificate, and endpoints are vouched
    /// for by the same.
    pub fn is_as(&self, other: &Self) -> bool {
        let same = |one: &Arc<Identity>, other: &Arc<Identity>| one.chain() == other.chain();
        let both = |one: &Option<Arc<Identity>>, other: &Option<Arc<Identity>>| match (one, other) {
            (Some(one), Some(other)) => same(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.otherwise == other.otherwise
            && self.addresses == other.addresses
            && both(&self.unnamed, &other.unnamed)
            && self.by_name.is_as(&other.by_name, same)
            && self.sites.is_as(&other.sites, |one, other| {
                one.exact == other.exact && both(&one.own, &other.own)
            })
            && vouched(&self.authorities) == vouched(&other.authorities)
    }
}

/// A certificate for people: what it is for, and until when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// As in messages: `` `a.com` and `b.com` ``.
    pub names: String,
    /// The day of its end.
    pub until: String,
}

impl Inventory {
    /// The certificates of files that names get here and not there.
    pub fn beyond(&self, other: &Self) -> Vec<Told> {
        let leaves: HashSet<_> = other
            .by_name
            .values()
            .map(|it| it.chain().first())
            .collect();
        let mut seen = HashSet::new();
        let new = self.by_name.values().filter(|identity| {
            let leaf = identity.chain().first();
            !leaves.contains(&leaf) && seen.insert(leaf)
        });
        let mut told: Vec<Told> = new
            .map(|identity| Told {
                names: identity.told_names(),
                until: identity.told_end(),
            })
            .collect();
        told.sort();
        told
    }
}

fn vouched(authorities: &Authorities) -> HashMap<Option<&PathBuf>, u64> {
    let authorities = authorities.iter();
    authorities
        .map(|(file, authority)| (file.as_ref(), authority.fingerprint))
        .collect()
}
