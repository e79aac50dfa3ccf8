//! A member: an endpoint as one upstream has it, with its weight, its
//! condition and the requests under way.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::EndpointSettings;
use super::eject::Ejection;
use super::endpoint::Endpoint;
use super::room::Room;

/// Where a member comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `sites.yaml` names it.
    File,
    /// Added by the control socket with `--runtime`: gone with the process.
    Runtime,
    /// Found behind a name that `sites.yaml` has.
    Discovered(Arc<str>),
}

impl Origin {
    /// Of what is found behind the name of an endpoint.
    pub fn behind(endpoint: &EndpointSettings) -> Self {
        Self::Discovered(endpoint.to_string().into())
    }
}

/// What the health check found last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Checked {
    /// There is none, or it has not ended yet: used as if it were up.
    #[default]
    Unknown,
    Up,
    /// With what was wrong.
    Down(String),
}

/// What is known of a member, as it is told: one word in logs and `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Unknown,
    Up,
    Down,
    Ejected,
    Draining,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
        }
    }
}

/// What decides whether a member is used. Changes seldom.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub(super) checked: Checked,
    /// Kept after its end, for the length of the next.
    pub(super) ejection: Option<Ejection>,
    /// It was told as ejected, and not yet as back.
    pub(super) is_told_out: bool,
    pub(super) draining: bool,
}

impl Condition {
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejection.is_some_and(|ejection| now < ejection.until)
    }

    /// Ends its time out early; whoever does tells it.
    pub(super) fn end_ejection(&mut self, now: Instant) {
        self.is_told_out = false;
        if let Some(ejection) = self.ejection.as_mut().filter(|out| now < out.until) {
            ejection.until = now;
        }
    }

    /// Whether its time out is over, once: it is to be told.
    pub(super) fn ends_ejection(&mut self, now: Instant) -> bool {
        let ended = self.is_told_out && !self.is_ejected(now);
        self.is_told_out &= !ended;
        ended && matches!(self.state(now), State::Up | State::Unknown)
    }

    pub(super) fn state(&self, now: Instant) -> State {
        match self.checked {
            _ if self.draining => State::Draining,
            Checked::Down(_) => State::Down,
            _ if self.is_ejected(now) => State::Ejected,
            Checked::Unknown => State::Unknown,
            Checked::Up => State::Up,
        }
    }
}

/// An endpoint of one upstream.
#[derive(Debug)]
pub struct Member {
    /// Never used twice in a process.
    pub id: u64,
    /// Shared with the upstreams that have it too.
    pub endpoint: Arc<Endpoint>,
    /// Asked only when none of the others can be.
    pub backup: bool,
    pub origin: Origin,
    /// The endpoint's name as a number that stays the same in every process.
    pub(super) key: u64,
    /// What a sticky client's cookie says; empty without `sticky`.
    pub(super) token: String,
    weight: AtomicU16,
    in_flight: AtomicUsize,
    /// Failures in a row.
    pub(super) failures: AtomicU32,
    /// The health check thinks that it is down: what waits for it may give up.
    is_down: AtomicBool,
    condition: Mutex<Condition>,
}

impl Member {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        weight: u16,
        backup: bool,
        origin: Origin,
        token: String,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        endpoint.members.fetch_add(1, Ordering::Relaxed);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            key: super::balance::stable_hash(endpoint.name.as_bytes()),
            endpoint,
            backup,
            origin,
            token,
            weight: AtomicU16::new(weight),
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            is_down: AtomicBool::new(false),
            condition: Mutex::default(),
        }
    }

    /// The same under other settings: nothing is known of it yet but what was
    /// done by hand.
    pub(super) fn anew(&self, token: String) -> Self {
        let (endpoint, origin) = (self.endpoint.clone(), self.origin.clone());
        let anew = Self::new(endpoint, self.weight(), self.backup, origin, token);
        anew.condition().draining = self.condition().draining;
        anew
    }

    /// Whether it can be what another is to be, but for the weight.
    pub(super) fn may_stay_as(&self, other: &Self) -> bool {
        self.endpoint.id == other.endpoint.id
            && self.backup == other.backup
            && self.token == other.token
            && self.origin == other.origin
    }

    /// What a client that sticks to it is told; empty without `sticky`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its share of the requests; 0: none but those that stick to it.
    pub fn weight(&self) -> u16 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(super) fn set_weight(&self, weight: u16) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// Requests under way, tunnels among them.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Failures in a row, of requests; not counted with `eject: off`.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether the health check thinks that it is down.
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// What is known of it now, in one word.
    pub fn state(&self, now: Instant) -> State {
        self.condition().state(now)
    }

    /// What the health check found wrong, where it did.
    pub fn trouble(&self) -> Option<String> {
        match &self.condition().checked {
            Checked::Down(why) => Some(why.clone()),
            Checked::Unknown | Checked::Up => None,
        }
    }

    pub(super) fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_checked(&self, checked: Checked) {
        let down = matches!(checked, Checked::Down(_));
        self.condition().checked = checked;
        self.is_down.store(down, Ordering::Relaxed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.endpoint.members.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request's place at a member, for as long as it is under way.
#[derive(Debug)]
pub struct Lease {
    pub member: Arc<Member>,
    /// Whoever waits for a place is told.
    room: Option<Arc<Room>>,
}

impl Lease {
    /// Takes a place where there is no bound.
    pub(super) fn take(member: &Arc<Member>) -> Self {
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            member: member.clone(),
            room: None,
        }
    }

    /// Takes a place if fewer than `max` are taken.
    pub(super) fn take_below(
        max: usize,
        member: &Arc<Member>,
        room: Option<&Arc<Room>>,
    ) -> Option<Self> {
        let taken = &member.in_flight;
        let more = |count: usize| (count < max).then_some(count + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Self {
            member: member.clone(),
            room: room.cloned(),
        })
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.member.endpoint
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(room) = &self.room {
            room.tell();
        }
    }
}
