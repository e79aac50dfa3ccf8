//! The members of a running upstream: who there is, who comes, goes and fails.
//!
//! Shared by balancing, the health check, discovery and the control socket.
//! A request reads one table; every change makes another.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};

use super::eject::Eject;
use super::member::{Checked, Member, Origin, State};
use super::table::Table;

/// The most endpoints an upstream has.
pub const MEMBERS_MAX: usize = 256;
/// The heaviest weight.
pub const WEIGHT_MAX: u16 = 256;

/// How an attempt at a member went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure,
}

/// Why a change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the endpoint is there already")]
    Present,
    #[error("there is no such endpoint")]
    Absent,
    #[error("it is the last endpoint")]
    Last,
    #[error("an upstream has {MEMBERS_MAX} endpoints at most")]
    Full,
}

/// What is told of an ejection besides.
struct Out {
    failures: u32,
    for_s: u64,
}

/// The members of one upstream.
#[derive(Debug)]
pub struct Registry {
    /// As it is told in logs.
    upstream: Arc<str>,
    eject: Option<Eject>,
    table: ArcSwap<Table>,
    /// Held while a table is made, so that no change is lost.
    changing: Mutex<()>,
    /// Removed, with requests that are still under way.
    leaving: Mutex<Vec<Weak<Member>>>,
}

impl Registry {
    pub(super) fn new(upstream: Arc<str>, eject: Option<Eject>, members: Vec<Arc<Member>>) -> Self {
        Self {
            upstream,
            eject,
            table: ArcSwap::from_pointee(Table::build(members, Instant::now())),
            changing: Mutex::default(),
            leaving: Mutex::default(),
        }
    }

    /// The table as it is. Not to be kept while waiting.
    pub fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// The table that holds now: those whose time out is over are back.
    pub(super) fn current(&self, now: Instant) -> Guard<Arc<Table>> {
        let table = self.table.load();
        if table.until.is_none_or(|until| now < until) {
            return table;
        }
        self.let_back(now);
        self.table.load()
    }

