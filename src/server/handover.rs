//! An upgrade: the program is started anew beside this process, gets its
//! sockets, serves, and then this one ends as at any stop.
//!
//! ```text
//! old   serves ─▶ starts new, sends sockets ─▶ waits ─▶ tells systemd ─▶ accepts no more, drains, ends
//! new             takes them, reads sites.yaml, opens all ─▶ ready ─▶ accepts, serves
//! ```
//!
//! No socket is closed between the two, so that nobody is refused: who comes
//! while neither accepts waits in the queue of the socket. A new process that
//! ends, or is not ready in time, costs nothing: it is killed, with no
//! connection yet, and the old one goes on.
//!
//! Not handed over: connections, which drain, and what this process has learnt
//! of endpoints' health. What was changed by hand goes along.

mod claim;
mod program;
mod successor;
mod wire;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{oneshot, watch};

use self::successor::{Line, Successor};
use super::inherit::SOCKETS_MAX;

pub use self::claim::{Claim, ClaimFault, Heritage};
pub use self::program::Program;
pub(super) use self::successor::Estate;

/// How long a new process may take until it serves. A command that waits for
/// it has a little more.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a reload that is under way is waited for: with what follows, an
/// upgrade takes no longer than a command may.
pub(super) const TURN_TIMEOUT: Duration = Duration::from_secs(4);
/// By this a new process knows that its standard input leads to an older one,
/// the process of this number.
const VARIABLE: &str = "HOSTMUX_UPGRADE_FROM";
/// How many may ask for an upgrade while one is under way, before they are
/// refused without being read.
const PRESSES_MAX: usize = 4;

/// The process that serves from now on.
#[derive(Clone, Debug)]
pub struct Upgraded {
    pub pid: u32,
    pub version: String,
    /// What of the configuration it does not serve as it is written.
    pub degraded: Option<String>,
}

/// Why there was no upgrade. The process that was asked goes on.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("an upgrade is under way already")]
    UnderWay,
    #[error("this process ends")]
    Ending,
    #[error("this process is what its container runs, and with its end the container ends")]
    Container,
    #[error("systemd would take the end of this process for the end of the service")]
    Unfollowed,
    #[error("the configuration is in no file, and cannot be read once more")]
    NoFile,
    #[error("{0} listening sockets are more than can be handed over ({SOCKETS_MAX})")]
    TooMany(usize),
    #[error("a reload is under way, and has no end")]
    Busy,
    #[error("{} could not be started", path.display())]
    Start {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there could be no line to the new process")]
    Line(#[source] io::Error),
    #[error("the new process does not serve: {0}")]
    Said(String),
    #[error("the new process ended before it served ({0})")]
    Ended(ExitStatus),
    #[error("the new process was not ready after {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error("what the new process said could not be understood")]
    Unclear(#[source] io::Error),
}

impl Fault {
    /// What to do.
    pub fn help(&self) -> &'static str {
        match self {
            Self::UnderWay => "wait for its end: `hostmux status` tells which process serves",
            Self::Ending => {
                "`hostmux status` tells which process serves, once it has ended; `hostmux run` starts one"
            }
            Self::Container => "start a new container in the place of this one",
            Self::Unfollowed => {
                "write Type=notify-reload (or Type=notify) into the unit, as `hostmux service install` does, and restart it once"
            }
            Self::NoFile => "start hostmux with a file (`-c FILE`), or restart it",
            Self::TooMany(_) => "restart it",
            Self::Busy => "see whether the disk of sites.yaml answers",
            Self::Start { .. } => "see whether the file is there, whole, and can be executed",
            Self::Line(_) => "see how many files are open (LimitNOFILE)",
            Self::Said(_) | Self::Ended(_) => {
                "its standard error, in the log of hostmux, may say more; `hostmux check` tells what sites.yaml lacks"
            }
            Self::TooSlow(_) => {
                "it was killed; its standard error, in the log of hostmux, may say what it waited for"
            }
            Self::Unclear(_) => "see whether the file is a hostmux that can be upgraded to",
        }
    }

    /// With what led to it.
    pub fn told(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// Whether it makes no sense here, whatever lies in the file system.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::UnderWay
            | Self::Ending
            | Self::Container
            | Self::Unfollowed
            | Self::NoFile
            | Self::TooMany(_) => true,
            Self::Busy
            | Self::Start { .. }
            | Self::Line(_)
            | Self::Said(_)
            | Self::Ended(_)
            | Self::TooSlow(_)
            | Self::Unclear(_) => false,
        }
    }
}

/// By which an upgrade is asked for.
#[derive(Clone)]
pub struct Button {
    presses: mpsc::Sender<Press>,
    state: Arc<watch::Sender<State>>,
}

