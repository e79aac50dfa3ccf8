//! One thread that serves, and its connections.

mod changes;
mod drain;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::connection::{self, Speaks};
use super::listener::{self, Listener, Queue};
use super::noise::Noise;
use crate::proxy::{Proxy, Tie};
use crate::rt::{self, clock};
use crate::upstream::client::pool;

pub use self::drain::DRAIN_TIMEOUT;
pub(super) use self::drain::Drain;

/// What a worker is told. Connections are counted before they are sent, so
/// that the queue is bounded by the limit of connections.
pub(super) enum Job {
    Accept(Listener),
    Serve(Accepted),
    /// Say that the thread lives.
    Beat(oneshot::Sender<()>),
    /// Accept nothing more, and say so.
    StopAccepting {
        queue: Queue,
        done: oneshot::Sender<()>,
    },
    /// Finish what runs, and say so. Behind [`Job::StopAccepting`] of all
    /// threads, so that no connection comes after it.
    Drain(Drain),
}

/// A connection that was counted; uncounts itself when it ends.
pub(super) struct Accepted {
    pub(super) socket: std::net::TcpStream,
    pub(super) address: SocketAddr,
    pub(super) speaks: Speaks,
    pub(super) place: Place,
}

/// Connections of the process, by thread and by address.
#[derive(Default)]
pub(super) struct Census {
    pub(super) max: usize,
    /// No more requests are wanted on any connection: a drain has begun.
    pub(super) ending: AtomicBool,
    by_worker: Vec<AtomicUsize>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The most connections of one address, where an address is one client.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;

/// A counted place of one connection.
pub(super) struct Place {
    census: Arc<Census>,
    worker: usize,
    counted: Option<IpAddr>,
}

impl Census {
    pub(super) fn new(workers: usize, max: usize) -> Self {
        Self {
            max,
            ending: AtomicBool::new(false),
            by_worker: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            by_address: Mutex::default(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.by_worker
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.max
    }

    /// A place with the worker that has the fewest; `None` if the address, if
    /// it is one that is counted, has its share already.
    pub(super) fn place(self: &Arc<Self>, counted: Option<IpAddr>) -> Option<(usize, Place)> {
        if let Some(address) = counted {
            let mut by_address = self
                .by_address
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let count = by_address.entry(address).or_default();
            if *count >= CONNECTIONS_PER_ADDRESS_MAX {
                return None;
            }
            *count += 1;
        }
        let worker = (0..self.by_worker.len())
            .min_by_key(|worker| self.by_worker[*worker].load(Ordering::Relaxed))?;
        self.by_worker[worker].fetch_add(1, Ordering::Relaxed);
        Some((
            worker,
            Place {
                census: self.clone(),
                worker,
                counted,
            },
        ))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.census.by_worker[self.worker].fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.counted else {
            return;
        };
        let mut by_address = self
            .census
            .by_address
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// What the connections of a thread share.
pub(super) struct Worker {
    pub(super) proxy: Arc<Proxy>,
    pub(super) noise: Arc<Noise>,
    census: Arc<Census>,
    draining: Cell<bool>,
    /// By their ties' addresses.
    known: RefCell<HashMap<usize, Known, foldhash::fast::RandomState>>,
    /// Connections of this thread.
    open: Cell<usize>,
    /// One has ended.
    ended: tokio::sync::Notify,
}

/// A connection that speaks HTTP: who is to be woken for the drain.
struct Known {
    waker: Waker,
    tie: Rc<Tie>,
}

impl Worker {
    /// Keeps a connection's waker; cheap after the first time.
    pub(super) fn remember(&self, waker: &Waker, tie: &Rc<Tie>) {
        if tie.known.replace(true) {
            return;
        }
        let known = Known {
            waker: waker.clone(),
            tie: tie.clone(),
        };
        self.known
            .borrow_mut()
            .insert(Rc::as_ptr(tie) as usize, known);
    }

    pub(super) fn forget(&self, tie: &Rc<Tie>) {
        self.known.borrow_mut().remove(&(Rc::as_ptr(tie) as usize));
    }

    /// What is wanted of the connections that are known, for a time when they may change.
    fn of_known<T>(&self, wanted: impl Fn(&Known) -> Option<T>) -> Vec<T> {
        self.known.borrow().values().filter_map(wanted).collect()
    }
}

/// Runs a worker's thread until it has drained, or nobody can tell it anything more.
pub(super) async fn run(
    proxy: Arc<Proxy>,
    noise: Arc<Noise>,
    mut jobs: UnboundedReceiver<Job>,
    census: Arc<Census>,
    workers: Vec<UnboundedSender<Job>>,
) {
    let worker = Rc::new(Worker {
        proxy,
        noise,
        census: census.clone(),
        draining: Cell::new(false),
        known: RefCell::default(),
        open: Cell::new(0),
        ended: tokio::sync::Notify::new(),
    });
    tokio::task::spawn_local(clock::run(pool::sweep));
    tokio::task::spawn_local(changes::mind(worker.clone()));
    let mut accepting = Vec::new();
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Accept(listener) => {
                let (stop, stopped) = oneshot::channel();
                let accept = listener::accept(
                    listener,
                    worker.proxy.clone(),
                    census.clone(),
                    workers.clone(),
                    worker.noise.clone(),
                    stopped,
                );
                accepting.push((stop, tokio::task::spawn_local(accept)));
            }
            Job::Serve(accepted) => serve(&worker, accepted),
            Job::Beat(beat) => drop(beat.send(())),
            Job::StopAccepting { queue, done } => {
                for (stop, accept) in accepting.drain(..) {
                    let _ = stop.send(queue);
                    // Ended, its socket is closed.
                    let _ = accept.await;
                }
                let _ = done.send(());
            }
            Job::Drain(order) => return worker.drain(order).await,
        }
    }
}

fn serve(worker: &Rc<Worker>, accepted: Accepted) {
    let Accepted {
        socket,
        address,
        speaks,
        place,
    } = accepted;
    let Ok(socket) = tokio::net::TcpStream::from_std(socket) else {
        return;
    };
    worker.open.set(worker.open.get() + 1);
    let guard = Open(worker.clone());
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        connection::run(socket, address, speaks, worker).await;
        drop((guard, place));
    });
}

/// Counts an open connection of a thread, however it ends.
struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.ended.notify_one();
    }
}

