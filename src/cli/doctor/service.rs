//! Whether a hostmux runs and how it fares, by its control socket, and what
//! systemd says of its unit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::finding::{Check, Finding};
use super::program;
use crate::cli::control::client::Found;
use crate::cli::control::same;
use crate::cli::control::told::{array, number, text};

const CHECK: Check = Check::Service;

const UNIT: &str = "hostmux.service";
/// How many broken sites of the running hostmux are told one by one.
const BROKEN_MAX: usize = 32;
/// How long a running hostmux may take to say how it fares.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What was learnt of a running hostmux.
#[derive(Debug)]
pub enum Running {
    /// `GET /v1/status` of the control socket.
    Says {
        socket: PathBuf,
        status: Value,
    },
    /// It has a control socket, and does not answer on it or not to us.
    Unclear(String),
    /// It took the question and said nothing.
    Silent,
    Nobody,
}

/// What systemd says of the unit, property by property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// `loaded`, `not-found`, `masked` …
    pub load: String,
    /// `active`, `failed`, `inactive` …
    pub active: String,
    /// `enabled`, `disabled` …; empty for one that is not there.
    pub file: String,
    /// Why it is not active: `exit-code`, `signal` …
    pub result: String,
    /// The exit code of the last start.
    pub code: String,
}

/// What the checks of ports and limits need to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The process of the hostmux that runs.
    pub pid: Option<u32>,
    /// It serves the file that is looked at.
    pub serves_this: bool,
    /// Its unit is installed: a service starts it, with rights of its own.
    pub unit: bool,
}

/// Asks. Blocks, for a few seconds at most.
pub(super) fn gather() -> (Running, Option<Unit>) {
    let asked = program::within(ANSWER_TIMEOUT, || match Found::look(None) {
        Ok(Found::Nobody(_)) => Running::Nobody,
        Ok(Found::Running(running)) => match running.get("/v1/status") {
            Ok(status) => Running::Says {
                socket: running.socket,
                status,
            },
            Err(error) => Running::Unclear(format!("{error:#}")),
        },
        Err(error) => Running::Unclear(error.to_string()),
    });
    (asked.unwrap_or(Running::Silent), unit())
}

fn unit() -> Option<Unit> {
    let properties = "LoadState,ActiveState,UnitFileState,Result,ExecMainStatus";
    let said = program::says("systemctl", &["show", UNIT, "-p", properties])?;
    let property = |name: &str| {
        let lines = said.lines().filter_map(|line| line.split_once('='));
        let mut values = lines
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value);
        values.next().unwrap_or_default().to_owned()
    };
    Some(Unit {
        load: property("LoadState"),
        active: property("ActiveState"),
        file: property("UnitFileState"),
        result: property("Result"),
        code: property("ExecMainStatus"),
    })
}

impl Life {
    /// `file`: the configuration that is looked at.
    pub(super) fn of(running: &Running, unit: Option<&Unit>, file: Option<&Path>) -> Self {
        let unit = unit.is_some_and(|unit| unit.load == "loaded");
        match running {
            Running::Says { status, .. } => Self {
                pid: u32::try_from(number(status, "pid")).ok(),
                serves_this: file.is_some_and(|file| same(text(status, "config").as_ref(), file)),
                unit,
            },
            Running::Unclear(_) | Running::Silent | Running::Nobody => Self {
                unit,
                ..Self::default()
            },
        }
    }
}

/// `file`: the configuration that is looked at.
pub(super) fn judge(running: &Running, unit: Option<&Unit>, file: Option<&Path>) -> Vec<Finding> {
    let mut findings = vec![process(running)];
    if let Running::Says { status, .. } = running {
        findings.extend(other_file(status, file));
        findings.extend(other_version(status));
        findings.extend(refused(status));
        findings.extend(broken(status));
    }
    findings.extend(unit.and_then(of_unit));
    findings
}

