//! `load`: the load generator of `scripts/bench`, `scripts/failover` and `scripts/reload-bench`,
//! and a small backend.
//!
//! It is built as a bench target so that it ships with nothing. It is not a
//! benchmark by itself: without arguments (so also under `cargo bench`) it
//! prints its help and exits 0.
//!
//! Every client sub-command speaks to whoever runs it in the same way:
//! it opens all of its connections, prints the line `ready`, works for
//! `--seconds`, prints one line of JSON, and with `--hold` keeps its
//! connections until standard input ends. So the CPU time or memory of the
//! proxy can be read exactly before and after the work, without the cost of
//! opening and closing connections. A wait that never ends is cut off:
//! 60 s for opening, 30 s beyond `--seconds` for the work.
//!
//! Certificates are not checked: that is the work of a client, it would take
//! time from the proxy that shares the machine, and `scripts/bench` has
//! checked them once before. Only X25519 is offered as the key exchange, so
//! that proxies with and without post-quantum groups do the same work.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

#[path = "load/answer.rs"]
mod answer;
#[path = "load/backend.rs"]
mod backend;
#[path = "load/connections.rs"]
mod connections;
#[path = "load/http2.rs"]
mod http2;
#[path = "load/idle.rs"]
mod idle;
#[path = "load/lasting.rs"]
mod lasting;
#[path = "load/pacer.rs"]
mod pacer;
#[path = "load/requests.rs"]
mod requests;
#[path = "load/run.rs"]
mod run;
#[path = "load/steady.rs"]
mod steady;
#[path = "load/stream.rs"]
mod stream;
#[path = "load/told.rs"]
mod told;
#[path = "load/transfer.rs"]
mod transfer;
#[path = "load/websocket.rs"]
mod websocket;

use run::Extent;
use stream::Target;

#[derive(Parser)]
#[command(
    name = "load",
    about = "Load generator and backend of scripts/bench, failover and reload-bench",
    long_about = None
)]
struct Arguments {
    /// What `cargo bench` adds; means nothing here
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// GETs over kept-alive HTTP/1.1 connections: one after another, or at a fixed rate
    Requests {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        extent: Extent,
        /// Path of every request
        #[arg(long, default_value = "/")]
        path: String,
        /// The `{}` of the host stands for one of N numbers of five digits, another for each connection
        #[arg(long, value_name = "N")]
        hosts: Option<usize>,
        /// Requests a second over all connections, sent when due whatever the answers do;
        /// latency then counts from when a request was due
        #[arg(long, value_name = "N")]
        rate: Option<f64>,
    },
    /// One GET over each new TLS connection
    Connections {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        extent: Extent,
        /// Path of every request
        #[arg(long, default_value = "/")]
        path: String,
        /// Which handshake: the other kind counts as a failure
        #[arg(long, value_enum, default_value_t = Handshake::Full)]
        handshake: Handshake,
    },
    /// Download over and over, HTTP/1.1
    Download {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        extent: Extent,
        /// What to download
        #[arg(long)]
        path: String,
    },
    /// Upload over and over, HTTP/1.1
    Upload {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        extent: Extent,
        /// Path of every request
        #[arg(long, default_value = "/")]
        path: String,
        /// Length of one upload
        #[arg(long, default_value_t = 100 << 20)]
        bytes: u64,
    },
    /// Connections that do nothing after one answer
    Idle {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        extent: Extent,
        /// Path of the one request
        #[arg(long, default_value = "/")]
        path: String,
        /// What the connections speak
        #[arg(long, value_enum, default_value_t = Protocol::Http1)]
        protocol: Protocol,
    },
    /// WebSocket ping-pong: a message of 64 bytes, wait for its echo, again
    Websocket {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        extent: Extent,
    },
    /// GETs and POSTs at a fixed rate over HTTP/1.1, HTTP/2 and new connections, each one checked; those that failed are told
    Steady {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        steady: steady::Steady,
    },
    /// WebSockets and event streams that stay open, all that comes over them checked; those that ended are told
    Lasting {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        lasting: lasting::Lasting,
    },
    /// Backend that swallows uploads and echoes WebSocket messages
    Backend(Backend),
}

#[derive(Args)]
struct Backend {
    /// Address to listen on
    #[arg(long)]
    listen: std::net::SocketAddr,
    /// Threads; absent: one a core
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Handshake {
    Full,
    Resumed,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Protocol {
    Http1,
    Http2,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        None => {
            Arguments::command().print_long_help()?;
            Ok(())
        }
        Some(Command::Requests {
            target,
            extent,
            path,
            hosts,
            rate,
        }) => run::run(
            &extent,
            requests::Requests::new(target, &path, hosts, rate)?,
        ),
        Some(Command::Connections {
            target,
            extent,
            path,
            handshake,
        }) => run::run(
            &extent,
            connections::Connections::new(target, &path, handshake)?,
        ),
        Some(Command::Download {
            target,
            extent,
            path,
        }) => run::run(&extent, transfer::Transfer::download(target, &path)?),
        Some(Command::Upload {
            target,
            extent,
            path,
            bytes,
        }) => run::run(&extent, transfer::Transfer::upload(target, &path, bytes)?),
        Some(Command::Idle {
            target,
            extent,
            path,
            protocol,
        }) => run::run(&extent, idle::Idle::new(target, &path, protocol)?),
        Some(Command::Websocket { target, extent }) => {
            run::run(&extent, websocket::PingPong::new(target)?)
        }
        Some(Command::Steady { target, steady }) => steady::run(&target, &steady),
        Some(Command::Lasting { target, lasting }) => lasting::run(&target, &lasting),
        Some(Command::Backend(Backend { listen, threads })) => {
            backend::serve(listen, threads.unwrap_or_else(run::cores))
        }
    }
}