/// How many threads serve: one a core.
pub(super) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The threads that serve, and how each is told.
pub(super) struct Threads {
    pub(super) jobs: Vec<UnboundedSender<Job>>,
    pub(super) threads: Vec<std::thread::JoinHandle<()>>,
}

/// Starts the threads.
pub(super) fn start(
    proxy: &Arc<Proxy>,
    noise: &Arc<Noise>,
    census: &Arc<Census>,
    count: usize,
) -> std::io::Result<Threads> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| tokio::sync::mpsc::unbounded_channel())
        .unzip();
    let mut threads = Vec::with_capacity(count);
    for (n, jobs) in receivers.into_iter().enumerate() {
        let (proxy, noise, census, workers) = (
            proxy.clone(),
            noise.clone(),
            census.clone(),
            senders.clone(),
        );
        threads.push(rt::thread(&format!("worker-{n}"), move || {
            run(proxy, noise, jobs, census, workers)
        })?);
    }
    Ok(Threads {
        jobs: senders,
        threads,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let census = Arc::new(Census::new(2, 10_000));
        let address = Some(IpAddr::from([203, 0, 113, 7]));
        let mut places: Vec<_> = (0..CONNECTIONS_PER_ADDRESS_MAX)
            .map(|_| census.place(address).unwrap())
            .collect();
        assert!(census.place(address).is_none());
        // Another's are its own, and where an address is many nobody counts.
        assert!(census.place(Some(IpAddr::from([203, 0, 113, 8]))).is_some());
        assert!(census.place(None).is_some());
        assert_eq!(census.count(), CONNECTIONS_PER_ADDRESS_MAX);
        let half = CONNECTIONS_PER_ADDRESS_MAX / 2;
        let of_first = places.iter().filter(|(worker, _)| *worker == 0).count();
        assert_eq!(of_first, half, "spread evenly");
        places.pop();
        assert!(census.place(address).is_some());
    }
}
