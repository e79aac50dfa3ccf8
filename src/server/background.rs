//! The background thread: what is no request: health checks, names of
//! endpoints, commands, files that change.
//!
//! It has a runtime of its own, with its own connections to endpoints, so that
//! what it does costs no request a wait.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::control::{self, Deed, Listening, Place, Socket};
use super::handover::Button;
use super::reload::Source;
use super::watch;
use crate::proxy::Proxy;
use crate::rt::{self, clock};
use crate::upstream::client::pool;
use crate::upstream::{Upstream, discovery, health};

/// The thread. Dropped, it ends by itself.
pub(super) struct Background {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
    words: mpsc::Sender<Word>,
    commands: Option<Commands>,
}

/// What it is told while it runs.
pub(super) enum Word {
    /// Say that the thread lives.
    Beat(oneshot::Sender<()>),
    /// Take no more commands, and say so; those that were taken are answered.
    /// The files are the next process's to watch, too.
    NoCommands(oneshot::Sender<()>),
}

/// How long the thread may take to hear a word: it waits for nothing itself.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Words that wait.
const WORDS_MAX: usize = 4;

/// The control socket, for whoever takes it over, and its file, which goes
/// with this. In this order.
struct Commands {
    listener: UnixListener,
    place: Place,
}

impl Background {
    pub(super) fn start(
        proxy: Arc<Proxy>,
        source: Option<Arc<Source>>,
        control: Option<Socket>,
        button: Button,
    ) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (words, heard) = mpsc::channel(WORDS_MAX);
        let watched = source.clone().filter(|source| source.watch().is_some());
        let both = source.zip(control);
        let (place, listening) = both
            .map(|(source, socket)| Listening::new(socket, source, button))
            .unzip();
        let listener = listening.as_ref().map(Listening::copy).transpose()?;
        let commands = listener
            .zip(place)
            .map(|(listener, place)| Commands { listener, place });
        let thread = rt::thread("background", move || {
            run(proxy, listening, watched, heard, stopped)
        })?;
        Ok(Self {
            stop,
            thread,
            words,
            commands,
        })
    }

    /// What the next process needs to take commands.
    pub(super) fn commands(&self) -> io::Result<Option<(UnixListener, Deed)>> {
        let Some(Commands { listener, place }) = &self.commands else {
            return Ok(None);
        };
        Ok(Some((listener.try_clone()?, place.deed().clone())))
    }

    /// Leaves commands, and the file of their socket, to the next process.
    pub(super) async fn leave_commands(&mut self) {
        // The file stays, for somebody listens.
        self.commands = None;
        let (done, left) = oneshot::channel();
        let leave = async {
            // A thread that is gone takes none.
            let _ = self.words.send(Word::NoCommands(done)).await;
            let _ = left.await;
        };
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, leave).await;
    }

    pub(super) fn words(&self) -> &mpsc::Sender<Word> {
        &self.words
    }

    /// Ends its tasks and waits for the thread.
    pub(super) fn end(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the background thread ended by a panic");
        }
    }
}

/// Its tasks end with its runtime.
async fn run(
    proxy: Arc<Proxy>,
    listening: Option<Listening>,
    watched: Option<Arc<Source>>,
    mut heard: mpsc::Receiver<Word>,
    mut stopped: oneshot::Receiver<()>,
) {
    tokio::task::spawn_local(clock::run(pool::sweep));
    let under_way = listening.as_ref().map(Listening::under_way);
    let mut commands =
        listening.map(|listening| tokio::task::spawn_local(control::run(listening, proxy.clone())));
    let mut watching =
        watched.map(|source| tokio::task::spawn_local(watch::run(source, proxy.clone())));
    let commons = proxy.live().current().commons.clone();
    let changed = commons.changed.subscribe();
    let all = move || upstreams(&proxy);
    tokio::task::spawn_local(health::supervise(all.clone(), changed));
    tokio::task::spawn_local(discovery::supervise(all, commons));
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(word) = heard.recv() => match word {
                Word::Beat(beat) => drop(beat.send(())),
                Word::NoCommands(done) => {
                    end(commands.take()).await;
                    // It watches the file as well.
                    end(watching.take()).await;
                    let _ = done.send(());
                }
            },
        }
    }
    end(commands).await;
    if let Some(under_way) = under_way {
        // The one that has asked for an upgrade, above all.
        under_way.end().await;
    }
}

/// Ends a task; a socket that it has is closed then.
async fn end(commands: Option<JoinHandle<()>>) {
    if let Some(commands) = commands {
        commands.abort();
        let _ = commands.await;
    }
}

/// Those that requests may go to; one that several routes have comes several times.
fn upstreams(proxy: &Proxy) -> Vec<Arc<Upstream>> {
    let snapshot = proxy.live().current();
    let sites = snapshot.all();
    sites.flat_map(|site| site.upstreams().cloned()).collect()
}
