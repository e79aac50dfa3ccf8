//! `lasting`: WebSockets and event streams that stay open, and what was lost of them.
//!
//! What `scripts/reload-bench` holds through a proxy while that is changed. Each
//! checks every byte that comes. One that ends is told, with how and how long
//! after the beginning, and is opened again, as a page in a browser does.
//!
//! Speaks to whoever runs it as the other sub-commands do: the line `ready` once
//! all are open, then, when `--seconds` are over or standard input has ended, a
//! line of JSON.

#[path = "lasting/echo.rs"]
mod echo;
#[path = "lasting/events.rs"]
mod events;

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, ensure};
use rustls::client::Resumption;
use serde_json::{Value, json};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{sleep, timeout},
};

use crate::{
    run::{OPEN_WITHIN, say},
    stream::{RECORD_BYTES_MAX, Stream, Target, Tls},
    told::Told,
};

/// Until one that is opened again must be open.
const REOPEN_WITHIN: Duration = Duration::from_secs(10);
/// From one that could not be opened to the next try.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How many, and how long.
#[derive(clap::Args)]
#[group(skip)] // the sub-command's has this name
pub(crate) struct Lasting {
    /// WebSockets
    #[arg(long, default_value_t = 8)]
    websockets: usize,
    /// Event streams
    #[arg(long, default_value_t = 8)]
    streams: usize,
    /// How long at most, in seconds
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
}

/// One kind of them.
trait Kept: Sized + 'static {
    const NAME: &'static str;

    /// Opens one, which is known by this name.
    async fn open(all: &All, name: &str) -> Result<Self>;

    /// Until it ends, or is told to. Cancel safe; why it ended.
    async fn live(&mut self) -> Error;

    /// It was told to end: takes what is still under way.
    async fn end(&mut self) -> Result<()>;

    /// What it has had.
    fn report(&self) -> Value;
}

/// What all of them have in common.
struct All {
    target: Target,
    tls: Option<Tls>,
    told: Told,
    begun: OnceCell<Instant>,
    /// Could not be opened again.
    refused: Cell<u64>,
    /// How each one that is no more ended, or that it lived; `(of all) opened again` at most.
    lives: RefCell<Vec<Value>>,
}

impl All {
    async fn connect(&self) -> Result<Stream> {
        Stream::connect(self.target.connect, self.tls.as_ref(), RECORD_BYTES_MAX).await
    }

    fn second(&self, at: Instant) -> f64 {
        let begun = self.begun.get().copied().unwrap_or(at);
        at.saturating_duration_since(begun).as_secs_f64()
    }

    /// Keeps one open until all are told to end.
    async fn keep<K: Kept>(self: Rc<Self>, number: usize, mut one: K) {
        let mut turn = 0;
        loop {
            let opened = Instant::now();
            let ended = tokio::select! {
                biased;
                () = self.told.wait() => one.end().await.err(),
                ended = one.live() => Some(ended),
            };
            let mut life = one.report();
            life["kind"] = K::NAME.into();
            life["name"] = name(number, turn).into();
            life["opened_s"] = self.second(opened).into();
            life["ended_s"] = self.second(Instant::now()).into();
            life["ended"] = ended.as_ref().map(|why| format!("{why:#}")).into();
            self.lives.borrow_mut().push(life);
            if ended.is_none() {
                return;
            }
            one = loop {
                turn += 1;
                let opening = async {
                    let name = name(number, turn);
                    let opened = timeout(REOPEN_WITHIN, K::open(&self, &name)).await;
                    opened.map_err(Error::from).flatten()
                };
                tokio::select! {
                    biased;
                    () = self.told.wait() => return,
                    opened = opening => match opened {
                        Ok(one) => break one,
                        Err(_) => self.refused.set(self.refused.get() + 1),
                    },
                }
                sleep(AGAIN_AFTER).await;
            };
        }
    }
}

fn name(number: usize, turn: usize) -> String {
    format!("{number}-{turn}")
}

/// Runs all of it; prints `ready` and then the result.
pub(crate) fn run(target: &Target, lasting: &Lasting) -> Result<()> {
    ensure!(
        lasting.websockets + lasting.streams > 0,
        "at least one WebSocket or stream is needed"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, load(target, lasting))
}

async fn load(target: &Target, lasting: &Lasting) -> Result<()> {
    let all = Rc::new(All {
        target: target.clone(),
        tls: target.tls(b"http/1.1", Resumption::disabled())?,
        told: Told::new(Some(Duration::try_from_secs_f64(lasting.seconds)?)),
        begun: OnceCell::new(),
        refused: Cell::default(),
        lives: RefCell::default(),
    });
    let opening = async {
        let websockets = open::<echo::WebSocket>(&all, lasting.websockets).await?;
        let streams = open::<events::EventStream>(&all, lasting.streams).await?;
        Ok::<_, Error>((websockets, streams))
    };
    let (websockets, streams) = timeout(OPEN_WITHIN, opening)
        .await
        .context("they did not open")??;
    let mut living = JoinSet::new();
    let _ = all.begun.set(Instant::now());
    for (number, one) in websockets.into_iter().enumerate() {
        living.spawn_local(all.clone().keep(number, one));
    }
    for (number, one) in streams.into_iter().enumerate() {
        living.spawn_local(all.clone().keep(number, one));
    }
    say("ready")?;
    while let Some(done) = living.join_next().await {
        done?;
    }
    let report = json!({ "refused": all.refused.get(), "lives": *all.lives.borrow() });
    Ok(say(&report.to_string())?)
}

async fn open<K: Kept>(all: &All, count: usize) -> Result<Vec<K>> {
    let mut open = Vec::with_capacity(count);
    for number in 0..count {
        open.push(K::open(all, &name(number, 0)).await.context(K::NAME)?);
    }
    Ok(open)
}
