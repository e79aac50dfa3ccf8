//! What an answer means: which endpoints there are, when to ask again, and
//! what is told. Pure; the clock is an argument.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Pace;
use crate::upstream::place::{Address, Named, Spot};
use crate::upstream::registry::{MEMBERS_MAX, WEIGHT_MAX};

/// An endpoint that a place comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub spot: Spot,
    pub weight: u16,
    pub backup: bool,
}

/// What one question brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Looked<T> {
    /// At least one, and for how long it holds.
    Found(Vec<T>, Duration),
    /// There is no such name, or nothing of this kind behind it.
    Nothing(String),
    /// Nobody could say.
    Failed(String),
}

/// A target of a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) named: Named,
}

/// One host's addresses of one family.
pub(super) struct Part {
    pub(super) named: Named,
    pub(super) weight: u16,
    pub(super) backup: bool,
    pub(super) v6: bool,
    pub(super) looked: Looked<IpAddr>,
}

/// What is known of a name now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Found {
        found: Vec<Found>,
        /// What nobody could say: the known addresses of these stay.
        missing: Vec<(Named, bool)>,
        ttl: Duration,
    },
    Nothing(String),
    Failed(String),
}

impl Answer {
    /// Puts the parts together. `ttl`: the most for which the whole holds.
    pub(super) fn of(parts: Vec<Part>, mut ttl: Duration) -> Self {
        let (mut found, mut missing) = (Vec::<Found>::new(), Vec::new());
        let (mut known, mut nothing, mut failed) = (HashSet::new(), None, None);
        for part in parts {
            match part.looked {
                Looked::Found(mut addresses, valid) => {
                    ttl = ttl.min(valid);
                    // As many as an answer holds, of each of many targets, would
                    // keep all health checks waiting. In order, so that those
                    // that are left are the same each time.
                    addresses.sort_unstable();
                    addresses.truncate(MEMBERS_MAX);
                    for ip in addresses {
                        let address = Address::Socket(SocketAddr::new(ip, part.named.port));
                        let spot = Spot {
                            address,
                            behind: Some(part.named.clone()),
                        };
                        if known.insert(spot.clone()) {
                            found.push(Found {
                                spot,
                                weight: part.weight,
                                backup: part.backup,
                            });
                        }
                    }
                }
                Looked::Nothing(why) => nothing = nothing.or(Some(why)),
                Looked::Failed(why) => {
                    missing.push((part.named, part.v6));
                    failed = failed.or(Some(why));
                }
            }
        }
        match (found.is_empty(), failed) {
            (false, _) => Self::Found {
                found,
                missing,
                ttl,
            },
            (true, Some(why)) => Self::Failed(why),
            (true, None) => Self::Nothing(nothing.unwrap_or_else(|| "it has no target".to_owned())),
        }
    }
}

/// The weight of each target beside the others, and whether it is a backup.
///
/// RFC 2782: the lowest priority comes first, and within one the share of the
/// requests is the weight; 0 is a very small one, and of no meaning where all
/// have it. Those of every later priority are backups together.
pub(super) fn weigh(targets: &[Target], weight: u16) -> Vec<(u16, bool)> {
    let first = targets.iter().map(|target| target.priority).min();
    let backup = |target: &Target| Some(target.priority) != first;
    let heaviest = |backups: bool| {
        let tier = targets.iter().filter(|target| backup(target) == backups);
        tier.map(|target| u32::from(target.weight))
            .max()
            .unwrap_or(0)
    };
    let most = u32::from(WEIGHT_MAX);
    let weighed = targets.iter().map(|target| {
        let backup = backup(target);
        let heaviest = heaviest(backup);
        let (mut share, mut heaviest) = match heaviest {
            0 => (1, 1),
            heaviest => (u32::from(target.weight), heaviest),
        };
        share = share.saturating_mul(weight.into());
        heaviest = heaviest.saturating_mul(weight.into());
        if heaviest > most {
            share = u32::try_from(u64::from(share) * u64::from(most) / u64::from(heaviest))
                .unwrap_or(most);
        }
        let least = weight.min(1);
        let share = u16::try_from(share).unwrap_or(WEIGHT_MAX).max(least);
        (share, backup)
    });
    weighed.collect()
}

/// What is known of a name of an upstream.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) found: Vec<Found>,
    /// Answers in a row that brought nothing.
    failures: u32,
    /// Since when it has been said that there is nothing.
    nothing_since: Option<Instant>,
    /// It was told that it does not resolve.
    troubled: bool,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lesson {
    /// How long until the next question.
    pub(super) wait: Duration,
    pub(super) told: Option<Told>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// `kept`: endpoints that are used on.
    Trouble {
        why: String,
        kept: usize,
    },
    GivenUp,
    Again,
}

impl Known {
    /// `found`: what was known before.
    pub(super) fn new(found: Vec<Found>) -> Self {
        Self {
            found,
            ..Self::default()
        }
    }

    pub(super) fn learn(&mut self, answer: Answer, pace: &Pace, now: Instant) -> Lesson {
        match answer {
            Answer::Found {
                found,
                missing,
                ttl,
            } => self.resolved(found, &missing, ttl, pace),
            Answer::Nothing(why) => {
                let since = *self.nothing_since.get_or_insert(now);
                let left = (since + pace.grace).saturating_duration_since(now);
                let mut lesson = self.troubled(why, pace);
                if !self.found.is_empty() {
                    if left.is_zero() {
                        self.found.clear();
                        lesson.told = Some(Told::GivenUp);
                    }
                    lesson.wait = lesson.wait.min(left.max(pace.retry_first));
                }
                lesson
            }
            Answer::Failed(why) => self.troubled(why, pace),
        }
    }

    fn resolved(
        &mut self,
        mut found: Vec<Found>,
        missing: &[(Named, bool)],
        ttl: Duration,
        pace: &Pace,
    ) -> Lesson {
        let kept = self.found.iter().filter(|known| {
            is_of(known, missing) && found.iter().all(|found| found.spot != known.spot)
        });
        let kept: Vec<Found> = kept.cloned().collect();
        found.extend(kept);
        // Servers tell addresses in another order each time.
        found.sort_by_cached_key(|found| (found.backup, found.spot.to_string()));
        found.truncate(MEMBERS_MAX);
        self.found = found;
        self.failures = 0;
        self.nothing_since = None;
        let longest = match missing {
            [] => pace.ttl_max,
            _ => pace.retry_last,
        };
        Lesson {
            wait: ttl.min(longest).max(pace.ttl_min),
            told: std::mem::take(&mut self.troubled).then_some(Told::Again),
        }
    }

    fn troubled(&mut self, why: String, pace: &Pace) -> Lesson {
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let kept = self.found.len();
        let first = !std::mem::replace(&mut self.troubled, true);
        Lesson {
            wait: pace
                .retry_first
                .saturating_mul(doubled)
                .min(pace.retry_last),
            told: first.then_some(Told::Trouble { why, kept }),
        }
    }
}

/// Whether an endpoint is of a host and family that nobody could tell of.
fn is_of(found: &Found, missing: &[(Named, bool)]) -> bool {
    let Address::Socket(address) = &found.spot.address else {
        return false;
    };
    missing
        .iter()
        .any(|(named, v6)| found.spot.behind.as_ref() == Some(named) && *v6 == address.is_ipv6())
}

#[cfg(test)]
mod tests;
