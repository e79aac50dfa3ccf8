//! Notices that files have changed: `sites.yaml` and what it names.
//!
//! What decides is a look at the files ([`look`]), which opens none: of each
//! its inode, size and times, and the links on the way to it. Two things call
//! for one: the system's notice that something happened in one of their
//! folders ([`events`]), and a clock, for file systems that give no notice and
//! for a system that has none left. Folders and not files are watched, because
//! editors, `sed -i` and Kubernetes put another file in the place of the old one.

mod events;
mod look;

use std::future::{pending, ready};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use self::events::{Events, Followed};
use self::look::Sight;
use super::reload::{Cause, Source, Watched};
use crate::proxy::Proxy;

/// How often the files are looked at where nothing calls for it.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// So long nothing may happen before a change counts as complete: an editor
/// takes several steps for one.
const QUIET: Duration = Duration::from_millis(100);
/// So long a change may go on before what there is of it is told: of a file
/// that never rests once a second.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(1);
/// So many times as long as a look took, none is taken: with 10,000
/// certificates looks cost a twentieth of the time at most. On a disk that is
/// slower than that, [`REST_MAX`] is enough.
const REST: u32 = 20;
const REST_MAX: Duration = Duration::from_secs(1);
/// So many looks are taken in a row, because each found other folders to watch.
const LOOKS_MAX: usize = 3;

/// Takes the file that is served over whenever it, or a file that it names, has
/// changed. Never ends: to be dropped.
pub(super) async fn run(source: Arc<Source>, proxy: Arc<Proxy>) {
    let Some(Watched { read_at, .. }) = source.watch() else {
        return;
    };
    let asked = source.clone();
    let paths = move || {
        asked
            .watch()
            .map_or_else(|| [].into(), |watched| watched.paths)
    };
    let mut watch = Watch::new(POLL_INTERVAL, read_at, paths);
    loop {
        watch.changed().await;
        // What comes of it is told there.
        let _ = source.take_over(&proxy, Cause::Change).await;
    }
}

/// Watches files for as long as it is there.
pub(super) struct Watch<P> {
    paths: P,
    interval: Duration,
    read: SystemTime,
    touched: Arc<Notify>,
    state: State,
    /// What was seen last.
    seen: Option<Seen>,
    /// No look before this.
    rest_until: Instant,
}

/// At most one look is under way: one at a file system that does not answer
/// never ends, and another one would not either.
enum State {
    Idle(Eyes),
    Looking(JoinHandle<(Eyes, Sight)>),
}

struct Seen {
    sum: u64,
    /// Whether every change from then on shows.
    settled: bool,
}

impl<P: Fn() -> Arc<[PathBuf]>> Watch<P> {
    /// `paths`: files and folders, absolute, asked for before each look. Of a
    /// folder it matters which names are in it. `read`: when what they held
    /// was read.
    pub(super) fn new(interval: Duration, read: SystemTime, paths: P) -> Self {
        let touched = Arc::new(Notify::new());
        let events = Events::new(&touched);
        Self {
            paths,
            interval,
            read,
            touched,
            state: State::Idle(Eyes {
                events,
                ..Eyes::default()
            }),
            seen: None,
            rest_until: Instant::now(),
        }
    }

    /// Waits until one of the files may have changed since they were read, or
    /// since the last time, or others are to be watched. A change that lasts
    /// is told once a second.
    ///
    /// Runs where there is a runtime with time. Dropping the future loses
    /// nothing: a look that is under way is waited for by the next one.
    pub(super) async fn changed(&mut self) {
        loop {
            // The first look is not waited for, nor one that is under way.
            if self.seen.is_some() && matches!(self.state, State::Idle(_)) {
                tokio::select! {
                    () = self.touched.notified() => self.quiet().await,
                    () = sleep(self.interval) => {}
                }
            }
            sleep_until(self.rest_until).await;
            let Some(sight) = self.look().await else {
                continue;
            };
            self.rest_until = Instant::now() + (sight.took * REST).min(REST_MAX);
            let same = match &self.seen {
                Some(seen) => seen.settled && seen.sum == sight.sum,
                None => sight.is_older_than(self.read),
            };
            self.seen = Some(Seen {
                sum: sight.sum,
                settled: sight.settled,
            });
            if !same {
                return;
            }
        }
    }

    /// Looks; `None` if that went wrong. Blocks no other task.
    async fn look(&mut self) -> Option<Sight> {
        if let State::Idle(eyes) = &mut self.state {
            let mut eyes = mem::take(eyes);
            let paths = (self.paths)();
            let looking = tokio::task::spawn_blocking(move || {
                let sight = eyes.look(&paths);
                (eyes, sight)
            });
            self.state = State::Looking(looking);
        }
        let looked = match &mut self.state {
            State::Looking(looking) => looking.await,
            State::Idle(_) => pending().await,
        };
        if let Ok((eyes, sight)) = looked {
            self.state = State::Idle(eyes);
            return Some(sight);
        }
        // Without the system's notices, if it was these.
        self.state = State::Idle(Eyes::default());
        self.rest_until = Instant::now() + self.interval;
        tracing::error!("a look at files that are watched ended by a panic");
        None
    }

    /// Waits until nothing has happened for a while. Wakes a few times a
    /// second, however much happens.
    async fn quiet(&self) {
        let until = Instant::now() + QUIET_WAIT_MAX;
        let mut more = true;
        while more && Instant::now() < until {
            sleep(QUIET).await;
            // What has come meanwhile is there at once, or not.
            more = tokio::select! {
                biased;
                () = self.touched.notified() => true,
                () = ready(()) => false,
            };
        }
    }
}

/// Who looks, and has the system tell when to look again.
#[derive(Default)]
struct Eyes {
    events: Option<Events>,
    /// Whether it was told that there is more than is looked at.
    cut: bool,
}

impl Eyes {
    /// Blocks, for as long as the file system lets it.
    fn look(&mut self, paths: &[PathBuf]) -> Sight {
        let mut sight = Sight::of(paths);
        for _ in 1..LOOKS_MAX {
            let Some(events) = &mut self.events else {
                break;
            };
            match events.follow(&sight) {
                Followed::Already => break,
                // What happened there before that nobody was told of.
                Followed::More => sight = Sight::of(paths),
                // It would panic if it were dropped.
                Followed::Ended => mem::forget(self.events.take()),
            }
        }
        if sight.cut && !mem::replace(&mut self.cut, true) {
            tracing::warn!(
                files_max = look::PATHS_MAX,
                names_max = look::NAMES_MAX,
                "not all certificates are watched: `hostmux reload` takes the others over",
            );
        }
        sight
    }
}

#[cfg(test)]
mod tests;
