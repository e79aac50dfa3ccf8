//! Bytes in a buffer of the thread's, held only while there are some.

use crate::rt::buffers;

/// Bytes in a buffer that is the thread's and held only while there are some.
#[derive(Default)]
pub(super) struct Lent {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Lent {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// At least `least` free bytes behind the filled ones.
    pub(super) fn room(&mut self, least: usize) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = buffers::take();
        }
        if self.start > 0 && self.buffer.len() - self.end < least {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < least {
            self.widen(least);
        }
        &mut self.buffer[self.end..]
    }

    /// What a shrunk buffer holds goes back into a lent one, so that as much can
    /// follow as ever; beyond that the buffer grows.
    fn widen(&mut self, least: usize) {
        if self.end + least > buffers::LENT_BYTES || self.buffer.len() == buffers::LENT_BYTES {
            self.buffer.resize(self.end + least, 0);
            return;
        }
        let mut wide = buffers::take();
        wide[self.start..self.end].copy_from_slice(&self.buffer[self.start..self.end]);
        self.buffer = wide;
    }

    pub(super) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    pub(super) fn taken(&mut self, bytes: usize) {
        self.start += bytes;
        if self.is_empty() {
            self.give_back();
        }
    }

    pub(super) fn give_back(&mut self) {
        (self.start, self.end) = (0, 0);
        buffers::give(std::mem::take(&mut self.buffer));
    }

    /// Moves what is left into a buffer of its size: the rest of the wait is the client's.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.give_back();
        } else if self.buffer.len() == buffers::LENT_BYTES
            || self.buffer.len() > 2 * self.bytes().len()
        {
            let rest = self.bytes().to_vec();
            self.give_back();
            self.end = rest.len();
            self.buffer = rest;
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::buffers::LENT_BYTES;

    #[test]
    fn what_is_pushed_is_taken_in_order_and_the_buffer_goes_back() {
        let mut lent = Lent::default();
        lent.push(b"hello ");
        lent.push(b"world");
        lent.taken(6);
        assert_eq!(lent.bytes(), b"world");
        lent.shrink();
        assert_eq!((lent.bytes(), lent.buffer.len()), (&b"world"[..], 5));
        assert!(
            lent.room(1).len() > LENT_BYTES / 2,
            "as much may follow as ever"
        );
        lent.push(b"!");
        assert_eq!(lent.bytes(), b"world!");
        lent.taken(6);
        assert!(lent.is_empty() && lent.buffer.is_empty());
    }

    #[test]
    fn room_is_made_by_moving_before_growing() {
        let mut lent = Lent::default();
        lent.push(&[7; LENT_BYTES]);
        lent.taken(LENT_BYTES - 3);
        assert!(lent.room(1000).len() >= 1000);
        assert_eq!(
            (lent.bytes(), lent.buffer.len()),
            (&[7u8; 3][..], LENT_BYTES)
        );
    }
}