/// What has become of upgrades.
#[derive(Debug, Default)]
struct State {
    failed: Option<Failure>,
    over: bool,
}

/// The last upgrade, if it failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub why: String,
    pub at: SystemTime,
}

/// Somebody asks; `None`: by a signal, which has no answer.
pub(super) struct Press(Option<oneshot::Sender<Outcome>>);

/// What became of it.
pub(super) type Outcome = Result<Upgraded, Arc<Fault>>;

impl Button {
    pub(super) fn new() -> (Self, mpsc::Receiver<Press>) {
        let (presses, pressed) = mpsc::channel(PRESSES_MAX);
        let state = Arc::default();
        (Self { presses, state }, pressed)
    }

    /// Asks; what becomes of it is told in the log.
    pub fn press(&self) {
        if self.presses.try_send(Press(None)).is_err() {
            Press(None).answer(&Err(Arc::new(Fault::UnderWay)));
        }
    }

    /// Asks, and waits for what becomes of it. Dropping the future stops nothing.
    pub(super) async fn ask(&self) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let fault = match self.presses.try_send(Press(Some(answer))) {
            Ok(()) => match outcome.await {
                Ok(outcome) => return outcome,
                Err(_) => Fault::Ending,
            },
            Err(TrySendError::Full(_)) => Fault::UnderWay,
            Err(TrySendError::Closed(_)) => Fault::Ending,
        };
        Err(Arc::new(fault))
    }

    pub(super) fn failed(&self) -> Option<Failure> {
        self.state.borrow().failed.clone()
    }

    /// Waits until another process serves.
    pub(super) async fn over(&self) {
        let mut state = self.state.subscribe();
        // The other end is in this very button.
        let _ = state.wait_for(|state| state.over).await;
    }

    /// Keeps what has become of an upgrade, and tells it once.
    pub(super) fn tell(&self, outcome: &Outcome) {
        match outcome {
            Ok(upgraded) => {
                self.state.send_modify(|state| state.over = true);
                tracing::info!(
                    pid = upgraded.pid,
                    version = upgraded.version,
                    "upgraded: another process serves from now on"
                );
            }
            Err(fault) => {
                let why = fault.told();
                tracing::error!(why, help = fault.help(), "no upgrade: this process goes on");
                let at = SystemTime::now();
                self.state
                    .send_modify(|state| state.failed = Some(Failure { why, at }));
            }
        }
    }
}

impl Press {
    /// Tells it who asked. A signal that came at the wrong time has only the log.
    pub(super) fn answer(self, outcome: &Outcome) {
        match (self.0, outcome) {
            (Some(answer), outcome) => drop(answer.send(outcome.clone())),
            (None, Err(fault)) if matches!(**fault, Fault::UnderWay) => {
                tracing::warn!("an upgrade is under way already: the signal asks for nothing new");
            }
            (None, _) => {}
        }
    }
}

/// Why this process cannot be replaced, if it cannot.
pub(super) fn possible() -> Result<(), Fault> {
    let pid = std::process::id();
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // Who systemd started itself is the service; it follows another process
    // only if it is told so (sd_notify(3), MAINPID).
    let is_service = set("SYSTEMD_EXEC_PID").is_some_and(|started| *started == *pid.to_string());
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    let init = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    if pid == 1 || (parent == Some(1) && ends_with_its_child(init.trim())) {
        return Err(Fault::Container);
    }
    if is_service && set("NOTIFY_SOCKET").is_none() {
        return Err(Fault::Unfollowed);
    }
    Ok(())
}

/// Whether a process 1 of this name is one for containers, which ends when the
/// process ends that it has started.
fn ends_with_its_child(init: &str) -> bool {
    const INITS: [&str; 5] = [
        "tini",
        "docker-init",
        "dumb-init",
        "catatonit",
        "podman-init",
    ];
    INITS.contains(&init)
}

/// Starts the program with all that it needs, and gives it the sockets.
///
/// Dropping the future kills the new process.
pub(super) async fn attempt(program: &Program, estate: Estate) -> Result<Successor, Fault> {
    let sockets = estate.listeners.len();
    if sockets > SOCKETS_MAX {
        return Err(Fault::TooMany(sockets));
    }
    let (line, hook) = Line::open().map_err(Fault::Line)?;
    tracing::info!(program = %program.path().display(), sockets, "an upgrade begins");
    let program = program.clone();
    // It waits for another process.
    let started = tokio::task::spawn_blocking(move || {
        successor::start(&program, &estate, line, READY_TIMEOUT)
    });
    let started = started.await;
    hook.release();
    started.unwrap_or_else(|panic| Err(Fault::Line(io::Error::other(panic))))
}
