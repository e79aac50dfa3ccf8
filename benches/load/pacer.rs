//! Says when the next request of an open loop is due, whatever became of the last one.
//!
//! A thread of its own sleeps until each instant: tokio's timers round to a
//! millisecond, which is longer than most answers take.

use std::{
    hash::BuildHasher,
    num::NonZeroU64,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use foldhash::fast::FixedState;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::run::Window;

/// What [`Pacer`] throws, as `of` in [`throw`].
const PACER: u64 = 1;

/// Who is next.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// One connection after the other.
    Turns,
    /// Any, by dice that are the same in every run. A proxy that takes turns
    /// too would else give each connection the same endpoint for ever.
    Dice,
}

/// Instants spread evenly over time, and over the connections.
pub(crate) struct Pacer {
    step: Duration,
    order: Order,
    /// By the number of the connection, in any order. Unbounded, because what
    /// is due must not be lost; `rate × seconds` instants at most.
    turns: Mutex<Vec<(usize, UnboundedSender<Instant>)>>,
}

impl Pacer {
    /// `rate` requests a second, over all connections.
    pub(crate) fn new(rate: f64, order: Order) -> Result<Self> {
        let step = Duration::try_from_secs_f64(1.0 / rate)?;
        Ok(Self {
            step,
            order,
            turns: Mutex::default(),
        })
    }

    /// Where connection `number` will learn when its requests are due; ends with the window.
    pub(crate) fn join(&self, number: usize) -> UnboundedReceiver<Instant> {
        let (turn, due) = unbounded_channel();
        self.turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((number, turn));
        due
    }

    /// Starts; nobody joins any more.
    pub(crate) fn start(&self, window: Window) {
        let (step, order) = (self.step, self.order);
        let mut turns =
            std::mem::take(&mut *self.turns.lock().unwrap_or_else(PoisonError::into_inner));
        turns.sort_unstable_by_key(|(number, _)| *number);
        thread::spawn(move || {
            // Without this the kernel may wake us 50 µs late; if it fails, it does.
            let _ = rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN));
            let mut due = window.start;
            for number in 0.. {
                let dice = match order {
                    Order::Turns => number,
                    Order::Dice => throw(number, PACER),
                };
                if due >= window.end || turns.is_empty() {
                    break;
                }
                let (_, turn) = &turns[(dice % turns.len() as u64) as usize];
                #[expect(clippy::disallowed_methods, reason = "this thread serves nobody")]
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let _ = turn.send(due); // a connection that failed listens no more, and was counted
                due += step;
            }
        });
    }
}

/// Dice for a number, the same each time; others `of` another throw.
pub(crate) fn throw(number: u64, of: u64) -> u64 {
    FixedState::with_seed(of).hash_one(number)
}
