//! A count of those who are somewhere: in a line, at work.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One of those who are counted, until it is dropped.
#[derive(Debug)]
pub struct Counted<C: Deref<Target = AtomicUsize>>(C);

impl<C: Deref<Target = AtomicUsize>> Counted<C> {
    /// One more. Sequentially consistent: who then looks for what it waits
    /// for misses nothing that was told to nobody before.
    pub fn one_more(count: C) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl<C: Deref<Target = AtomicUsize>> Drop for Counted<C> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
