//! Frames that carry nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown
//! ones, and empty pieces of what does carry something.
//!
//! Each costs us more than the client, and the library answers or forgets them
//! without a word to us. So they are weighed on their way to it, against what
//! is carried both ways: a client that downloads opens windows all the time.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::transport::Io;

/// Bytes of such frames that a connection may send ahead of what it carries:
/// 60,000 pings. A busy client's are a few in a second.
const EMPTY_BYTES_AHEAD: u64 = 1024 * 1024;
/// How many bytes must be carried, either way, for one of such a frame. The
/// most eager client opens two windows (26 bytes) for each frame that it gets.
const CARRIED_FOR_EACH: u64 = 8;

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const PADDED: u8 = 8;
/// RFC 9113 §6.1, §6.2, §6.10: the frames that carry a message.
const CARRYING: [u8; 3] = [0, 1, 9];

/// Reads the headers of the frames that pass by; the library judges them.
#[derive(Debug)]
struct Frames {
    /// Bytes that are no frame's header: the preface, or a payload.
    skip: usize,
    header: [u8; HEADER_BYTES],
    have: usize,
    carried: u64,
    empty: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            have: 0,
            carried: 0,
            empty: 0,
        }
    }
}

impl Frames {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                self.frame();
            }
        }
    }

    fn frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
        let bytes = (HEADER_BYTES + self.skip) as u64;
        // RFC 9113 §6.1: padding is up to 256 bytes, and may be all there is.
        let padding = if flags & PADDED != 0 { 256 } else { 0 };
        if CARRYING.contains(&kind) && self.skip > 1 + padding {
            self.carried += bytes;
        } else {
            self.empty += bytes;
        }
    }
}

/// What a connection's frames carry.
#[derive(Debug, Default)]
pub(super) struct Meter {
    frames: RefCell<Frames>,
    sent: Cell<u64>,
}

impl Meter {
    /// Whether too much of what came was about nothing.
    pub(super) fn is_too_much(&self) -> bool {
        let frames = self.frames.borrow();
        let carried = frames.carried + self.sent.get();
        frames.empty > EMPTY_BYTES_AHEAD + carried / CARRIED_FOR_EACH
    }
}

/// A connection whose frames are weighed.
pub(super) struct Metered {
    io: Io,
    meter: Rc<Meter>,
}

impl Metered {
    pub(super) fn new(io: Io, meter: Rc<Meter>) -> Self {
        Self { io, meter }
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.meter.sent.set(self.meter.sent.get() + bytes as u64);
        }
        written
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, into))?;
        self.meter.frames.borrow_mut().see(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind];
        frame.resize(HEADER_BYTES + payload, 0);
        frame
    }

    /// The meter behind so many of these frames, that came in pieces.
    fn behind(frames: &[u8], times: usize, sent: u64) -> bool {
        let meter = Meter::default();
        meter.frames.borrow_mut().see(&[0; PREFACE_BYTES]);
        for piece in frames.repeat(times).chunks(7) {
            meter.frames.borrow_mut().see(piece);
        }
        meter.sent.set(sent);
        meter.is_too_much()
    }

    #[test]
    fn frames_about_nothing_are_too_much_without_end_only() {
        const PING: u8 = 6;
        const WINDOW_UPDATE: u8 = 8;
        let check = |frames: &[u8], times: usize, sent: u64, want: bool| {
            assert_eq!(behind(frames, times, sent), want, "{times} × {frames:?}");
        };
        check(&frame(PING, 8), 60_000, 0, false);
        check(&frame(PING, 8), 70_000, 0, true);
        // That pings are answered carries nothing much.
        check(&frame(PING, 8), 100_000, 100_000 * 17, true);
        for kind in [2, 4, WINDOW_UPDATE, 0x42] {
            check(&frame(kind, 5), 100_000, 0, true);
        }
        // Empty DATA, and a byte at a time.
        check(&frame(0, 0), 120_000, 0, true);
        check(&frame(0, 1), 120_000, 0, true);
        check(&frame(0, 1000), 10_000, 0, false);
        // A download, both windows opened for each frame of 1 KiB.
        let windows = frame(WINDOW_UPDATE, 4).repeat(2);
        check(&windows, 100_000, 100_000 * 1024, false);
    }
}
