//! The other end of an upgrade: a process that was started to take over.
//!
//! Its standard input is the line to the process before it. If that one ends
//! meanwhile, this one goes on: it has all it needs.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::VARIABLE;
use super::wire::{self, Answer, Go, Kind, Offer, Received};
use crate::server::connection::Speaks;
use crate::server::control::Socket;
use crate::server::inherit::Inherited;

/// How long the process before may take to say what it gives.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to make room, once this one can serve.
const GO_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest reason that is told, in bytes.
const REASON_BYTES_MAX: usize = 4096;

/// A claim to what another process serves. Dropped without a word, it is given up.
pub struct Claim {
    line: UnixStream,
}

/// What the process before has left.
pub struct Heritage {
    pub inherited: Inherited,
    pub control: Option<Socket>,
    /// See [`crate::server::control::repeat`].
    pub by_hand: Vec<Value>,
}

/// Why there is no taking over.
#[derive(Debug, thiserror::Error)]
pub enum ClaimFault {
    #[error("{VARIABLE} says that a hostmux hands over, and standard input does not lead to it")]
    NoLine(#[source] io::Error),
    #[error(
        "hostmux {version} hands over as protocol {protocol} says, and this is hostmux {} with protocol {}",
        env!("CARGO_PKG_VERSION"),
        wire::PROTOCOL
    )]
    Foreign { version: String, protocol: u64 },
}

impl Heritage {
    /// Of a process that is the first.
    pub fn none(inherited: Inherited) -> Self {
        Self {
            inherited,
            control: None,
            by_hand: Vec::new(),
        }
    }
}

impl Claim {
    /// What this process was started to take over; `None` if it was started
    /// for itself. To be called before anything reads standard input.
    pub fn take() -> Result<Option<(Self, Heritage)>, ClaimFault> {
        // Who is no child of the one that is named has the variable from
        // somewhere else.
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
        if std::env::var(VARIABLE).ok() != parent || parent.is_none() {
            return Ok(None);
        }
        let claim = Self {
            line: line().map_err(ClaimFault::NoLine)?,
        };
        let until = Instant::now() + OFFER_TIMEOUT;
        let received = wire::receive(&claim.line, until).map_err(ClaimFault::NoLine)?;
        let heritage = heritage(received);
        match heritage {
            Ok(heritage) => Ok(Some((claim, heritage))),
            Err(fault) => {
                claim.give_up(&fault.to_string());
                Err(fault)
            }
        }
    }

    /// Says that this process can serve, and waits until the other has made room.
    /// `degraded`: what of the configuration it does not serve as it is written.
    pub fn ready(self, degraded: Option<&str>) {
        let ready = Answer::Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            degraded: degraded.map(bounded),
        };
        let until = Instant::now() + GO_TIMEOUT;
        let made_room = wire::send(&self.line, &ready, &[])
            .and_then(|()| wire::receive(&self.line, until))
            .and_then(|received| received.parsed::<Go>());
        if let Err(error) = made_room {
            tracing::warn!(%error, "the process before this one did not say goodbye");
        }
    }

    /// Says why this process does not come to serve.
    pub fn give_up(self, why: &str) {
        let why = bounded(why);
        let _ = wire::send(&self.line, &Answer::Failed { why }, &[]);
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

/// Standard input, which is something else to the rest of the process.
fn line() -> io::Result<UnixStream> {
    let line = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(line.into())
}

fn heritage(received: Received) -> Result<Heritage, ClaimFault> {
    let said: Value = received.parsed().map_err(ClaimFault::NoLine)?;
    let protocol = said.get("protocol").and_then(Value::as_u64);
    if protocol != Some(wire::PROTOCOL.into()) {
        let version = said.get("version").and_then(Value::as_str);
        return Err(ClaimFault::Foreign {
            version: version.unwrap_or("of another kind").to_owned(),
            protocol: protocol.unwrap_or_default(),
        });
    }
    let offer: Offer = received.parsed().map_err(ClaimFault::NoLine)?;
    let mut heritage = Heritage {
        by_hand: offer.by_hand,
        ..Heritage::none(Inherited::none())
    };
    for (kind, descriptor) in offer.sockets.into_iter().zip(received.descriptors) {
        let (listen, speaks) = match kind {
            Kind::Https { listen } => (listen, Speaks::Https),
            Kind::Http { listen } => (listen, Speaks::Http),
            Kind::Control(deed) => {
                // One whose file was taken away meanwhile is made anew.
                heritage.control = Socket::adopt(UnixListener::from(descriptor), deed).ok();
                continue;
            }
            Kind::Unknown => continue,
        };
        let was = wire::named(&listen).map(|named| (named, speaks));
        let pushed = heritage.inherited.push(TcpListener::from(descriptor), was);
        pushed.map_err(ClaimFault::NoLine)?;
    }
    Ok(heritage)
}
