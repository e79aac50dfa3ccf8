//! How every kind of load runs: open, say `ready`, work, report, hold.

use std::{
    io::{self, Read, Write},
    mem,
    sync::{Arc, Barrier, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet},
};

/// Connections being opened at once on one thread: more would queue behind
/// each other's handshakes and swell the proxy's memory beyond what idle
/// connections cost.
const OPENING_MAX: usize = 32;
/// Until all connections are open.
pub(crate) const OPEN_WITHIN: Duration = Duration::from_secs(60);
/// What the last exchange may take beyond the window.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// How much load.
#[derive(clap::Args)]
pub(crate) struct Extent {
    /// Connections, spread over the threads
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Threads; absent: one a core
    #[arg(long)]
    threads: Option<usize>,
    /// How long to work, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Keep the connections after the result until standard input ends
    #[arg(long)]
    hold: bool,
}

/// One kind of load: what a connection is, and what it does.
pub(crate) trait Work: Send + Sync + 'static {
    type Connection: 'static;

    /// Opens one connection and warms it up; `number` counts from 0.
    async fn open(&self, number: usize) -> Result<Self::Connection>;

    /// Called once, when all are open and the window is known.
    fn begin(&self, _window: Window) {}

    /// Works until the window ends. An error ends this connection's work and
    /// is counted, not fatal.
    async fn work(
        &self,
        connection: &mut Self::Connection,
        window: Window,
        tally: &mut Tally,
    ) -> Result<()>;
}

/// When to work.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// What was done.
#[derive(Default)]
pub(crate) struct Tally {
    /// Of each exchange, in microseconds.
    latencies: Vec<u32>,
    /// Of the bodies.
    bytes: u64,
    failures: u64,
    first_failure: Option<String>,
}

impl Tally {
    /// Does `once`, which tells the bytes it moved, over and over until the window ends.
    pub(crate) async fn repeat(
        &mut self,
        window: Window,
        mut once: impl AsyncFnMut() -> Result<u64>,
    ) -> Result<()> {
        let mut now = window.start;
        while now < window.end {
            self.bytes += once().await?;
            let began = mem::replace(&mut now, Instant::now());
            self.exchange(now - began);
        }
        Ok(())
    }

