//! The process that is to take over: started, told, waited for, and ended if
//! it does not come to be ready.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::wire::{self, Answer, Go, Kind, Offer};
use super::{Fault, Program, Upgraded, VARIABLE};
use crate::server::control::Deed;
use crate::server::inherit;
use crate::server::listener::Listener;

/// How long a process may take to end that has let go of the line.
const END_TIMEOUT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// How long one that says that it is ready has to live on before it is believed:
/// what crashes at its start does so at once.
const PROBATION: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// What a process has that its successor needs.
pub(in crate::server) struct Estate {
    pub(in crate::server) listeners: Vec<Listener>,
    pub(in crate::server) control: Option<(UnixListener, Deed)>,
    pub(in crate::server) by_hand: Vec<Value>,
}

/// The way to a process that is started or was.
pub(super) struct Line {
    ours: UnixStream,
    theirs: OwnedFd,
}

/// Dropped, it ends what is under way on a [`Line`].
pub(super) struct Hook(Option<UnixStream>);

impl Line {
    pub(super) fn open() -> io::Result<(Self, Hook)> {
        let (ours, theirs) = UnixStream::pair()?;
        let hook = Hook(Some(ours.try_clone()?));
        let theirs = theirs.into();
        Ok((Self { ours, theirs }, hook))
    }
}

impl Hook {
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            let _ = line.shutdown(Shutdown::Both);
        }
    }
}

/// A process that is ready, and waits for the word to serve. Dropped without
/// it, it is killed.
pub(in crate::server) struct Successor {
    line: UnixStream,
    process: Attempted,
    pub(in crate::server) is: Upgraded,
}

impl Successor {
    /// Tells it that nobody else serves from now on. If it does not hear that,
    /// it finds out by itself.
    pub(in crate::server) fn go(mut self) {
        self.process.survives();
        let _ = wire::send(&self.line, &Go { go: true }, &[]);
    }
}

/// Starts the program and waits until it serves, for at most `timeout`. One
/// that does not is gone when this returns. Blocks.
pub(super) fn start(
    program: &Program,
    estate: &Estate,
    line: Line,
    timeout: Duration,
) -> Result<Successor, Fault> {
    let until = Instant::now() + timeout;
    let Line { ours, theirs } = line;
    let spawned = Command::new(program.path())
        .args(program.arguments())
        .stdin(theirs)
        .env(VARIABLE, std::process::id().to_string())
        // These are about this process: its sockets and its own clock.
        .env_remove(inherit::VARIABLES[0])
        .env_remove(inherit::VARIABLES[1])
        .env_remove(inherit::VARIABLES[2])
        .env_remove("WATCHDOG_PID")
        .spawn();
    // With the command our copy of their end went: if they end, we notice.
    let child = spawned.map_err(|source| Fault::Start {
        path: program.path().to_owned(),
        source,
    })?;
    let mut child = Attempted(Some(child));
    let answer = tell(&ours, estate)
        .and_then(|()| wire::receive(&ours, until))
        .and_then(|received| received.parsed());
    match answer {
        Ok(Answer::Ready {
            version, degraded, ..
        }) => {
            if let Some(status) = child.ended(&PROBATION) {
                return Err(Fault::Ended(status));
            }
            let is = Upgraded {
                pid: child.id(),
                version: plain(&version),
                degraded: degraded.as_deref().map(plain),
            };
            Ok(Successor {
                line: ours,
                process: child,
                is,
            })
        }
        Ok(Answer::Failed { why }) => Err(Fault::Said(plain(&why))),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Fault::TooSlow(timeout)),
        Err(error) => Err(match child.ended(&END_TIMEOUT) {
            Some(status) => Fault::Ended(status),
            None => Fault::Unclear(error),
        }),
    }
}

/// What another program says, fit for a terminal: in lines, without control characters.
fn plain(text: &str) -> String {
    let fit = |c: char| match c.is_control() && c != '\n' {
        true => ' ',
        false => c,
    };
    text.chars().map(fit).collect()
}

fn tell(line: &UnixStream, estate: &Estate) -> io::Result<()> {
    let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
    let mut sockets = Vec::new();
    for listener in &estate.listeners {
        descriptors.push(listener.socket());
        sockets.push(Kind::clients(listener.named(), listener.speaks()));
    }
    if let Some((listener, deed)) = &estate.control {
        descriptors.push(listener.as_fd());
        sockets.push(Kind::Control(deed.clone()));
    }
    let offer = Offer {
        protocol: wire::PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sockets,
        by_hand: estate.by_hand.clone(),
    };
    wire::send(line, &offer, &descriptors)
}