fn process(running: &Running) -> Finding {
    match running {
        Running::Says { status, .. } => Finding::ok(
            CHECK,
            format!(
                "hostmux {} runs (process {}) since {}, with {}",
                text(status, "version"),
                number(status, "pid"),
                text(status, "started"),
                text(status, "config"),
            ),
        ),
        Running::Unclear(why) => {
            let why = why.lines().next().unwrap_or_default();
            Finding::note(CHECK, format!("the hostmux that runs was not asked: {why}"))
                .why("what it does was not looked at")
                .fix("`sudo hostmux doctor`")
        }
        Running::Silent => Finding::error(
            CHECK,
            format!("hostmux took a question on its control socket and said nothing for {ANSWER_TIMEOUT:?}"),
        )
        .why("it may be stopped, or hang")
        .fix("`ps -C hostmux -o pid,stat,args`: a T is stopped, `kill -CONT PID` lets it go on"),
        Running::Nobody => Finding::note(CHECK, "no hostmux runs")
            .why("nothing is served; the rest was looked at without one")
            .fix("`hostmux run`")
            .fix("`sudo hostmux service install`, which starts it at boot"),
    }
}

fn other_file(status: &Value, file: Option<&Path>) -> Option<Finding> {
    let (served, file) = (text(status, "config"), file?);
    (!same(served.as_ref(), file)).then(|| {
        let what = format!("the hostmux that runs serves {served}, not {}", file.display());
        Finding::note(CHECK, what)
            .why("what is said here of sites and endpoints is about another file than the one served")
            .fix(format!("`hostmux doctor -c {served}`"))
    })
}

fn other_version(status: &Value) -> Option<Finding> {
    let (runs, here) = (text(status, "version"), env!("CARGO_PKG_VERSION"));
    (runs != here).then(|| {
        Finding::note(
            CHECK,
            format!("hostmux {runs} runs, and this is hostmux {here}"),
        )
        .why("an update waits for a restart or an upgrade")
        .fix("`hostmux upgrade`, which starts what lies in the place of the program that runs")
        .fix("`sudo systemctl restart hostmux`, or stop it and start it anew")
    })
}

/// The file it serves was changed, and not taken over.
fn refused(status: &Value) -> Option<Finding> {
    let refused = status.get("refused").filter(|it| !it.is_null())?;
    let file = text(status, "config");
    let line = match number(refused, "line") {
        0 => String::new(),
        line => format!(", line {line}"),
    };
    let what = format!(
        "hostmux did not take {file} over at {}{line}: {}",
        text(refused, "at"),
        text(refused, "message")
    );
    Some(
        Finding::error(CHECK, what)
            .why(format!(
                "{} runs on; nothing that was changed since counts",
                text(refused, "instead")
            ))
            .fix(format!(
                "`hostmux check {file}` shows every fault; then `hostmux reload`"
            )),
    )
}

/// Sites that it does not serve, for faults of their own.
fn broken(status: &Value) -> Vec<Finding> {
    let file = text(status, "config");
    let sites = array(status, "sites").iter();
    let sites: Vec<&Value> = sites
        .filter(|site| text(site, "state") == "broken")
        .collect();
    let told = sites.iter().take(BROKEN_MAX).map(|site| {
        let fault = site.get("fault").unwrap_or(&Value::Null);
        let what = format!(
            "hostmux does not serve {}: config line {}: {}",
            text(site, "name"),
            number(fault, "line"),
            text(fault, "message")
        );
        Finding::error(CHECK, what)
            .why("its visitors get a 500; the other sites are served")
            .fix(format!(
                "`hostmux check {file}` shows the place; then `hostmux reload`"
            ))
    });
    let mut findings: Vec<Finding> = told.collect();
    let left = sites.len().saturating_sub(BROKEN_MAX);
    findings.extend((left > 0).then(|| {
        Finding::error(CHECK, format!("hostmux does not serve {left} more sites"))
            .why("their visitors get a 500")
            .fix("`hostmux list` names them")
    }));
    findings
}

