//! What systemd is told of this process (sd_notify(3)), and how it learns that
//! it lives. Without `NOTIFY_SOCKET` all of it is nothing.
//!
//! The unit says `Type=notify-reload` and `WatchdogSec=`; `NotifyAccess=main`,
//! which that implies, is enough for an upgrade as well: the old process, which
//! is the main one, names the new one (`MAINPID=`), and says nothing after that;
//! what the new one says before is not heard.

use std::convert::Infallible;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use super::pulse::Pulse;

/// How often the watchdog is told in the time that it allows.
const BEATS_IN_TIME: u32 = 2;

/// All listen; `status`: what `systemctl status` shows, one line. At the end of
/// a reload as well.
pub fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What `systemctl status` shows from now on, one line.
pub fn status(status: &str) {
    say(&[NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it, whatever became of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd tells by the clock whether it is the reload that it asked for.
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd was not told of a reload"),
    }
}

/// This process drains and ends, and nobody takes its place.
pub fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Another process is the service from now on. Nothing may be said after it.
pub(super) fn succeeded_by(pid: u32) {
    say(&[NotifyState::MainPid(pid)]);
}

/// Tells the watchdog, if there is one, that all threads answer, for as long as
/// they do. Never ends: to be dropped.
pub async fn watchdog(pulse: Pulse) -> Infallible {
    let Some(allowed) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else {
        return std::future::pending().await;
    };
    let every = allowed / BEATS_IN_TIME;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match pulse.beats(every).await {
            Ok(()) => say(&[NotifyState::Watchdog]),
            Err(silent) => tracing::error!(
                thread = %silent,
                waited_ms = every.as_millis(),
                "a thread does not answer: systemd is not told that all is well"
            ),
        }
    }
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "systemd cannot be told anything");
    }
}
