//! Sockets and life: threads that serve, and the order in which they stop.

mod background;
mod clocks;
mod connection;
pub mod control;
pub mod h1;
mod h2;
pub mod holder;
pub mod inherit;
mod lent;
pub mod listener;
mod noise;
pub mod proxy_protocol;
pub mod reload;
mod transport;
mod tunnel;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use self::background::Background;
use self::listener::{Listener, Queue};
use self::noise::Noise;
use self::reload::Source;
use self::worker::{Census, Job};
use crate::proxy::Proxy;

pub use self::connection::Speaks;
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
        let count = worker::count();
        let census = Arc::new(Census::new(count, connections_max()));
        let noise = Arc::new(Noise::default());
        let worker::Threads {
            jobs: workers,
            threads,
        } = worker::start(&proxy, &noise, &census, count)?;
        let background = Background::start(proxy, source, control)?;
        let mut addresses = Vec::with_capacity(listeners.len());
        for (n, listener) in listeners.into_iter().enumerate() {
            addresses.push((listener.speaks(), listener.address()?));
            let _ = workers[n % count].send(Job::Accept(listener));
        }
        Ok(Self {
            workers,
            threads,
            addresses,
            census,
            background,
        })
    }

    /// Where clients connect, in the order of the listeners.
    pub fn addresses(&self) -> &[(Speaks, SocketAddr)] {
        &self.addresses
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

/// Half of the descriptors: an exchange may need one on each side.
fn connections_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(DESCRIPTORS_RESERVED) / 2)
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
