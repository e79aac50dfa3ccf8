//! The file that is served, and what became of it when it was last read.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::last_good::LastGood;
use super::{Changes, Loaded, OpenFault, Taken, Watched, judge, load, load_again, load_alone, open};
use crate::config::{Config, Listen, Log};
use crate::diagnostic::{Diagnostic, Severity};
use crate::proxy::Proxy;
use crate::rt::date;
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

/// A file that was not taken over, as `status` tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// When it was first refused for this.
    pub at: String,
    pub errors: usize,
    /// Of the first error; none: of the file as a whole.
    pub line: Option<usize>,
    pub message: String,
    /// Each as `check --json` tells it; the errors first, not all of many.
    pub faults: Value,
    /// What is served in its place.
    pub instead: String,
}

/// What a refused file leaves, unless it was refused at the start.
const BEFORE: &str = "what ran before";

impl Refused {
    pub fn of(loaded: &Loaded, now: SystemTime) -> Self {
        let checked = &loaded.checked;
        let mut errors = checked.found.iter();
        let first = errors.find(|fault| fault.severity == Severity::Error);
        let place = first.and_then(|fault| checked.places.span(&fault.place));
        Self {
            at: date::rfc3339(now),
            errors: checked.errors(),
            line: place.map(|span| span.line),
            message: first.map_or_else(
                || "it cannot be read".to_owned(),
                |fault| fault.message.clone(),
            ),
            faults: loaded.told(),
            instead: BEFORE.to_owned(),
        }
    }

    fn for_opening(fault: &OpenFault, now: SystemTime) -> Self {
        let cause = std::error::Error::source(fault);
        Self {
            at: date::rfc3339(now),
            errors: 1,
            line: None,
            message: cause.map_or_else(|| fault.to_string(), |cause| format!("{fault}: {cause}")),
            faults: Value::Array(Vec::new()),
            instead: BEFORE.to_owned(),
        }
    }

    /// For the same reasons as another.
    fn is_as(&self, other: &Self) -> bool {
        (self.line, &self.message, &self.faults) == (other.line, &other.message, &other.faults)
    }
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
                Some(config) => Ok(source.taken(&running.config, &config, loaded)),
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

    fn taken(&self, before: &Config, after: &Config, loaded: Loaded) -> Taken {
        let (listen, log) = &self.started_with;
        Taken {
            changes: Changes {
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
            return Ok(self.taken(&running.config, &config, loaded));
        }
        let tickets = previous.tls.tickets().clone();
        let next = match open(&config, inventory, tickets, &self.state, Some(&previous)) {
            Ok(next) => next,
            Err(fault) => {
                self.refuse(Refused::for_opening(&fault, SystemTime::now()), cause);
                return Err(Rejected::Open(fault));
            }
        };
        live.replace(next);
        let taken = self.taken(&running.config, &config, loaded);
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
                "configuration refused: {} runs on; `hostmux check` shows every fault",
                refused.instead,
            );
        }
        if !is_known {
            *standing = Some(Arc::new(refused));
        }
    }

    fn accept(&self, taken: &Taken, cause: Cause) {
        let was_refused = lock(&self.refused).take().is_some();
        if !taken.changes.is_empty() || was_refused {
            *lock(&self.since) = SystemTime::now();
        }
        tell(&self.file, &taken.changes, cause, was_refused);
        keep(&self.last_good, &taken.loaded.text);
        self.warn(&taken.loaded);
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

fn tell(file: &Path, changes: &Changes, cause: Cause, was_refused: bool) {
    let config = file.display();
    if !changes.waiting.is_empty() {
        tracing::warn!(
            keys = changes.waiting.join(", "),
            "a restart or an upgrade is needed for these"
        );
    }
    if changes.is_empty() && !was_refused {
        // Certificates may be new.
        tracing::info!(%config, cause = cause.as_str(), "configuration read again: no site has changed");
        return;
    }
    tracing::info!(
        %config,
        added = changes.added.len(),
        removed = changes.removed.len(),
        changed = changes.changed.len(),
        broken = changes.broken.len(),
        cause = cause.as_str(),
        "configuration reloaded",
    );
    let kinds = [
        ("added", &changes.added),
        ("removed", &changes.removed),
        ("changed", &changes.changed),
    ];
    for (now, sites) in kinds {
        for site in sites.iter().take(TOLD_MAX) {
            tracing::info!(site = site.site, line = site.line, now, "site {now}");
        }
    }
    for site in changes.broken.iter().take(TOLD_MAX) {
        broken(
            &site.site,
            site.line,
            site.fault.as_deref().unwrap_or_default(),
        );
    }
}

/// Sites of one kind, or warnings, that the log names each; the rest is counted.
pub const TOLD_MAX: usize = 20;

/// Tells of a site that is not served as it is written.
pub fn broken(site: &str, line: usize, fault: &str) {
    tracing::error!(site, line, fault, "site broken: the others are served");
}

/// A start: what can be served of a file, or of its last good copy.
pub struct Start {
    /// The file itself, with all that was found in it.
    pub loaded: Loaded,
    /// There where something can be served.
    pub ready: Option<Ready>,
}

/// What a start serves.
pub struct Ready {
    pub config: Config,
    pub inventory: Inventory,
    pub text: String,
    /// When the file and what it names were read, or a little before.
    pub read_at: SystemTime,
    /// Why it is the last good copy, and since when that had been served.
    pub instead: Option<(Refused, SystemTime)>,
}

impl Start {
    /// Reads a file. `strict`: nothing but the whole of it will do.
    pub fn read(file: &Path, state: &Path, strict: bool) -> Self {
        let read_at = SystemTime::now();
        let mut loaded = load(file);
        let whole = |config: &Config| !(strict && config.is_degraded());
        if loaded.checked.config.as_ref().is_some_and(whole) {
            let text = loaded.text.clone();
            let ready = loaded.take().map(|(config, inventory)| Ready {
                config,
                inventory,
                text,
                read_at,
                instead: None,
            });
            return Self { loaded, ready };
        }
        let from_file = file != Path::new("-") && !strict;
        let copy = || last_good(file, state, &loaded, read_at);
        let ready = from_file.then(copy).flatten();
        Self { loaded, ready }
    }
}

fn last_good(file: &Path, state: &Path, refused: &Loaded, read_at: SystemTime) -> Option<Ready> {
    let absolute = std::path::absolute(file).ok()?;
    // One that cannot be read is as good as none: the faults are told anyway.
    let copy = LastGood::of(&absolute, state).find().ok()??;
    let mut judged = judge(refused.name.clone(), copy.text, super::folder_of(file));
    let text = judged.text.clone();
    let (config, inventory) = judged.take()?;
    // By the name that a reload tells, for which it is refused the first time then.
    let mut refused = Refused::of(&load_alone(&absolute), SystemTime::now());
    refused.instead = format!("the last good copy of {}", date::rfc3339(copy.at));
    Some(Ready {
        config,
        inventory,
        text,
        read_at,
        instead: Some((refused, copy.at)),
    })
}
