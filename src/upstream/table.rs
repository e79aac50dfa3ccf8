//! Which members of an upstream are used at the moment, ready for choosing.
//!
//! Made anew when a member comes, goes or changes its condition, so that a
//! request looks at nothing but this. A table never changes.

use std::sync::Arc;
use std::time::Instant;

use super::balance;
use super::member::{Checked, Member};

/// The members of an upstream, in order, and who is used.
#[derive(Debug, Default)]
pub struct Table {
    pub members: Vec<Arc<Member>>,
    /// Places of a round among those that are used.
    pub(super) round: Vec<u16>,
    /// Who is tried when all of the round were, in this order.
    pub(super) rest: Vec<u16>,
    /// Who is out, and tried only when all of these were.
    pub(super) out: Vec<u16>,
    /// Who keeps the clients that stick to them.
    sticks: Vec<u16>,
    /// All that are used are down or out: there is no better one.
    pub(super) is_last_resort: bool,
    /// When the first time out ends: another table holds from then on.
    pub(super) until: Option<Instant>,
}

/// How far a member is from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Used,
    Backup,
    Ejected,
    Down,
    Never,
}

impl Table {
    /// Primaries that are neither down nor ejected are used; without any,
    /// backups; without these, those that are ejected, which is but a guess;
    /// and when even a health check leaves none, all are tried.
    pub(super) fn build(members: Vec<Arc<Member>>, now: Instant) -> Self {
        let mut until: Option<Instant> = None;
        let mut ranked = Vec::with_capacity(members.len());
        let mut sticks = Vec::new();
        for (place, member) in (0u16..).zip(&members) {
            let condition = member.condition();
            let ejected = condition.is_ejected(now);
            if let Some(ejection) = condition.ejection.filter(|_| ejected) {
                until = Some(until.map_or(ejection.until, |first| first.min(ejection.until)));
            }
            let rank = match condition.checked {
                _ if condition.draining || member.weight() == 0 => Rank::Never,
                Checked::Down(_) => Rank::Down,
                _ if ejected => Rank::Ejected,
                _ if member.backup => Rank::Backup,
                Checked::Unknown | Checked::Up => Rank::Used,
            };
            // One without a share of the requests still has its own clients.
            let steady = matches!(rank, Rank::Used | Rank::Backup)
                || (rank == Rank::Never && !condition.draining && !ejected && !member.is_down());
            if steady {
                sticks.push(place);
            }
            ranked.push((rank, place));
        }
        ranked.sort_by_key(|(rank, place)| (*rank, *place));
        let first = ranked.first().map_or(Rank::Never, |(rank, _)| *rank);
        let mut used = Vec::new();
        let (mut rest, mut out) = (Vec::new(), Vec::new());
        for (rank, place) in ranked {
            match rank {
                Rank::Never => {}
                _ if rank == first => used.push((place, members[usize::from(place)].weight())),
                // Nobody waits on one that is known to be down while others can be asked.
                Rank::Down => {}
                Rank::Used | Rank::Backup => rest.push(place),
                Rank::Ejected => out.push(place),
            }
        }
        Self {
            round: balance::round(&used),
            rest,
            out,
            sticks,
            members,
            is_last_resort: matches!(first, Rank::Ejected | Rank::Down),
            until,
        }
    }

    /// Who a client sticks to, by what its cookie says.
    pub(super) fn stuck(&self, token: &str) -> Option<&Arc<Member>> {
        let mut members = self.sticks.iter().map(|place| self.at(*place));
        members.find(|member| !member.token.is_empty() && member.token == token)
    }

    pub(super) fn at(&self, place: u16) -> &Arc<Member> {
        &self.members[usize::from(place)]
    }
}
