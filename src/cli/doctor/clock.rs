//! The clock: certificates are for certain days, and a clock that is wrong by
//! days makes all of them useless.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::finding::{Check, Finding};
use super::program;
use crate::rt::date::rfc3339;

const CHECK: Check = Check::Clock;

/// No hostmux is older: 2026-01-01T00:00:00Z, in seconds of the Unix epoch.
const BUILT_AFTER: Duration = Duration::from_secs(1_767_225_600);
/// How far in the future a file may have been written: clocks of file servers
/// differ by that, and nobody is harmed.
const SLACK: Duration = Duration::from_secs(10 * 60);
/// There once systemd-timesyncd has set the clock.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

/// What tells of the clock.
#[derive(Debug)]
pub struct Clock {
    pub now: SystemTime,
    /// The file that was written last, of those that were looked at.
    pub newest: Option<(PathBuf, SystemTime)>,
    /// Whether a time service keeps it right; `None`: nobody says.
    pub kept: Option<bool>,
}

/// `files`: whose last change is a time that has been.
pub(super) fn gather(files: &[&Path]) -> Clock {
    let times = files.iter().filter_map(|path| {
        let written = fs::metadata(path).and_then(|found| found.modified()).ok()?;
        Some((path.to_path_buf(), written))
    });
    let kept = match fs::exists(TIMESYNCD) {
        Ok(true) => Some(true),
        Ok(false) | Err(_) => {
            let said = program::says("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]);
            match said.as_deref().map(str::trim) {
                Some("yes") => Some(true),
                Some("no") => Some(false),
                Some(_) | None => None,
            }
        }
    };
    Clock {
        now: SystemTime::now(),
        newest: times.max_by_key(|(_, written)| *written),
        kept,
    }
}

pub(super) fn judge(clock: &Clock) -> Finding {
    let now = rfc3339(clock.now);
    let set = "`sudo timedatectl set-ntp true`, or `sudo date -s TIME`";
    let harm = "with a wrong clock certificates are not valid yet, or no longer: TLS fails";
    if clock.now < SystemTime::UNIX_EPOCH + BUILT_AFTER {
        return Finding::error(
            CHECK,
            format!("the clock says {now}, which was before hostmux"),
        )
        .why(harm)
        .fix(set);
    }
    if let Some((path, written)) = &clock.newest
        && *written > clock.now + SLACK
    {
        let what = format!(
            "the clock says {now}, and {} was written at {}",
            path.display(),
            rfc3339(*written)
        );
        return Finding::warning(CHECK, what)
            .why(harm)
            .fix(set)
            .fix(format!("`touch {}` if the clock is right", path.display()));
    }
    match clock.kept {
        Some(true) => Finding::ok(CHECK, format!("{now}, kept by a time service")),
        Some(false) => Finding::warning(CHECK, format!("{now}, and no time service keeps it"))
            .why("a clock that nobody sets goes wrong; with a wrong one TLS fails")
            .fix("`sudo timedatectl set-ntp true`"),
        None => Finding::ok(
            CHECK,
            format!("{now}; nothing contradicts it, and no time service was found"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_clock_is_held_against_what_has_been() {
        let check = |now: u64, written: u64, kept, want: Severity, words: &str| {
            let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let found = judge(&Clock {
                now: at(now),
                newest: Some(("sites.yaml".into(), at(written))),
                kept,
            });
            let all = format!("{found:?}");
            assert_eq!(found.severity, want, "{all}");
            assert!(all.contains(words), "{all}");
        };
        let now = 1_800_000_000;
        check(0, 0, None, Severity::Error, "1970-01-01");
        check(
            now,
            now + 86_400,
            Some(true),
            Severity::Warning,
            "was written at",
        );
        check(now, now + 60, Some(true), Severity::Ok, "kept");
        check(
            now,
            now - 60,
            Some(false),
            Severity::Warning,
            "set-ntp true",
        );
        check(now, now - 60, None, Severity::Ok, "no time service");
    }
}
