//! Buffers that belong to a thread and are lent out while they hold something.
//!
//! Only one task of a thread runs at a time, and most leave nothing behind: a
//! few large buffers serve thousands of connections, and a long transfer meets
//! the same warm memory again and again.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// The size of a lent buffer: 128 KiB sealed into TLS records, and one record more.
pub const LENT_BYTES: usize = 148 * 1024;
/// How many buffers a thread keeps for lending.
const KEPT: usize = 16;
/// Less than this is copied out of a lent buffer, so that little does not hold much.
const COPIED_BELOW: usize = 24 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`LENT_BYTES`], filled with something.
pub fn take() -> Vec<u8> {
    SPARE
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; LENT_BYTES])
}

/// Gives a buffer back. One that is not of the lent size is freed.
pub fn give(buffer: Vec<u8>) {
    if buffer.len() != LENT_BYTES {
        return;
    }
    // At the end of a thread there is nobody to lend to.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(buffer);
        }
    });
}

/// The first `len` bytes of a lent buffer, which goes back when they are dropped.
pub fn freeze(buffer: Vec<u8>, len: usize) -> Bytes {
    if len < COPIED_BELOW {
        let copied = Bytes::copy_from_slice(&buffer[..len]);
        give(buffer);
        return copied;
    }
    Bytes::from_owner(Filled { buffer, len })
}

/// Receives up to `bytes_max` bytes; empty is the end. Nothing is held while
/// nothing comes.
pub fn poll_receive(
    cx: &mut Context<'_>,
    from: Pin<&mut impl AsyncRead>,
    bytes_max: usize,
) -> Poll<io::Result<Bytes>> {
    let mut buffer = take();
    let room = bytes_max.min(buffer.len());
    let mut into = ReadBuf::new(&mut buffer[..room]);
    let polled = from.poll_read(cx, &mut into);
    let filled = into.filled().len();
    match polled {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(freeze(buffer, filled))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => {
            give(buffer);
            Poll::Pending
        }
    }
}

struct Filled {
    buffer: Vec<u8>,
    len: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_bytes_are_dropped() {
        let mut buffer = take();
        buffer[COPIED_BELOW - 1] = 7;
        let bytes = freeze(buffer, COPIED_BELOW);
        assert_eq!((bytes.len(), bytes[COPIED_BELOW - 1]), (COPIED_BELOW, 7));
        assert_eq!(SPARE.with_borrow(Vec::len), 0);
        drop(bytes);
        assert_eq!(SPARE.with_borrow(Vec::len), 1);
        let little = freeze(take(), 3);
        assert_eq!((little.len(), SPARE.with_borrow(Vec::len)), (3, 1));
    }
}
