//! The access log: one line for each exchange, when its body has ended.
//!
//! Text on a terminal, JSON otherwise, `combined` on request. Secrets never
//! appear: of a query, values whose names tell of a token are left out; of the
//! header, only `User-Agent` and `Referer` are shown, in `combined`. Control
//! characters are escaped. A thread of its own writes; where it cannot keep
//! up, lines are dropped and counted, and no request waits.

mod line;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use crate::exchange::Exchange;

/// How many lines may wait to be written.
const QUEUED_MAX: usize = 8192;
/// How long a stop waits for the log to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    /// The combined log format of Apache httpd.
    Combined,
}

/// What the writer is told.
enum Told {
    Line(String),
    /// All that was told before is to be written, and that is all.
    End,
}

/// Where exchanges are told. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    lines: SyncSender<Told>,
    format: Format,
    dropped: Arc<AtomicU64>,
}

/// The thread that writes.
pub struct Writer {
    lines: SyncSender<Told>,
    ended: Receiver<()>,
}

impl Writer {
    /// Waits until all that was told so far is written, for a second
    /// at most: nobody may be reading any more.
    pub fn finish(self) {
        let until = Instant::now() + FINISH_TIMEOUT;
        while let Err(TrySendError::Full(Told::End)) = self.lines.try_send(Told::End) {
            let ended = self.ended.recv_timeout(FINISH_TIMEOUT / 50);
            if ended != Err(RecvTimeoutError::Timeout) || Instant::now() >= until {
                return;
            }
        }
        let _ = self
            .ended
            .recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl AccessLog {
    /// A log whose lines a thread writes to `out`.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let (lines, queued) = sync_channel(QUEUED_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let (end, ended) = sync_channel(1);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                write_all(&queued, out, &counted);
                let _ = end.send(());
            })?;
        let writer = Writer {
            lines: lines.clone(),
            ended,
        };
        let log = Self {
            lines,
            format,
            dropped,
        };
        Ok((log, writer))
    }

    /// Tells of an exchange that is over. Never waits.
    pub fn write(&self, exchange: &Exchange) {
        let line = Told::Line(line::of(self.format, exchange));
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(queued: &Receiver<Told>, mut out: impl Write, dropped: &AtomicU64) {
    let mut batch = Vec::new();
    let mut ended = false;
    while !ended {
        let Ok(first) = queued.recv() else {
            return;
        };
        batch.clear();
        for told in std::iter::once(first).chain(queued.try_iter().take(QUEUED_MAX)) {
            match told {
                Told::Line(line) => batch.extend_from_slice(line.as_bytes()),
                Told::End => ended = true,
            }
        }
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            // A closed pipe: nobody reads any more, and requests go on.
            return;
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(
                lost,
                "access log lines were lost: the log is written too slowly"
            );
        }
    }
}
