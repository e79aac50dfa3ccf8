//! The ticket keys that count, and which one is for what.

use std::sync::Arc;

use super::key::{Key, Name};

/// How many keys are kept: two are usual, one more for each other process that
/// made its own before it could see the file.
pub(super) const KEYS_MAX: usize = 8;

/// Keys, the newest first. Processes with the same keys have them in the same order.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring(Vec<Arc<Key>>);

impl Ring {
    pub(super) fn of(keys: Vec<Key>, now: u64) -> Self {
        Self(keys.into_iter().map(Arc::new).collect()).without_old(now)
    }

    pub(super) fn keys(&self) -> &[Arc<Key>] {
        &self.0
    }

    /// Whether a key is young enough for new tickets.
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.0.first().is_some_and(|key| key.seals(now))
    }

    /// The key for new tickets: the newest, and while nobody can make another,
    /// one that still opens.
    pub(super) fn sealing(&self, now: u64) -> Option<&Key> {
        let newest = self.0.first()?;
        newest.opens(now).then_some(newest)
    }

    /// The key of this name, if it still opens.
    pub(super) fn opening(&self, name: &Name, now: u64) -> Option<&Key> {
        let key = self.0.iter().find(|key| key.name == *name)?;
        key.opens(now).then_some(key)
    }

    /// Both, without what opens no more.
    pub(super) fn joined(&self, other: &Self, now: u64) -> Self {
        let mut keys = self.0.clone();
        for key in &other.0 {
            if !keys.iter().any(|had| had.name == key.name) {
                keys.push(Arc::clone(key));
            }
        }
        Self(keys).without_old(now)
    }

    /// The same keys.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let names = |ring: &Self| ring.0.iter().map(|key| key.name).collect::<Vec<_>>();
        names(self) == names(other)
    }

    fn without_old(mut self, now: u64) -> Self {
        self.0.retain(|key| key.opens(now));
        self.0
            .sort_unstable_by_key(|key| std::cmp::Reverse((key.made, key.name)));
        self.0.truncate(KEYS_MAX);
        self
    }
}