    fn let_back(&self, now: Instant) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.load();
        // Another thread may have been quicker.
        if table.until.is_some_and(|until| until <= now) {
            self.remake(table.members.clone(), now);
        }
    }

    /// All members, in order.
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.table.load().members.clone()
    }

    /// The member of a name, such as `localhost:8080`.
    pub fn find(&self, name: &str) -> Option<Arc<Member>> {
        let table = self.table.load();
        let found = table
            .members
            .iter()
            .find(|member| &*member.endpoint.name == name);
        found.cloned()
    }

    /// Those that were removed and have requests under way.
    pub fn leaving(&self) -> Vec<Arc<Member>> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|member| {
            member
                .upgrade()
                .is_some_and(|member| member.in_flight() > 0)
        });
        leaving.iter().filter_map(Weak::upgrade).collect()
    }

    /// One more.
    pub(super) fn add(&self, member: Arc<Member>) -> Result<(), Refused> {
        self.change(|members| {
            if members.len() >= MEMBERS_MAX {
                return Err(Refused::Full);
            }
            if members
                .iter()
                .any(|other| other.endpoint.id == member.endpoint.id)
            {
                return Err(Refused::Present);
            }
            members.push(member);
            Ok(())
        })
    }

    /// One less: it gets no more requests, and those under way go on to their end.
    /// `force`: even the last.
    pub(super) fn remove(&self, name: &str, force: bool) -> Result<(), Refused> {
        let gone = self.change(|members| {
            let place = members
                .iter()
                .position(|member| &*member.endpoint.name == name);
            let place = place.ok_or(Refused::Absent)?;
            if members.len() == 1 && !force {
                return Err(Refused::Last);
            }
            Ok(members.remove(place))
        })?;
        self.let_go(gone);
        Ok(())
    }

    /// Makes the members of an origin these. Who is there already stays.
    pub(super) fn replace(&self, origin: &Origin, found: Vec<Arc<Member>>) {
        let gone = self.change(|members| {
            let is_found = |member: &Arc<Member>| {
                let mut ids = found.iter().map(|other| other.endpoint.id);
                ids.any(|id| id == member.endpoint.id)
            };
            let (gone, stay): (Vec<_>, Vec<_>) = members
                .drain(..)
                .partition(|member| member.origin == *origin && !is_found(member));
            *members = stay;
            for member in found {
                let id = member.endpoint.id;
                if members.iter().all(|other| other.endpoint.id != id)
                    && members.len() < MEMBERS_MAX
                {
                    members.push(member);
                }
            }
            Ok::<_, Refused>(gone)
        });
        for member in gone.into_iter().flatten() {
            self.let_go(member);
        }
    }

    fn let_go(&self, member: Arc<Member>) {
        if member.in_flight() > 0 {
            let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.retain(|member| member.strong_count() > 0);
            leaving.push(Arc::downgrade(&member));
        }
    }

    /// Another share of the requests; 0: none but those that stick to it.
    pub fn set_weight(&self, name: &str, weight: u16) -> Result<(), Refused> {
        let member = self.find(name).ok_or(Refused::Absent)?;
        member.set_weight(weight.min(WEIGHT_MAX));
        self.refresh(Instant::now());
        Ok(())
    }

    /// Whether a member is to get no more requests.
    pub fn set_draining(&self, name: &str, draining: bool) -> Result<(), Refused> {
        let member = self.find(name).ok_or(Refused::Absent)?;
        let now = Instant::now();
        let was = member.state(now);
        member.condition().draining = draining;
        self.refresh(now);
        let why = match draining {
            true => "drained by hand",
            false => "drain undone by hand",
        };
        self.tell(&member, was, now, why);
        Ok(())
    }

    /// How an attempt went. Costs next to nothing while all is well.
    pub fn report(&self, member: &Member, outcome: Outcome, now: Instant) {
        let Some(eject) = self.eject else {
            return;
        };
        match outcome {
            Outcome::Success => {
                if member.failures.load(Ordering::Relaxed) != 0 {
                    member.failures.store(0, Ordering::Relaxed);
                    self.readmit(member, now, "a request succeeded");
                }
            }
            Outcome::Failure => {
                let failures = member.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= eject.after {
                    self.eject(member, &eject, failures, now);
                }
            }
        }
    }

    fn eject(&self, member: &Member, eject: &Eject, failures: u32, now: Instant) {
        let mut condition = member.condition();
        let table = self.table.load();
        // The only one there is is never out: there would be no word of it
        // coming back.
        if table.members.len() < 2 {
            return;
        }
        if let Some(ejection) = condition.ejection.filter(|out| now < out.until) {
            drop(condition);
            // All are out, and it was tried for want of another; or it is out
            // by an upstream from before a reload, and this table does not know.
            if table.until.is_none_or(|until| ejection.until < until) {
                self.refresh(now);
            }
            return;
        }
        let was = condition.state(now);
        let ejection = eject.next(condition.ejection, now);
        condition.ejection = Some(ejection);
        condition.is_told_out = true;
        drop(condition);
        member.failures.store(eject.probation(), Ordering::Relaxed);
        let out = Out {
            failures,
            for_s: ejection.length.as_secs(),
        };
        self.tell_of(member, was, now, "failures in a row", Some(out));
        self.refresh(now);
    }

    /// Ends a time out early.
    fn readmit(&self, member: &Member, now: Instant, why: &str) {
        let was = {
            let mut condition = member.condition();
            if !condition.is_ejected(now) {
                return;
            }
            let was = condition.state(now);
            condition.end_ejection(now);
            was
        };
        self.tell(member, was, now, why);
        self.refresh(now);
    }

    /// What the health check found, once it counts.
    pub fn checked(&self, member: &Member, checked: Checked, why: &str) {
        let now = Instant::now();
        let was = member.state(now);
        let up = checked == Checked::Up;
        member.set_checked(checked);
        if up {
            member.failures.store(0, Ordering::Relaxed);
            member.condition().end_ejection(now);
        }
        self.tell(member, was, now, why);
        self.refresh(now);
    }

    fn tell(&self, member: &Member, was: State, now: Instant, why: &str) {
        self.tell_of(member, was, now, why, None);
    }

    /// Tells of a change, if it is one; `out`: of an ejection.
    fn tell_of(&self, member: &Member, was: State, now: Instant, why: &str, out: Option<Out>) {
        let is = member.state(now);
        if was != is {
            tracing::info!(
                upstream = %self.upstream,
                endpoint = %member.endpoint.name,
                was = was.as_str(),
                now = is.as_str(),
                why,
                failures = out.as_ref().map(|out| out.failures),
                for_s = out.as_ref().map(|out| out.for_s),
                "endpoint changed"
            );
        }
    }

    /// Looks at all members again.
    pub fn refresh(&self, now: Instant) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.remake(self.members(), now);
    }

    fn change<T, E>(
        &self,
        change: impl FnOnce(&mut Vec<Arc<Member>>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members = self.members();
        let changed = change(&mut members)?;
        self.remake(members, Instant::now());
        Ok(changed)
    }

    /// Makes the table anew, and tells what holds from now on. Only with
    /// `changing` held.
    fn remake(&self, members: Vec<Arc<Member>>, now: Instant) {
        for member in &members {
            if member.condition().ends_ejection(now) {
                self.tell(member, State::Ejected, now, "its time out is over");
            }
        }
        let table = Table::build(members, now);
        let was = self.table.load().is_last_resort;
        if table.is_last_resort && !was {
            tracing::warn!(upstream = %self.upstream, "no endpoint is well: all are tried");
        } else if was && !table.is_last_resort {
            tracing::info!(upstream = %self.upstream, "an endpoint is well again");
        }
        self.table.store(Arc::new(table));
    }
}
