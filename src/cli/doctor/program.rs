//! Other programs that know more of this machine: asked, never told to do
//! anything, and not waited for long.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How much of what it says is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// What a program prints, where it is there, ends well and in time.
pub(super) fn says(name: &str, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(name)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let said = heard(&mut child);
    if said.is_none() {
        // It has ended by itself otherwise, and is waited for below.
        let _ = child.kill();
    }
    let ended = child.wait().ok()?;
    said.filter(|_| ended.success())
}

/// Its output once it is whole; who waits does so on a thread of its own, as
/// what the program has started may hold the pipe open.
fn heard(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    within(TIMEOUT, move || {
        let mut said = Vec::new();
        stdout.take(BYTES_MAX).read_to_end(&mut said).ok()?;
        String::from_utf8(said).ok()
    })?
}

/// What a function gives, if it does so in time. Else it is left alone, and
/// ends with the process.
pub(super) fn within<T: Send + 'static>(
    time: Duration,
    ask: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = answer.send(ask());
    });
    answered.recv_timeout(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_well_has_said_something() {
        assert_eq!(says("echo", &["yes"]).as_deref(), Some("yes\n"));
        assert_eq!(says("false", &[]), None);
        assert_eq!(says("no-such-program-anywhere", &[]), None);
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        let (never, silence) = mpsc::channel::<()>();
        let asked = within(Duration::from_millis(1), move || silence.recv());
        assert!(asked.is_none());
        drop(never);
    }
}
