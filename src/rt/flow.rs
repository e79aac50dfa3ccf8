//! Whether a client keeps up, as its socket tells those who read for it.

use std::cell::Cell;
use std::rc::Rc;

/// Shared by a client's socket and the answers that are read for it.
#[derive(Clone, Debug, Default)]
pub struct Flow(Rc<State>);

#[derive(Debug, Default)]
struct State {
    blocked: Cell<bool>,
    alone: Cell<bool>,
}

impl Flow {
    /// The socket takes no more (or does again).
    pub fn set_blocked(&self, blocked: bool) {
        self.0.blocked.set(blocked);
    }

    pub fn is_blocked(&self) -> bool {
        self.0.blocked.get()
    }

    /// The connection carries one answer at a time, read in the connection's
    /// own task: whoever waits for the socket is woken with it.
    pub fn set_alone(&self) {
        self.0.alone.set(true);
    }

    /// Whether nothing need be read: what there is must leave first, and the
    /// task is woken when it does.
    pub fn is_full(&self) -> bool {
        self.0.blocked.get() && self.0.alone.get()
    }
}
