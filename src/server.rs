//! Sockets and life: threads that serve, and the order in which they stop.

mod background;
mod clocks;
mod connection;
pub mod control;
pub mod h1;
mod h2;
pub mod handover;
pub mod holder;
pub mod inherit;
mod lent;
pub mod listener;
mod noise;

pub mod proxy_protocol;
mod pulse;
pub mod reload;
pub mod systemd;
mod transport;
mod tunnel;
mod watch;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tokio::sync::oneshot;

use self::background::Background;
use self::handover::{Button, Fault, Press, Program, Upgraded};
use self::listener::{Listener, Queue};
use self::noise::Noise;
use self::reload::{Source, Turn};
use self::worker::{Census, Job};
use crate::proxy::Proxy;

pub use self::connection::Speaks;
pub use self::pulse::{Pulse, Silent};
pub use self::tunnel::GOODBYE_TIMEOUT;
pub use self::worker::DRAIN_TIMEOUT;

/// Descriptors that are not for connections: files, sockets of our own, runtimes.
const DESCRIPTORS_RESERVED: u64 = 64;

/// More descriptors than one machine's front door has a use for.
const DESCRIPTORS_ENOUGH: u64 = 1 << 19;

/// Why a process drains, and so what becomes of connections that never end by
/// themselves: tunnels (WebSockets) and event streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Nobody serves meanwhile, so that they must not hold it up: they are told
    /// to come back as soon as all else has ended.
    Stop,
    /// Another process serves: they live on until the end of the drain.
    Upgrade,
}

/// A running server.
pub struct Server {
    workers: Vec<UnboundedSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<(Speaks, SocketAddr)>,
    census: Arc<Census>,
    background: Background,
    estate: Estate,
    button: Button,
    presses: Receiver<Press>,
}

/// What an upgrade hands over.
struct Estate {
    proxy: Arc<Proxy>,
    source: Option<Arc<Source>>,
    listeners: Vec<Listener>,
    /// Had for good once another process serves: nothing changes here any more.
    turn: Option<Turn>,
}

impl Server {
    /// Serves what comes to the listeners, on as many threads as cores, and
    /// commands, where there is a file that they are about (`source`) and
    /// something to listen for them on (`control`).
    pub fn start(
        proxy: Arc<Proxy>,
        listeners: Vec<Listener>,
        source: Option<Arc<Source>>,
        control: Option<control::Socket>,
    ) -> io::Result<Self> {
        let server = Self::prepare(proxy, listeners, source, control)?;
        server.accept();
        Ok(server)
    }

    /// The same, but that connections wait until [`Self::accept`].
    pub fn prepare(
        proxy: Arc<Proxy>,
        listeners: Vec<Listener>,
        source: Option<Arc<Source>>,
        control: Option<control::Socket>,
    ) -> io::Result<Self> {
        let count = worker::count();
        let census = Arc::new(Census::new(count, connections_max()));
        let noise = Arc::new(Noise::default());
        let worker::Threads {
            jobs: workers,
            threads,
        } = worker::start(&proxy, &noise, &census, count)?;
        let (button, presses) = Button::new();
        let background = Background::start(proxy.clone(), source.clone(), control, button.clone())?;
        let mut addresses = Vec::with_capacity(listeners.len());
        for listener in &listeners {
            addresses.push((listener.speaks(), listener.address()?));
        }
        Ok(Self {
            workers,
            threads,
            addresses,
            census,
            background,
            estate: Estate {
                proxy,
                source,
                listeners,
                turn: None,
            },
            button,
            presses,
        })
    }

    /// Accepts connections from now on. To be called once.
    pub fn accept(&self) {
        let workers = self.workers.iter().cycle();
        for (listener, worker) in self.estate.listeners.iter().zip(workers) {
            let _ = worker.send(Job::Accept(listener.clone()));
        }
    }

    /// Where clients connect, in the order of the listeners.
    pub fn addresses(&self) -> &[(Speaks, SocketAddr)] {
        &self.addresses
    }

    /// By which an upgrade is asked for.
    pub fn button(&self) -> Button {
        self.button.clone()
    }

    /// A way to ask all threads whether they live.
    pub fn pulse(&self) -> Pulse {
        Pulse {
            workers: self.workers.clone(),
            background: self.background.words().clone(),
        }
    }