fn of_unit(unit: &Unit) -> Option<Finding> {
    let log = "`journalctl -u hostmux -n 50` tells why";
    match (unit.load.as_str(), unit.active.as_str()) {
        ("masked", _) => Some(
            Finding::warning(CHECK, format!("{UNIT} is masked"))
                .why("systemd does not start it, whoever asks")
                .fix("`sudo systemctl unmask hostmux`"),
        ),
        ("loaded", "failed") => Some(
            Finding::error(
                CHECK,
                format!("{UNIT} has failed ({}, exit code {})", unit.result, unit.code),
            )
            .why(match unit.code.as_str() {
                "1" => "exit code 1: the configuration or the start was at fault, and a restart alone mends neither",
                _ => "nothing is served by it",
            })
            .fix(log)
            .fix("`sudo systemctl restart hostmux` once that is mended"),
        ),
        ("loaded", active) if unit.file == "disabled" => Some(
            Finding::warning(CHECK, format!("{UNIT} is {active}, and not started at boot"))
                .why("after a restart of the machine nothing is served")
                .fix("`sudo systemctl enable hostmux`"),
        ),
        ("loaded", active @ ("active" | "reloading")) => {
            Some(Finding::ok(CHECK, format!("{UNIT} is {active}")))
        }
        ("loaded", active) => Some(
            Finding::warning(CHECK, format!("{UNIT} is {active}"))
                .why("it is installed, and serves nothing")
                .fix("`sudo systemctl start hostmux`")
                .fix(log),
        ),
        // Not there, or systemd knows nothing of it.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_unit_is_told_by_its_state() {
        let check = |load: &str, active: &str, file: &str, want: Option<(Severity, &str)>| {
            let unit = Unit {
                load: load.to_owned(),
                active: active.to_owned(),
                file: file.to_owned(),
                result: "exit-code".to_owned(),
                code: "1".to_owned(),
            };
            let found = of_unit(&unit);
            assert_eq!(
                found.as_ref().map(|found| found.severity),
                want.map(|(severity, _)| severity)
            );
            let all = format!("{found:?}");
            assert!(all.contains(want.map_or("", |(_, words)| words)), "{all}");
        };
        use Severity::{Error, Ok, Warning};
        check("loaded", "active", "enabled", Some((Ok, "is active")));
        check(
            "loaded",
            "failed",
            "enabled",
            Some((Error, "journalctl -u hostmux")),
        );
        check(
            "loaded",
            "active",
            "disabled",
            Some((Warning, "systemctl enable hostmux")),
        );
        check(
            "loaded",
            "inactive",
            "enabled",
            Some((Warning, "systemctl start hostmux")),
        );
        check(
            "masked",
            "inactive",
            "masked",
            Some((Warning, "systemctl unmask")),
        );
        check("not-found", "inactive", "", None);
    }

    #[test]
    fn who_runs_is_told() {
        let check = |running: &Running, want: Severity, words: &str| {
            let found = process(running);
            let all = format!("{found:?}");
            assert_eq!(found.severity, want, "{all}");
            assert!(all.contains(words), "{all}");
        };
        check(&Running::Nobody, Severity::Note, "`hostmux run`");
        check(&Running::Silent, Severity::Error, "kill -CONT");
        let denied = Running::Unclear("permission to use /x is denied\n  = help: sudo".to_owned());
        check(&denied, Severity::Note, "is denied\"");
        let status = serde_json::json!({ "version": "0.0.1", "pid": 7, "config": "/nowhere" });
        let old = Running::Says {
            socket: "/x".into(),
            status,
        };
        check(&old, Severity::Ok, "(process 7)");
        let all = judge(&old, None, Some(Path::new("/")));
        assert_eq!(all.len(), 3, "{all:?}");
    }

    #[test]
    fn what_it_does_not_serve_is_told() {
        let site = |n: usize| {
            let fault = serde_json::json!({ "line": n, "message": "0 is not a port" });
            serde_json::json!({ "name": format!("s{n}"), "state": "broken", "fault": fault })
        };
        let sites: Vec<Value> = (0..BROKEN_MAX + 3).map(site).collect();
        let told = broken(&serde_json::json!({ "config": "/x", "sites": sites }));
        assert_eq!(told.len(), BROKEN_MAX + 1);
        let first = "hostmux does not serve s0: config line 0: 0 is not a port";
        assert_eq!(told[0].what, first);
        assert!(told[BROKEN_MAX].what.contains("3 more sites"));
        assert_eq!(refused(&serde_json::json!({ "refused": null })), None);
    }
}
