//! `steady`: GETs and POSTs at a fixed rate, each checked, and told if it failed.
//!
//! What `scripts/failover` and `scripts/reload-bench` load the proxies with. The
//! connections are shared out among the [`Client`]s. Each request has a path
//! of its own, `/NUMBER`, by which endpoints and logs can be asked about it. It
//! has succeeded if its answer is a 200 with the body that [`Request::answer`]
//! tells; anything else is a failure, and none is sent again, but what HTTP/2
//! returns unserved. A connection that was closed between two requests is no
//! failure: it is counted, and another one is opened.
//!
//! Speaks to whoever runs it as the other sub-commands do: the line `ready` once
//! all connections are open, then a line of JSON. A request is sent when it is
//! due, over HTTP/1.1 once its connection is free; what is not sent when
//! `--seconds` are over, or it is told to end, is not sent any more.

#[path = "steady/dial.rs"]
mod dial;
#[path = "steady/h1.rs"]
mod h1;
#[path = "steady/h2.rs"]
mod h2;
#[path = "steady/ledger.rs"]
mod ledger;

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use rustls::client::Resumption;
use serde::Serialize;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::{JoinSet, LocalSet},
};

use crate::{
    pacer::{Order, Pacer},
    run::{OPEN_WITHIN, Window, say},
    stream::Target,
    told::Told,
};
use dial::Dial;
use ledger::{Ledger, Request};

/// From the first byte sent, or from dialling where that is needed, to the last of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How much load.
#[derive(clap::Args)]
#[group(skip)] // the sub-command's has this name
pub(crate) struct Steady {
    /// What the connections are, in turns
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["h1", "h2"])]
    clients: Vec<Client>,
    /// Connections, all clients' together
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long to send, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Requests a second over all connections
    #[arg(long, value_name = "N", default_value_t = 500.0)]
    rate: f64,
    /// How many of the requests are POSTs, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    posts: f64,
    /// End earlier when standard input ends
    #[arg(long)]
    till_told: bool,
}

/// How a client asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
enum Client {
    /// HTTP/1.1 over a connection that is kept
    #[value(name = "h1")]
    #[serde(rename = "h1")]
    Http1,
    /// HTTP/2, over TLS only
    #[value(name = "h2")]
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/1.1, each request over a new connection
    #[serde(rename = "new")]
    New,
}

/// What the connections have in common.
struct Load {
    host: String,
    /// Nothing is sent later; set before the first turn.
    end: std::cell::OnceCell<Instant>,
    told: Told,
    ledger: Ledger,
}

impl Load {
    /// The next request that is due; `None` once the time is over.
    async fn due(&self, turns: &mut UnboundedReceiver<Instant>) -> Option<Request> {
        tokio::select! {
            biased;
            () = self.told.wait() => return None,
            turn = turns.recv() => turn?,
        };
        let end = self.end.get().expect("turns come once the end is known");
        (Instant::now() < *end).then(|| self.ledger.next())
    }
}

/// A 200 with the right body, or what came instead.
fn check(request: &Request, status: u16, body: &[u8]) -> Result<()> {
    ensure!(status == 200, "status {status}");
    let wanted = request.answer();
    if body != wanted.as_bytes() {
        let begin = String::from_utf8_lossy(&body[..body.len().min(wanted.len())]);
        bail!(
            "{} bytes, {begin:?}, are not the right answer, {wanted:?}",
            body.len()
        );
    }
    Ok(())
}

/// Runs the whole load; prints `ready` and then the result.
pub(crate) fn run(target: &Target, steady: &Steady) -> Result<()> {
    ensure!(
        !target.plain || !steady.clients.contains(&Client::Http2),
        "h2 is over TLS only"
    );
    ensure!(steady.connections > 0, "at least one connection is needed");
    ensure!(steady.rate > 0.0, "--rate is more than 0");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, load(target, steady))
}

async fn load(target: &Target, steady: &Steady) -> Result<()> {
    let pacer = Pacer::new(steady.rate, Order::Dice)?;
    let all = Rc::new(Load {
        host: target.host.clone(),
        end: std::cell::OnceCell::new(),
        told: Told::new(steady.till_told.then_some(Duration::MAX)),
        ledger: Ledger::new(steady.posts),
    });
    let opening = open_all(target, steady, &all);
    let connections = tokio::time::timeout(OPEN_WITHIN, opening)
        .await
        .context("the connections did not open")??;
    let mut working = JoinSet::new();
    for (number, connection) in connections {
        let (all, turns) = (all.clone(), pacer.join(number));
        match connection {
            Connection::Http1(connection) => working.spawn_local(connection.work(all, turns)),
            Connection::Http2(connection) => working.spawn_local(connection.work(all, turns)),
        };
    }
    say("ready")?;
    let start = Instant::now();
    let end = start + Duration::try_from_secs_f64(steady.seconds)?;
    all.ledger.start(start);
    let _ = all.end.set(end);
    pacer.start(Window { start, end });
    while let Some(done) = working.join_next().await {
        done?;
    }
    Ok(say(&all.ledger.report().to_string())?)
}

enum Connection {
    Http1(Box<h1::Connection>),
    Http2(Box<h2::Connection>),
}

/// All of them, with their numbers.
async fn open_all(
    target: &Target,
    steady: &Steady,
    all: &Rc<Load>,
) -> Result<Vec<(usize, Connection)>> {
    let to: SocketAddr = target.connect;
    let dial =
        |alpn| Ok::<_, anyhow::Error>(Dial::new(to, target.tls(alpn, Resumption::disabled())?));
    let (http1, http2) = (dial(b"http/1.1".as_slice())?, dial(b"h2")?);
    let mut opening = JoinSet::new();
    for (number, client) in (0..steady.connections).zip(steady.clients.iter().copied().cycle()) {
        let (http1, http2, all) = (http1.clone(), http2.clone(), all.clone());
        opening.spawn_local(async move {
            let connection = match client {
                Client::Http1 | Client::New => {
                    Connection::Http1(h1::Connection::open(http1, client, &all).await?.into())
                }
                Client::Http2 => Connection::Http2(h2::Connection::open(http2, &all).await?.into()),
            };
            Ok::<_, anyhow::Error>((number, connection))
        });
    }
    let mut connections = Vec::with_capacity(steady.connections);
    while let Some(connection) = opening.join_next().await {
        connections.push(connection??);
    }
    Ok(connections)
}
