//! Whether two inventories serve the same: files are read again more often
//! than they say anything else.

use std::collections::HashMap;
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

fn vouched(authorities: &Authorities) -> HashMap<Option<&PathBuf>, u64> {
    let authorities = authorities.iter();
    authorities
        .map(|(file, authority)| (file.as_ref(), authority.fingerprint))
        .collect()
}
