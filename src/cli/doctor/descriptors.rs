//! The limit of open files: two for each exchange.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::finding::{Check, Finding};
use crate::server::connections_within;

const CHECK: Check = Check::Descriptors;

/// With fewer, a few browsers are enough to keep the others waiting.
const FEW: u64 = 1_024;
/// With fewer, one browser is.
const TOO_FEW: u64 = 256;

/// The limit that holds, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most that hostmux can have; it raises its own limit to this.
    /// `u64::MAX`: there is none.
    pub most: u64,
    /// The process that was looked at; `None`: this one, as `hostmux run`
    /// would be started here.
    pub pid: Option<u32>,
}

/// `pid`: a hostmux that runs.
pub(super) fn gather(pid: Option<u32>) -> Limit {
    let of_process = |pid: u32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        Some(Limit {
            most: read(&limits)?,
            pid: Some(pid),
        })
    };
    pid.and_then(of_process).unwrap_or_else(|| Limit {
        most: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
        pid: None,
    })
}

/// The hard limit in a table of proc(5) `limits`.
fn read(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

pub(super) fn judge(limit: Limit) -> Finding {
    let whose = match limit.pid {
        Some(pid) => format!("hostmux (process {pid})"),
        None => "a hostmux started here".to_owned(),
    };
    let most = limit.most;
    if most == u64::MAX {
        return Finding::ok(CHECK, format!("{whose} may open any number of files"));
    }
    let connections = connections_within(most);
    let what = format!("{whose} may open {most} files: {connections} connections at once");
    let finding = match most {
        ..TOO_FEW => Finding::error(CHECK, what),
        TOO_FEW..FEW => Finding::warning(CHECK, what),
        FEW.. => return Finding::ok(CHECK, what),
    };
    finding
        .why("an exchange takes two, one on each side; who comes above the limit waits")
        .fix("`LimitNOFILE=65536` under [Service] of the unit (`sudo systemctl edit hostmux`)")
        .fix("`ulimit -Hn 65536` in the shell that starts it; as another user, /etc/security/limits.conf")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_limit_is_told_by_its_connections() {
        let check = |most, want: Severity, words: &str| {
            let found = judge(Limit { most, pid: None });
            let all = format!("{found:?}");
            assert_eq!(found.severity, want, "{all}");
            assert!(all.contains(words), "{all}");
        };
        check(64, Severity::Error, "1 connections");
        check(512, Severity::Warning, "LimitNOFILE");
        check(65_536, Severity::Ok, "32736 connections");
        check(u64::MAX, Severity::Ok, "any number");
    }

    #[test]
    fn a_process_tells_its_limit() {
        let table = "Limit   Soft Limit  Hard Limit  Units\nMax open files            64                   4096                 files     \n";
        assert_eq!(read(table), Some(4096));
        let none = table.replace("4096", "unlimited");
        assert_eq!(read(&none), Some(u64::MAX));
        assert_eq!(read("nothing"), None);
        assert!(gather(Some(std::process::id())).most > 3);
    }
}
