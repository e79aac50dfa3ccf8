//! Sockets and life: threads that serve, and the order in which they stop.

mod background;
mod clocks;
mod connection;
pub mod control;
pub mod h1;
mod h2;
pub mod holder;
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
use self::listener::Listener;
use self::noise::Noise;
use self::reload::Source;
use self::worker::{Census, Job};
use crate::proxy::Proxy;

pub use self::connection::Speaks;
pub use self::worker::DRAIN_TIMEOUT;

/// Descriptors that are not for connections: files, sockets of our own, runtimes.
const DESCRIPTORS_RESERVED: u64 = 64;

/// More descriptors than one machine's front door has a use for.
const DESCRIPTORS_ENOUGH: u64 = 1 << 19;

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
    /// Dropping the future leaves the threads to it; the process's end ends them.
    pub async fn drain(mut self, timeout: Duration) -> usize {
        let until = Instant::now() + timeout;
        self.census.ending.store(true, Ordering::Relaxed);
        let mut stopping = Vec::new();
        for worker in &self.workers {
            let (done, stopped) = oneshot::channel();
            if worker.send(Job::StopAccepting(done)).is_ok() {
                stopping.push(stopped);
            }
        }
        for stopped in stopping {
            let _ = stopped.await;
        }
        let mut pending = Vec::new();
        for worker in &self.workers {
            let (done, drained) = oneshot::channel();
            if worker.send(Job::Drain { until, done }).is_ok() {
                pending.push(drained);
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
