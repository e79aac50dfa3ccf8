//! The line of requests that wait for a place, where `max_connections` is
//! reached at every endpoint.
//!
//! The first in line is told first; one that comes just then may be quicker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::rt::counted::Counted;

/// How often one in line looks though nobody told it to.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Who waits, and how they are told.
#[derive(Debug, Default)]
pub struct Room {
    waiting: AtomicUsize,
    freed: Notify,
}

impl Room {
    /// A place is free: the first in line may look. One that leaves the line
    /// without a look hands it on.
    pub(super) fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Waits for a place that may be free. `look` is asked once in line, so
    /// that what became free before is not missed, and now and then: an
    /// endpoint may have come.
    ///
    /// Dropping the future leaves the line.
    pub async fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let _in_line = Counted::one_more(&self.waiting);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            loop {
                if let Some(found) = look() {
                    return found;
                }
                if tokio::time::timeout(LOOK_EVERY, freed.as_mut())
                    .await
                    .is_ok()
                {
                    break;
                }
            }
        }
    }
}
