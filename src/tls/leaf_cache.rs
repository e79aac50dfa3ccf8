//! Leaves of the local CA, by name, for as long as they are good.
//!
//! Bounded in number and in how many are made a second, because the names come
//! from clients. The lock is held to look and to store, never to sign.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::identity::Identity;

/// What a full cache forgets at once: an eighth, those not asked for the longest.
const FORGOTTEN_SHARE: usize = 8;
/// A leaf is made anew when less than a third of its life is left.
const RENEWAL_SHARE: u32 = 3;

#[derive(Debug)]
pub(super) struct LeafCache {
    leaves_max: usize,
    /// `None`: as many as are asked for.
    made_max_a_second: Option<u32>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    leaves: HashMap<String, Kept, foldhash::fast::RandomState>,
    /// Counts look-ups: which leaf was asked for before which.
    clock: u64,
    /// The second that `made` counts, from the Unix epoch.
    second: u64,
    made: u32,
}

#[derive(Debug)]
struct Kept {
    leaf: Arc<Identity>,
    used: u64,
}

impl LeafCache {
    pub(super) fn new(leaves_max: usize, made_max_a_second: Option<u32>) -> Self {
        Self {
            leaves_max,
            made_max_a_second,
            inner: Mutex::default(),
        }
    }

    /// The leaf under this key, made if there is none or if it is soon to
    /// expire. `None` if it may not or could not be made, and none is good.
    pub(super) fn leaf<E>(
        &self,
        key: &str,
        now: SystemTime,
        make: impl FnOnce() -> Result<Identity, E>,
    ) -> Option<Arc<Identity>> {
        let (kept, may_make) = {
            let mut inner = self.lock();
            let kept = inner.touch(key);
            if let Some(leaf) = kept.as_ref().filter(|leaf| !is_due(leaf, now)) {
                return Some(Arc::clone(leaf));
            }
            (kept, inner.may_make(self.made_max_a_second, now))
        };
        let made = if may_make { make().ok() } else { None };
        match made {
            Some(leaf) => {
                let leaf = Arc::new(leaf);
                self.lock().keep(key, &leaf, self.leaves_max);
                Some(leaf)
            }
            None => kept.filter(|leaf| now <= leaf.not_after),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held, and each change of the map is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn touch(&mut self, key: &str) -> Option<Arc<Identity>> {
        self.clock += 1;
        let kept = self.leaves.get_mut(key)?;
        kept.used = self.clock;
        Some(Arc::clone(&kept.leaf))
    }

    fn may_make(&mut self, made_max: Option<u32>, now: SystemTime) -> bool {
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.made = 0;
        }
        if made_max.is_some_and(|max| self.made >= max) {
            return false;
        }
        self.made = self.made.saturating_add(1);
        true
    }

    fn keep(&mut self, key: &str, leaf: &Arc<Identity>, leaves_max: usize) {
        if self.leaves.len() >= leaves_max && !self.leaves.contains_key(key) {
            self.forget();
        }
        let kept = Kept {
            leaf: Arc::clone(leaf),
            used: self.clock,
        };
        self.leaves.insert(key.to_owned(), kept);
    }

    fn forget(&mut self) {
        let mut used: Vec<u64> = self.leaves.values().map(|kept| kept.used).collect();
        let last = used.len() / FORGOTTEN_SHARE;
        if used.is_empty() {
            return;
        }
        let (_, &mut oldest_kept, _) = used.select_nth_unstable(last);
        // The one at the border goes too, so that at least one goes.
        self.leaves.retain(|_, kept| kept.used > oldest_kept);
    }
}

fn is_due(leaf: &Identity, now: SystemTime) -> bool {
    let life = leaf
        .not_after
        .duration_since(leaf.not_before)
        .unwrap_or_default();
    match leaf.not_after.duration_since(now) {
        Ok(left) => left < life / RENEWAL_SHARE,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::time::Duration;

    use rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::tls::identity::{Key, Origin};
    use crate::tls::specimen::{DAY, Specimen};

    /// Makes leaves of 90 days, valid from the moment given.
    struct Maker {
        specimen: Specimen,
        made: Cell<usize>,
    }

    impl Maker {
        fn new() -> Self {
            Self {
                specimen: Specimen::of(&["a.test"]),
                made: Cell::new(0),
            }
        }

        fn ask(&self, cache: &LeafCache, key: &str, now: SystemTime) -> Option<Arc<Identity>> {
            cache.leaf(key, now, || {
                self.made.set(self.made.get() + 1);
                let der = PrivateKeyDer::Pkcs8(self.specimen.key.serialize_der().into());
                let key = Key::load(&der).unwrap();
                let chain = [self.specimen.der().clone()];
                let mut leaf = Identity::from_pair(&chain, &[key], Origin::LocalCa).unwrap();
                (leaf.not_before, leaf.not_after) = (now, now + 90 * DAY);
                Ok::<_, Infallible>(leaf)
            })
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn a_leaf_is_made_once_and_renewed_in_its_last_third() {
        let (maker, cache) = (Maker::new(), LeafCache::new(8, None));
        let first = maker.ask(&cache, "a.test", at(0)).unwrap();
        let again = maker.ask(&cache, "a.test", at(0) + 59 * DAY).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let renewed = maker.ask(&cache, "a.test", at(0) + 61 * DAY).unwrap();
        assert!(!Arc::ptr_eq(&first, &renewed));
        assert_eq!(maker.made.get(), 2);
    }

    #[test]
    fn the_number_of_leaves_is_bounded_and_the_least_used_goes() {
        let (maker, cache) = (Maker::new(), LeafCache::new(16, None));
        for n in 0..100 {
            maker.ask(&cache, &format!("{n}.test"), at(0)).unwrap();
            maker.ask(&cache, "0.test", at(0)).unwrap();
            assert!(cache.lock().leaves.len() <= 16);
        }
        assert_eq!(maker.made.get(), 100, "the one in use was never made twice");
        maker.ask(&cache, "1.test", at(0)).unwrap();
        assert_eq!(maker.made.get(), 101);
    }

    #[test]
    fn a_cache_of_one_works() {
        let (maker, cache) = (Maker::new(), LeafCache::new(1, None));
        for name in ["a", "b", "c"] {
            maker.ask(&cache, name, at(0)).unwrap();
        }
        assert_eq!(cache.lock().leaves.len(), 1);
    }

    #[test]
    fn the_leaves_made_a_second_are_bounded() {
        let (maker, cache) = (Maker::new(), LeafCache::new(100, Some(5)));
        let ask = |second: u64| {
            let names = (0..9).map(|n| format!("{second}-{n}.test"));
            names
                .filter(|name| maker.ask(&cache, name, at(second)).is_some())
                .count()
        };
        assert_eq!(ask(0), 5);
        assert_eq!(ask(1), 5);
        assert!(
            maker.ask(&cache, "0-0.test", at(1)).is_some(),
            "what is there is not refused"
        );
    }

    #[test]
    fn a_leaf_that_cannot_be_renewed_is_used_to_its_end() {
        let (maker, cache) = (Maker::new(), LeafCache::new(100, Some(1)));
        maker.ask(&cache, "a.test", at(0)).unwrap();
        let refuse = |now| cache.leaf("a.test", now, || Err(()));
        assert!(refuse(at(0) + 89 * DAY).is_some());
        assert!(refuse(at(0) + 91 * DAY).is_none());
    }
}