    /// Waits for an upgrade that succeeds; those that fail are told. When this
    /// returns, another process serves as well, and this one is to be drained.
    ///
    /// Dropping the future ends an upgrade that is under way.
    pub async fn until_upgraded(&mut self, program: &Program) -> Upgraded {
        loop {
            let Some(press) = self.presses.recv().await else {
                return std::future::pending().await; // the button is ours: it does not come to this
            };
            let outcome = {
                let mut upgrade = pin!(upgrade(&mut self.estate, &mut self.background, program));
                loop {
                    tokio::select! {
                        outcome = &mut upgrade => break outcome.map_err(Arc::new),
                        Some(another) = self.presses.recv() => {
                            another.answer(&Err(Arc::new(Fault::UnderWay)));
                        }
                    }
                }
            };
            self.button.tell(&outcome);
            press.answer(&outcome);
            if let Ok(upgraded) = outcome {
                return upgraded;
            }
        }
    }

    /// Accepts nothing more and finishes what runs, for at most `timeout`;
    /// what is left then is closed. Gives the number of connections that had to be.
    ///
    /// A WebSocket is closed with 1001 (RFC 6455 §7.4.1), for which its two
    /// sides have [`GOODBYE_TIMEOUT`] more.
    ///
    /// Dropping the future leaves the threads to it; the process's end ends them.
    pub async fn drain(mut self, why: Drain, timeout: Duration) -> usize {
        let until = Instant::now() + timeout;
        // Who asks for an upgrade now is told, and not kept until the end.
        drop(self.presses);
        self.estate.listeners.clear();
        self.census.ending.store(true, Ordering::Relaxed);
        let queue = match why {
            Drain::Stop => Queue::Taken,
            Drain::Upgrade => Queue::Left,
        };
        let mut stopping = Vec::new();
        for worker in &self.workers {
            let (done, stopped) = oneshot::channel();
            if worker.send(Job::StopAccepting { queue, done }).is_ok() {
                stopping.push(stopped);
            }
        }
        for stopped in stopping {
            let _ = stopped.await;
        }
        let (mut resting, mut leaving, mut pending) = (Vec::new(), Vec::new(), Vec::new());
        for worker in &self.workers {
            let (quiet, rests) = oneshot::channel();
            let (leave, told) = oneshot::channel();
            let (done, drained) = oneshot::channel();
            let order = worker::Drain {
                until,
                quiet,
                leave: told,
                done,
            };
            if worker.send(Job::Drain(order)).is_ok() {
                resting.push(rests);
                leaving.push(leave);
                pending.push(drained);
            }
        }
        if why == Drain::Stop {
            // Of all threads: while one has a download, tunnels of others live too.
            for rests in resting {
                let _ = rests.await;
            }
            for leave in leaving.drain(..) {
                let _ = leave.send(());
            }
        }
        let mut left = 0;
        for drained in pending {
            left += drained.await.unwrap_or(0);
        }
        self.background.end();
        self.workers.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread ended by a panic");
            }
        }
        left
    }
}

/// Hands all over to a new process.
async fn upgrade(
    estate: &mut Estate,
    background: &mut Background,
    program: &Program,
) -> Result<Upgraded, Fault> {
    handover::possible()?;
    let source = estate.source.as_ref().ok_or(Fault::NoFile)?;
    // What is changed by hand from now on would not be handed over.
    let turn = tokio::time::timeout(handover::TURN_TIMEOUT, source.turn()).await;
    let turn = turn.map_err(|_| Fault::Busy)?;
    let given = handover::Estate {
        listeners: estate.listeners.clone(),
        control: background.commands().map_err(Fault::Line)?,
        by_hand: control::by_hand(&estate.proxy.live().current()),
    };
    let successor = handover::attempt(program, given).await?;
    estate.turn = Some(turn);
    background.leave_commands().await;
    systemd::succeeded_by(successor.is.pid);
    let upgraded = successor.is.clone();
    successor.go();
    Ok(upgraded)
}

fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    connections_within(limit)
}

/// Half of the descriptors: an exchange may need one on each side.
pub fn connections_within(descriptors: u64) -> usize {
    usize::try_from(descriptors.saturating_sub(DESCRIPTORS_RESERVED) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// Raises the limit of open files to the most that is allowed; gives the new limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    // Without a maximum the kernel still has one, and refuses more.
    for most in [limit.maximum, Some(DESCRIPTORS_ENOUGH)] {
        limit.current = most;
        match setrlimit(Resource::Nofile, limit) {
            Ok(()) => break,
            Err(error) => tracing::debug!(%error, ?most, "the limit of open files stays as it is"),
        }
    }
    getrlimit(Resource::Nofile).current
}
