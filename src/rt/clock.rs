//! Waits of one thread, counted in coarse ticks.
//!
//! A proxy sets a clock for nearly everything and hardly any of them ever
//! strikes. So a wait here is a slot in a table of its thread, and one task of
//! the thread looks through the table four times a second: no timer object, no
//! wake-up and no system call a request. A wait ends up to [`TICK`] late,
//! never early; one that is reckoned from [`now`] may end as much early. While
//! nothing waits, nothing ticks.
//!
//! A [`Wait`] belongs to the thread that made it. Dropping it frees its slot.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How often waits are looked at, and so how late one may end.
pub const TICK: Duration = Duration::from_millis(250);

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// This thread's time as of the last tick: up to [`TICK`] ago while something
/// waits. Costs nothing.
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    wanted: Option<Rc<Notify>>,
}

#[derive(Default)]
struct Slot {
    /// `None`: struck already, or free.
    due: Option<Instant>,
    waker: Option<Waker>,
}

impl Table {
    fn is_idle(&self) -> bool {
        self.slots.len() == self.free.len()
    }
}

/// Ends once its time has passed, if it is polled.
#[derive(Debug)]
pub struct Wait {
    slot: usize,
}

impl Wait {
    /// A wait of `after` from now.
    pub fn of(after: Duration) -> Self {
        Self::until(Instant::now() + after)
    }

    pub fn until(due: Instant) -> Self {
        TABLE.with_borrow_mut(|table| {
            if table.is_idle()
                && let Some(wanted) = &table.wanted
            {
                NOW.set(Some(Instant::now()));
                wanted.notify_one();
            }
            let slot = table.free.pop().unwrap_or_else(|| {
                table.slots.push(Slot::default());
                table.slots.len() - 1
            });
            table.slots[slot].due = Some(due);
            Self { slot }
        })
    }

    /// Begins anew.
    pub fn reset(&mut self, after: Duration) {
        self.reset_to(Instant::now() + after);
    }

    pub fn reset_to(&mut self, due: Instant) {
        TABLE.with_borrow_mut(|table| table.slots[self.slot].due = Some(due));
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        TABLE.with_borrow_mut(|table| {
            let slot = &mut table.slots[self.slot];
            if slot.due.is_none() {
                return Poll::Ready(());
            }
            match &mut slot.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // A wait that outlives its thread's table has nothing left to free.
        let _ = TABLE.try_with(|table| {
            let mut table = table.borrow_mut();
            let waker = std::mem::take(&mut table.slots[self.slot]).waker;
            table.free.push(self.slot);
            drop(table);
            drop(waker);
        });
    }
}

/// Ends the waits of this thread whose time has come; runs for as long as the
/// thread does. `each` is called at every
/// tick, and says whether it has to be called again though nothing waits.
pub async fn run(each: impl Fn(Instant) -> bool) {
    let wanted = Rc::new(Notify::new());
    TABLE.with_borrow_mut(|table| table.wanted = Some(wanted.clone()));
    loop {
        if TABLE.with_borrow(Table::is_idle) && !each(Instant::now()) {
            wanted.notified().await;
        }
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        NOW.set(Some(now));
        strike(now);
        let _ = each(now);
    }
}

fn strike(now: Instant) {
    let struck: Vec<Waker> = TABLE.with_borrow_mut(|table| {
        table
            .slots
            .iter_mut()
            .filter(|slot| slot.due.is_some_and(|due| due <= now))
            .filter_map(|slot| {
                slot.due = None;
                slot.waker.take()
            })
            .collect()
    });
    // Outside the borrow: waking may run code that sets a wait.
    for waker in struck {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(wait: &mut Wait) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(wait).poll(&mut cx).is_ready()
    }

    #[test]
    fn a_wait_ends_at_its_time_and_not_before() {
        let start = Instant::now();
        let mut wait = Wait::until(start + Duration::from_secs(5));
        assert!(!poll(&mut wait));
        strike(start + Duration::from_secs(4));
        assert!(!poll(&mut wait));
        strike(start + Duration::from_secs(5));
        assert!(poll(&mut wait));
        wait.reset_to(start + Duration::from_secs(9));
        assert!(!poll(&mut wait));
    }

    #[test]
    fn a_dropped_wait_leaves_its_slot_to_the_next() {
        let first = Wait::of(TICK);
        let slot = first.slot;
        drop(first);
        assert_eq!(Wait::of(TICK).slot, slot);
        assert!(TABLE.with_borrow(Table::is_idle));
    }
}