    /// Counts one exchange.
    pub(crate) fn exchange(&mut self, took: Duration) {
        self.latencies
            .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    fn failure(&mut self, failure: &anyhow::Error) {
        self.failures += 1;
        self.first_failure
            .get_or_insert_with(|| format!("{failure:#}"));
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.bytes += other.bytes;
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    fn report(mut self, took: Duration) -> serde_json::Value {
        self.latencies.sort_unstable();
        let percentile = |share: f64| {
            let last = self.latencies.len().checked_sub(1)?;
            self.latencies.get((share * last as f64).round() as usize)
        };
        serde_json::json!({
            "count": self.latencies.len(),
            "bytes": self.bytes,
            "seconds": took.as_secs_f64(),
            "failures": self.failures,
            "failure": self.first_failure,
            "p50_us": percentile(0.5),
            "p99_us": percentile(0.99),
            "p999_us": percentile(0.999),
            "max_us": percentile(1.0),
        })
    }
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs the whole load; prints `ready` and then the result.
pub(crate) fn run<W: Work>(extent: &Extent, work: W) -> Result<()> {
    if extent.connections == 0 {
        bail!("at least one connection is needed");
    }
    let threads = extent
        .threads
        .unwrap_or_else(cores)
        .clamp(1, extent.connections);
    let all = Arc::new(Shared {
        work,
        window: OnceLock::new(),
        begin: Barrier::new(threads + 1),
    });
    let (opened, all_opened) = mpsc::channel();
    let (finished, all_finished) = mpsc::channel();
    for thread in 0..threads {
        let numbers = (thread..extent.connections).step_by(threads);
        let (all, opened, finished) = (all.clone(), opened.clone(), finished.clone());
        thread::spawn(move || all.thread(numbers, &opened, &finished));
    }
    drop((opened, finished)); // a thread that panics is then noticed at once

    for _ in 0..threads {
        all_opened
            .recv_timeout(OPEN_WITHIN)
            .context("the connections did not open")??;
    }
    say("ready")?;
    let start = Instant::now();
    let long = Duration::try_from_secs_f64(extent.seconds)?;
    let window = all.window.get_or_init(|| Window {
        start,
        end: start + long,
    });
    all.work.begin(*window);
    all.begin.wait();

    let mut total = Tally::default();
    let mut held = Vec::new();
    for _ in 0..threads {
        let (tally, release) = all_finished
            .recv_timeout(long + FINISH_WITHIN)
            .context("the connections did not finish")?;
        total.add(tally);
        held.push(release);
    }
    say(&total.report(window.start.elapsed()).to_string())?;
    if extent.hold {
        io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(()) // `held` ends here; the threads and their connections with the process
}

pub(crate) fn say(line: &str) -> io::Result<()> {
    println!("{line}");
    io::stdout().flush()
}

/// What the threads have in common.
struct Shared<W> {
    work: W,
    /// Set before `begin`.
    window: OnceLock<Window>,
    begin: Barrier,
}

/// A thread keeps its connections until this is dropped.
type Release = mpsc::Sender<()>;

impl<W: Work> Shared<W> {
    fn thread(
        self: Arc<Self>,
        numbers: impl Iterator<Item = usize>,
        opened: &mpsc::Sender<Result<()>>,
        finished: &mpsc::Sender<(Tally, Release)>,
    ) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return opened.send(Err(error.into())).unwrap_or_default(),
        };
        let local = LocalSet::new();
        let connections = match local.block_on(&runtime, self.open(numbers)) {
            Ok(connections) => connections,
            Err(error) => return opened.send(Err(error)).unwrap_or_default(),
        };
        // Nobody listens any more only when another thread has failed.
        opened.send(Ok(())).unwrap_or_default();
        self.begin.wait();
        let (tally, connections) = local.block_on(&runtime, self.work(connections));
        let (release, released) = mpsc::channel();
        finished.send((tally, release)).unwrap_or_default();
        let _ = released.recv(); // ends as an error, when the other end is dropped
        drop(connections);
    }

    async fn open(
        self: &Arc<Self>,
        numbers: impl Iterator<Item = usize>,
    ) -> Result<Vec<W::Connection>> {
        let places = Arc::new(Semaphore::new(OPENING_MAX));
        let mut opening = JoinSet::new();
        for number in numbers {
            let (all, places) = (self.clone(), places.clone());
            opening.spawn_local(async move {
                let _place = places.acquire().await?;
                all.work.open(number).await
            });
        }
        let mut connections = Vec::with_capacity(opening.len());
        while let Some(connection) = opening.join_next().await {
            connections.push(connection??);
        }
        Ok(connections)
    }

    async fn work(
        self: &Arc<Self>,
        connections: Vec<W::Connection>,
    ) -> (Tally, Vec<W::Connection>) {
        let window = *self
            .window
            .get()
            .expect("the window is set before the work begins");
        let mut working = JoinSet::new();
        for mut connection in connections {
            let all = self.clone();
            working.spawn_local(async move {
                let mut tally = Tally::default();
                if let Err(failure) = all.work.work(&mut connection, window, &mut tally).await {
                    tally.failure(&failure);
                }
                (tally, connection)
            });
        }
        let mut total = Tally::default();
        let mut kept = Vec::with_capacity(working.len());
        while let Some(done) = working.join_next().await {
            match done {
                Ok((tally, connection)) => {
                    total.add(tally);
                    kept.push(connection);
                }
                Err(error) => total.failure(&error.into()),
            }
        }
        (total, kept)
    }
}
