//! The file that is served, and what became of it when it was last read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedMutexGuard, watch};

use super::last_good::LastGood;
use super::told::tell;
use super::{
    Certificate, Changes, Loaded, OpenFault, Refused, TOLD_MAX, Taken, Watched, load_again, open,
};
use crate::config::{Config, Listen, Log};
use crate::diagnostic::{Diagnostic, Severity};
use crate::proxy::Proxy;
use crate::tls::Inventory;

/// The file that is served. Shared by whoever may want it read again.
pub struct Source {
    file: PathBuf,
    state: PathBuf,
    last_good: LastGood,
    running: Arc<tokio::sync::Mutex<Running>>,
    /// What the file was refused for, while it is.
    refused: Mutex<Option<Arc<Refused>>>,
    /// What the last reload warned of.
    warned: Mutex<HashSet<String>>,
    /// Since when it runs as it is.
    since: Mutex<SystemTime>,
    watched: Mutex<Option<Watched>>,
    /// Told whenever a file was taken over or refused.
    read: watch::Sender<()>,
    /// The keys that waited for a restart when they were last told.
    waiting: Mutex<Vec<&'static str>>,
    /// Nothing but the whole of the file will do.
    strict: bool,
    /// What holds until the process ends.
    started_with: (Listen, Log),
}

/// What was last taken over.
struct Running {
    config: Config,
    text: String,
}

/// The right to change what runs, by a reload or by hand: one has it at a time.
pub struct Turn(OwnedMutexGuard<Running>);

/// How often a file that ends early is looked at again before it is believed,
/// and how long is waited before each time: it may be half written.
const LOOKS_MAX: usize = 2;
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a file is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `hostmux reload`, and what edits the file.
    Command,
    /// SIGHUP.
    Signal,
    /// It was seen to change.
    Change,
}

impl Cause {
    /// One word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Signal => "signal",
            Self::Change => "change",
        }
    }
}

/// Why the file was not taken over.
pub enum Rejected {
    /// At least one of what was found is no single site's fault.
    Faults(Box<Loaded>),
    Open(OpenFault),
}

impl Source {
    /// `file`: as it is to be read again, whatever the working folder is then.
    /// `config` is what `text` means. `refused`: where the last good copy runs
    /// in its place.
    pub fn new(
        file: &Path,
        state: PathBuf,
        config: Config,
        text: String,
        refused: Option<Refused>,
    ) -> Self {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let last_good = LastGood::of(&file, &state);
        if refused.is_none() {
            keep(&last_good, &text);
        }
        Self {
            last_good,
            file,
            state,
            started_with: (config.listen.clone(), config.log.clone()),
            running: Arc::new(tokio::sync::Mutex::new(Running { config, text })),
            refused: Mutex::new(refused.map(Arc::new)),
            warned: Mutex::default(),
            since: Mutex::new(SystemTime::now()),
            watched: Mutex::default(),
            read: watch::Sender::default(),
            waiting: Mutex::default(),
            strict: false,
        }
    }

