//! Who is asked: one task a member of an upstream that has a `health_check`.
//!
//! Members that a reload keeps keep their task, and so what it has counted.
//! Nothing is looked at but when upstreams or members come or go.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::count::{Count, Word};
use super::probe::{Found, probe};
use crate::rt::{self, counted::Counted};
use crate::upstream::Upstream;
use crate::upstream::member::{Checked, Member};

/// The most probes under way at a time: at a start all endpoints are asked at
/// once, and their descriptors are few beside those of requests.
const PROBES_MAX: usize = 128;

/// Asks the members of upstreams that have a `health_check`, for as long as
/// `changed` has a sender. `upstreams`: those that run now; one may be there
/// several times.
///
/// Runs where local tasks can be spawned, and [`rt::clock`] runs. Dropping the
/// future ends its tasks.
pub async fn supervise(
    upstreams: impl Fn() -> Vec<Arc<Upstream>>,
    mut changed: watch::Receiver<()>,
) {
    let places = Rc::new(Semaphore::new(PROBES_MAX));
    let mut tasks = Tasks::new();
    loop {
        changed.mark_unchanged();
        tasks = follow(tasks, &upstreams(), &places);
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// By their members' ids.
type Tasks = HashMap<u64, Task>;

/// The tasks of these upstreams' members; those of others end.
fn follow(mut before: Tasks, upstreams: &[Arc<Upstream>], places: &Rc<Semaphore>) -> Tasks {
    for task in before.values() {
        task.upstreams.borrow_mut().clear();
    }
    let mut tasks = Tasks::new();
    for upstream in upstreams {
        if upstream.settings.health_check.is_none() {
            continue;
        }
        for member in upstream.registry.members() {
            let task = tasks.entry(member.id).or_insert_with(|| {
                let known = before.remove(&member.id);
                known.unwrap_or_else(|| Task::begin(member, upstream, places))
            });
            task.tells(upstream);
        }
        // An upstream of a reload was made while probes still told the one
        // before it.
        upstream.registry.refresh(Instant::now());
    }
    tasks
}

/// The task of one member. Dropped, it ends.
struct Task {
    /// Who is told: usually one. They are those that have the member.
    upstreams: Rc<RefCell<Vec<Arc<Upstream>>>>,
    running: JoinHandle<()>,
}

impl Task {
    fn begin(member: Arc<Member>, upstream: &Arc<Upstream>, places: &Rc<Semaphore>) -> Self {
        let upstreams = Rc::new(RefCell::new(vec![upstream.clone()]));
        let counted = Counted::one_more(upstream.commons.probed.clone());
        let watch = watch(member, upstreams.clone(), places.clone());
        let running = tokio::task::spawn_local(async move {
            watch.await;
            drop(counted);
        });
        Self { upstreams, running }
    }

    fn tells(&self, upstream: &Arc<Upstream>) {
        let mut upstreams = self.upstreams.borrow_mut();
        if !upstreams.iter().any(|told| Arc::ptr_eq(told, upstream)) {
            upstreams.push(upstream.clone());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Asks one member, again and again. A probe ends before the next begins.
async fn watch(
    member: Arc<Member>,
    upstreams: Rc<RefCell<Vec<Arc<Upstream>>>>,
    places: Rc<Semaphore>,
) {
    let mut count = Count::default();
    loop {
        let upstream = upstreams.borrow().first().cloned();
        let check = upstream.and_then(|upstream| upstream.settings.health_check.clone());
        let (Some(check), Ok(place)) = (check, places.acquire().await) else {
            return;
        };
        let began = tokio::time::Instant::now();
        let found = probe(&member.endpoint, &check).await;
        drop(place);
        if let Some(Found { word, why }) = found
            && let Some(word) = count.take(word, &check)
        {
            let checked = match word {
                Word::Up => Checked::Up,
                Word::Down => Checked::Down(why.clone()),
            };
            for upstream in &*upstreams.borrow() {
                upstream.registry.checked(&member, checked.clone(), &why);
            }
        }
        let pause = count.pause(check.every, rt::random() as u32);
        tokio::time::sleep_until(began + pause).await;
    }
}