/// A process that was started. Dropped, it is killed, unless it survives.
struct Attempted(Option<Child>);

impl Attempted {
    /// How it ended, if it does within a time.
    fn ended(&mut self, within: &Timespec) -> Option<std::process::ExitStatus> {
        let child = self.0.as_mut()?;
        // Descriptors are closed a little before a process can be waited for.
        let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()?;
        let mut wanted = [PollFd::new(&ended, PollFlags::IN)];
        poll(&mut wanted, Some(within)).ok()?;
        let status = child.try_wait().ok()??;
        self.0 = None;
        Some(status)
    }

    fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    fn survives(&mut self) {
        self.0 = None;
    }
}

impl Drop for Attempted {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Starts a shell script in the place of hostmux.
    fn shell(
        script: &str,
        timeout: Duration,
    ) -> (Result<Successor, Fault>, PathBuf, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("echo $$ > {}; {script}", pid.display());
        let program = Program::new("/bin/sh".into(), vec!["-c".into(), script.into()]);
        let estate = Estate {
            listeners: Vec::new(),
            control: None,
            by_hand: Vec::new(),
        };
        let (line, _hook) = Line::open().unwrap();
        (start(&program, &estate, line, timeout), pid, folder)
    }

    #[track_caller]
    fn fails(script: &str, timeout: Duration, want: &str) {
        let (done, pid, _folder) = shell(script, timeout);
        let fault = done.err().expect("it does not get ready").to_string();
        assert!(fault.contains(want), "{script}: {fault}");
        let pid = std::fs::read_to_string(pid).unwrap();
        let process = PathBuf::from("/proc").join(pid.trim());
        assert!(!process.exists(), "{script}: it is there yet");
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn one_that_does_not_get_ready_is_gone() {
        fails("exit 7", LONG, "exit status: 7");
        fails("kill -9 $$", LONG, "signal: 9");
        fails(
            "exec sleep 60",
            Duration::from_secs(1),
            "not ready after 1 s",
        );
        // It lets go of the line and lives on.
        fails(
            "exec 0</dev/null; exec sleep 60",
            LONG,
            "could not be understood",
        );
        // It says that it is ready, and crashes.
        fails(
            r#"echo '{"answer": "ready", "version": "9", "pid": 1}' >&0; exit 7"#,
            LONG,
            "exit status: 7",
        );
        fails(
            "echo nonsense >&0; exec sleep 60",
            LONG,
            "could not be understood",
        );
        fails(
            r#"echo '{"answer": "failed", "why": "no right"}' >&0; exec sleep 60"#,
            LONG,
            "no right",
        );
        fails(
            r#"printf '%s\n' '{"answer": "failed", "why": "\u001b[2J\u009bno\nright"}' >&0; exec sleep 60"#,
            LONG,
            ":  [2J no\nright",
        );
    }

    #[test]
    fn one_that_is_ready_lives_on() {
        let script = r#"echo '{"answer": "ready", "version": "9", "pid": 1}' >&0; read offer; read go; read end; echo "$go" >&2"#;
        let (done, pid, _folder) = shell(script, LONG);
        let successor = done.ok().unwrap();
        let told = std::fs::read_to_string(pid).unwrap();
        // What it says of itself is not believed.
        assert_eq!(successor.is.pid.to_string(), told.trim());
        assert_eq!(successor.is.version, "9");
        successor.go();
        let process = PathBuf::from("/proc").join(told.trim());
        assert!(process.exists());
    }

    /// The one that started it was told to stop: nobody would know of it.
    #[test]
    fn one_that_is_not_told_to_serve_is_gone() {
        let script = r#"echo '{"answer": "ready", "version": "9", "pid": 1}' >&0; exec sleep 60"#;
        let (done, pid, _folder) = shell(script, LONG);
        drop(done.ok().unwrap());
        let pid = std::fs::read_to_string(pid).unwrap();
        assert!(!PathBuf::from("/proc").join(pid.trim()).exists());
    }

    #[test]
    fn what_is_no_program_is_told() {
        let program = Program::new("/nowhere/hostmux".into(), Vec::new());
        let estate = Estate {
            listeners: Vec::new(),
            control: None,
            by_hand: Vec::new(),
        };
        let (line, _hook) = Line::open().unwrap();
        let fault = start(&program, &estate, line, LONG).err().unwrap();
        assert!(fault.to_string().contains("/nowhere/hostmux"), "{fault}");
    }
}
