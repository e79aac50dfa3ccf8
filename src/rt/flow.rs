//! Whether a client keeps up, as its socket tells those who read for it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use super::clock;

/// The least that is held for a client at a time, and the first guess.
pub const BURST_MIN: usize = 16 * 1024;
/// The most.
pub const BURST_MAX: usize = 128 * 1024;
/// What a socket must take without a stop for more to be held for it: more
/// than the kernel takes for a client that reads nothing.
const GROW_AFTER: usize = 1024 * 1024;
/// What all answers of one connection share, where they are many.
const SHARED_MAX: usize = 512 * 1024;
/// The least that is read at a time for one of many answers of a connection.
const PIECE_MIN: usize = 7 * 1024;

/// Shared by a client's socket and the answers that are read for it.
#[derive(Clone, Debug, Default)]
pub struct Flow(Rc<State>);

#[derive(Debug)]
struct State {
    blocked: Cell<bool>,
    alone: Cell<bool>,
    /// How much is worth holding for the client; little if it is slow.
    burst: Cell<usize>,
    /// Since when the socket takes no more, in ticks.
    since: Cell<Option<Instant>>,
    /// What the socket has taken since the burst was set.
    taken: Cell<usize>,
    /// What was read for the client and is not known to have left.
    held: Cell<usize>,
    /// Somebody would read more as soon as that has left.
    wanting: Cell<bool>,
    /// How many answers are on their way.
    answers: Cell<usize>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            blocked: Cell::default(),
            alone: Cell::default(),
            burst: Cell::new(BURST_MIN),
            since: Cell::default(),
            taken: Cell::default(),
            held: Cell::default(),
            wanting: Cell::default(),
            answers: Cell::default(),
        }
    }
}

impl Flow {
    /// The socket takes no more (or does again).
    pub fn set_blocked(&self, blocked: bool) {
        if self.0.blocked.replace(blocked) == blocked {
            return;
        }
        let now = clock::now();
        if blocked {
            self.0.since.set(Some(now));
        } else if self.0.since.take() == Some(now) {
            self.grow();
        } else {
            // The kernel holds enough for a client that needs a tick to take it.
            self.0.burst.set(BURST_MIN);
            self.0.taken.set(0);
        }
    }

    fn grow(&self) {
        self.0.taken.set(0);
        self.0.burst.set((self.0.burst.get() * 2).min(BURST_MAX));
    }

    pub fn is_blocked(&self) -> bool {
        self.0.blocked.get()
    }

    /// The socket took something.
    pub fn sent(&self, bytes: usize) {
        let taken = self.0.taken.get() + bytes;
        self.0.taken.set(taken);
        if taken >= GROW_AFTER {
            self.grow();
        }
    }

    /// How much may be gathered for the client before it is sent.
    pub fn burst(&self) -> usize {
        self.0.burst.get()
    }

    /// The connection carries one answer at a time, read in the connection's
    /// own task: whoever waits for the socket is woken with it.
    pub fn set_alone(&self) {
        self.0.alone.set(true);
    }

    /// Whether nothing need be read: what there is must leave first, and the
    /// task is woken when it has.
    pub fn is_full(&self) -> bool {
        let full =
            self.0.alone.get() && (self.0.blocked.get() || self.0.held.get() >= self.0.burst.get());
        if full {
            self.0.wanting.set(true);
        }
        full
    }

    /// How much is read at first, when an answer is waited for.
    pub fn first_max(&self) -> usize {
        if self.0.alone.get() {
            BURST_MIN
        } else {
            PIECE_MIN
        }
    }

    /// How much may be read at a time for one answer: together they hold a burst.
    pub fn piece_max(&self) -> usize {
        if self.0.alone.get() {
            return self.0.burst.get();
        }
        (SHARED_MAX / self.0.answers.get().max(1))
            .min(self.0.burst.get())
            .max(PIECE_MIN)
    }

    /// Something was read for the client.
    pub fn hold(&self, bytes: usize) {
        self.0.held.set(self.0.held.get() + bytes);
    }

    /// All that was read has left; whether somebody waits for that.
    pub fn release(&self) -> bool {
        self.0.held.set(0);
        self.0.wanting.replace(false)
    }

    pub fn begin_answer(&self) {
        self.0.answers.set(self.0.answers.get() + 1);
    }

    pub fn end_answer(&self) {
        self.0.answers.set(self.0.answers.get() - 1);
    }
}