    /// With it, a fault of a single site has the whole file refused.
    #[must_use]
    pub fn strictly(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Has it watched while the server runs, with the files that it names.
    /// `read_at`: when they were read; `loaded`: what was told of them then.
    #[must_use]
    pub fn watched(self, named: &[PathBuf], read_at: SystemTime, loaded: &Loaded) -> Self {
        let paths = self.with(named);
        *lock(&self.watched) = Some(Watched { paths, read_at });
        *lock(&self.warned) = warnings(loaded)
            .map(|found| found.message.clone())
            .collect();
        self
    }

    /// What is to be watched now; `None`: nothing is.
    pub fn watch(&self) -> Option<Watched> {
        lock(&self.watched).clone()
    }

    fn with(&self, named: &[PathBuf]) -> Arc<[PathBuf]> {
        let own = std::iter::once(&self.file);
        own.chain(named).cloned().collect()
    }

    /// Told whenever the file was taken over or refused.
    pub fn read(&self) -> watch::Receiver<()> {
        self.read.subscribe()
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What the file is refused for at the moment; what ran before it runs on.
    pub fn refused(&self) -> Option<Arc<Refused>> {
        lock(&self.refused).clone()
    }

    /// Waits for a change that is under way. A reload may read for long, from
    /// a disk that is gone or a pipe, so that no thread may wait for it.
    pub async fn turn(&self) -> Turn {
        Turn(self.running.clone().lock_owned().await)
    }

    /// Reads the file again and serves what it says from now on. With a fault
    /// in it that is no single site's nothing changes. One that was seen to
    /// change and says what it said before changes nothing, and is not told of.
    ///
    /// Dropping the future before its turn has come does nothing; later the
    /// reload goes on to its end.
    pub async fn take_over(
        self: &Arc<Self>,
        proxy: &Arc<Proxy>,
        cause: Cause,
    ) -> Result<Taken, Rejected> {
        let turn = self.turn().await;
        if cause == Cause::Change {
            self.written_whole(&turn.0.text).await;
        }
        let (source, proxy) = (self.clone(), proxy.clone());
        // It reads files, and nobody else shall wait for that.
        let done = tokio::task::spawn_blocking(move || source.reload(turn, &proxy, cause)).await;
        done.unwrap_or_else(|_| Err(Rejected::Open(OpenFault::Panicked)))
    }

    /// Waits a little while the file is the beginning of what it was: whoever
    /// writes it in pieces has not come to its end.
    async fn written_whole(self: &Arc<Self>, before: &str) {
        for _ in 0..LOOKS_MAX {
            let source = self.clone();
            let read = tokio::task::spawn_blocking(move || super::read(&source.file));
            let is_less =
                |now: &[u8]| now.len() < before.len() && before.as_bytes().starts_with(now);
            if !matches!(read.await, Ok(Ok(now)) if is_less(&now)) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What [`Source::take_over`] would change. Waits for its turn as that does.
    pub async fn compare(self: &Arc<Self>, proxy: &Arc<Proxy>) -> Result<Taken, Rejected> {
        let Turn(running) = self.turn().await;
        let (source, proxy) = (self.clone(), proxy.clone());
        let done = tokio::task::spawn_blocking(move || {
            let previous = proxy.live().current();
            let mut loaded = source.load(previous.tls.inventory());
            match loaded.checked.config.take() {
                Some(config) => {
                    let certificates = loaded
                        .inventory
                        .as_ref()
                        .map(|now| Certificate::between(previous.tls.inventory(), now));
                    let certificates = certificates.unwrap_or_default();
                    Ok(source.taken(&running.config, &config, certificates, loaded))
                }
                None => Err(Rejected::Faults(Box::new(loaded))),
            }
        });
        let done = done.await;
        done.unwrap_or_else(|_| Err(Rejected::Open(OpenFault::Panicked)))
    }

    fn load(&self, previous: &Inventory) -> Loaded {
        let mut loaded = load_again(&self.file, previous);
        let config = &mut loaded.checked.config;
        config.take_if(|config| self.strict && config.is_degraded());
        loaded
    }

    fn taken(
        &self,
        before: &Config,
        after: &Config,
        certificates: Vec<Certificate>,
        loaded: Loaded,
    ) -> Taken {
        let (listen, log) = &self.started_with;
        Taken {
            changes: Changes {
                certificates,
                waiting: Changes::waiting(listen, log, after),
                ..Changes::between(before, after)
            },
            loaded,
            since: *lock(&self.since),
            degraded: after.is_degraded(),
        }
    }

    fn reload(&self, turn: Turn, proxy: &Proxy, cause: Cause) -> Result<Taken, Rejected> {
        let Turn(mut running) = turn;
        let live = proxy.live();
        let previous = live.current();
        let mut loaded = self.load(previous.tls.inventory());
        if let (Some(watched), Some(inventory)) = (&mut *lock(&self.watched), &loaded.inventory) {
            watched.paths = self.with(inventory.files());
        }
        let Some((config, inventory)) = loaded.take() else {
            self.refuse(Refused::of(&loaded, SystemTime::now()), cause);
            return Err(Rejected::Faults(Box::new(loaded)));
        };
        let is_same = running.config == config && inventory.is_as(previous.tls.inventory());
        if is_same && cause == Cause::Change && self.refused().is_none() {
            keep(&self.last_good, &loaded.text);
            self.warn(&loaded);
            running.text.clone_from(&loaded.text);
            return Ok(self.taken(&running.config, &config, Vec::new(), loaded));
        }
        let tickets = previous.tls.tickets().clone();
        let next = match open(&config, inventory, tickets, &self.state, Some(&previous)) {
            Ok(next) => next,
            Err(fault) => {
                self.refuse(Refused::for_opening(&fault, SystemTime::now()), cause);
                return Err(Rejected::Open(fault));
            }
        };
        let certificates = Certificate::between(previous.tls.inventory(), next.tls.inventory());
        live.replace(next);
        let taken = self.taken(&running.config, &config, certificates, loaded);
        self.accept(&taken, cause);
        let text = taken.loaded.text.clone();
        *running = Running { config, text };
        Ok(taken)
    }

    /// Tells of a file that is not taken over: whoever asked is told each time,
    /// one that changes by itself once.
    fn refuse(&self, mut refused: Refused, cause: Cause) {
        let mut standing = lock(&self.refused);
        if let Some(known) = standing.as_ref() {
            refused.instead.clone_from(&known.instead);
        }
        let is_known = standing.as_ref().is_some_and(|known| known.is_as(&refused));
        if !(is_known && cause == Cause::Change) {
            tracing::error!(
                config = %self.file.display(),
                errors = refused.errors,
                line = refused.line,
                fault = refused.message,
                cause = cause.as_str(),
                "configuration refused: {} runs on; `hostmux check {}` shows every fault",
                refused.instead,
                self.file.display(),
            );
        }
        if !is_known {
            *standing = Some(Arc::new(refused));
        }
        drop(standing);
        self.read.send_replace(());
    }

    fn accept(&self, taken: &Taken, cause: Cause) {
        let was_refused = lock(&self.refused).take().is_some();
        if !taken.changes.is_empty() || was_refused {
            *lock(&self.since) = SystemTime::now();
        }
        let waiting = taken.changes.waiting.clone();
        let waits_anew = std::mem::replace(&mut *lock(&self.waiting), waiting.clone()) != waiting;
        tell(&self.file, &taken.changes, cause, was_refused, waits_anew);
        keep(&self.last_good, &taken.loaded.text);
        self.warn(&taken.loaded);
        self.read.send_replace(());
    }

    /// Tells what a file that was taken over is warned of, each thing once for
    /// as long as it is so.
    fn warn(&self, loaded: &Loaded) {
        let mut warned = lock(&self.warned);
        let new = warnings(loaded).filter(|found| !warned.contains(&found.message));
        for found in new.take(TOLD_MAX) {
            let line = loaded
                .checked
                .places
                .span(&found.place)
                .map(|span| span.line);
            tracing::warn!(config = %self.file.display(), line, "{}", found.message);
        }
        *warned = warnings(loaded)
            .map(|found| found.message.clone())
            .collect();
    }
}

fn warnings(loaded: &Loaded) -> impl Iterator<Item = &Diagnostic> {
    let found = loaded.checked.found.iter();
    found.filter(|found| found.severity == Severity::Warning)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a text that was taken over, for a start with a faulty file.
fn keep(last_good: &LastGood, text: &str) {
    if let Err(error) = last_good.keep(text) {
        tracing::warn!(
            %error,
            file = %last_good.path().display(),
            "no last good copy is kept: a restart with a faulty configuration would fail",
        );
    }
}
