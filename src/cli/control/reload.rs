//! `reload` and `diff`: how the file differs from what runs, told in the same
//! words after it was taken over and before.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::client::{Answer, Found, Running};
use super::told::{array, number, text};
use super::{DiffArguments, ShowArguments, table};
use crate::cli::out::{self, say};
use crate::cli::{DEGRADED, FAILED, complain};

/// How a site can differ, in the order in which it is told.
const KINDS: [&str; 5] = ["added", "changed", "mended", "broken", "removed"];

/// Has the file read again.
pub(in crate::cli) fn reload(asked: ShowArguments) -> anyhow::Result<ExitCode> {
    let running = Found::look(asked.at.socket)?.required()?;
    let answer = running.answer("POST", "/v1/reload", Some(&json!({})))?;
    conclude(&answer, asked.json, reloaded)
}

/// Tells what a reload would do. `config`: named before the command.
pub(in crate::cli) fn diff(
    asked: DiffArguments,
    config: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let running = Found::look(asked.show.at.socket)?.required()?;
    if let Some(named) = asked.config.or(config) {
        is_served(&running, &named)?;
    }
    let answer = running.answer("GET", "/v1/diff", None)?;
    conclude(&answer, asked.show.json, compared)
}

/// The running hostmux judges its own file, so that no other can be meant.
fn is_served(running: &Running, named: &std::path::Path) -> anyhow::Result<()> {
    let told = running.get("/v1/server")?;
    let served = text(&told, "config");
    if super::same(served.as_ref(), named) {
        return Ok(());
    }
    bail!(
        "the running hostmux serves another file, {served}\n  \
         = help: `hostmux check {}` tells what is wrong with that one",
        named.display()
    )
}

/// Prints what was answered, and ends as `check` of the same file would.
fn conclude(
    answer: &Answer,
    as_json: bool,
    words: fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let (told, code) = match answer {
        Answer::Done(told) if told.get("degraded") == Some(&true.into()) => {
            (told, ExitCode::from(DEGRADED))
        }
        Answer::Done(told) => (told, ExitCode::SUCCESS),
        Answer::Refused(refusal) => (&refusal.told, ExitCode::from(FAILED)),
    };
    if as_json {
        let mut told = told.clone();
        if let Some(told) = told.as_object_mut() {
            // `faults` says the same to programs.
            told.remove("drawn");
        }
        say(format_args!("{told:#}"))?;
        return Ok(code);
    }
    let drawn = text(told, "drawn");
    if !drawn.is_empty() {
        eprintln!("{drawn}");
    }
    match answer {
        Answer::Done(told) => out::write(|out| out.write_all(words(told).as_bytes()))?,
        Answer::Refused(refusal) => complain(&refusal.error()),
    }
    Ok(code)
}

fn reloaded(told: &Value) -> String {
    let file = text(told, "config");
    let same = format!(
        "nothing has changed in {file} since {}, when it was taken over\n",
        text(told, "since")
    );
    let changed = format!("{file} was taken over\n");
    let end = format!("{}{}", waiting(told), degraded(told, Tense::Now));
    let is_same = is_same(told) && waiting_keys(told).is_empty();
    difference(told, is_same, &same, &changed) + &end
}

fn compared(told: &Value) -> String {
    let file = text(told, "config");
    let keys = waiting_keys(told);
    let but = match keys.as_str() {
        "" => String::new(),
        keys => format!(", but for {keys}"),
    };
    let same = format!("{file} is what runs since {}{but}\n", text(told, "since"));
    let changed = format!("{file} is not what runs; `hostmux reload` would change\n");
    let tense = match is_same(told) {
        true => Tense::Now,
        false => Tense::Then,
    };
    let mut end = waiting(told) + &degraded(told, tense);
    let by_hand = table::by_hand(told);
    if !by_hand.is_empty() {
        end = format!("{end}\n{by_hand}");
    }
    difference(told, is_same(told), &same, &changed) + &end
}

/// One line for each site and key that is not as it was.
fn difference(told: &Value, is_same: bool, same: &str, changed: &str) -> String {
    let mut rows = Vec::new();
    for kind in KINDS {
        for change in array(told, kind) {
            let line = number(change, "line");
            let note = match (kind, text(change, "fault")) {
                ("removed", _) => format!("was on line {line}"),
                (_, "") => format!("line {line}"),
                (_, fault) => format!("line {line}: {fault}"),
            };
            rows.push(row(kind, text(change, "site"), note));
        }
    }
    for certificate in array(told, "certificates") {
        let note = format!("certificate, until {}", text(certificate, "until"));
        rows.push(row(
            text(certificate, "now"),
            text(certificate, "names"),
            note,
        ));
    }
    for key in array(told, "settings").iter().filter_map(Value::as_str) {
        rows.push(row("changed", key, String::new()));
    }
    match is_same {
        true => same.to_owned(),
        false => format!("{changed}{}", table::aligned(&rows)),
    }
}

/// Whether a reload has changed nothing, or would.
fn is_same(told: &Value) -> bool {
    let mut kinds = KINDS.iter().chain(&["certificates", "settings"]);
    kinds.all(|kind| array(told, kind).is_empty())
}

fn row(kind: &str, name: &str, note: String) -> Vec<String> {
    vec![format!("  {kind}"), name.to_owned(), note]
}

/// Keys that hold from the next start on.
fn waiting(told: &Value) -> String {
    match waiting_keys(told).as_str() {
        "" => String::new(),
        keys => format!("a restart or an upgrade is needed for {keys}\n"),
    }
}

fn waiting_keys(told: &Value) -> String {
    let keys = array(told, "waiting").iter().filter_map(Value::as_str);
    keys.collect::<Vec<_>>().join(", ")
}

/// Whether what is told is so, or would be after a reload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tense {
    Now,
    Then,
}

fn degraded(told: &Value, tense: Tense) -> String {
    if told.get("degraded") != Some(&true.into()) {
        return String::new();
    }
    let (not, others) = match tense {
        Tense::Now => ("are not", "are"),
        Tense::Then => ("would not be", "would be"),
    };
    format!("degraded: sites with the errors above {not} served, all others {others}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(more: Value) -> Value {
        let mut told = json!({
            "config": "/etc/sites.yaml", "since": "2026-11-21T20:00:00Z", "degraded": false,
            "added": [], "removed": [], "changed": [], "broken": [], "settings": [], "waiting": [],
        });
        for (key, value) in more.as_object().unwrap() {
            told[key] = value.clone();
        }
        told
    }

    #[test]
    fn a_difference_is_told_in_lines() {
        let all = told(json!({
            "added": [{ "site": "c.test", "line": 12 }],
            "changed": [{ "site": "long.a.test", "line": 3 }],
            "broken": [{ "site": "b.test", "line": 6, "fault": "`2O` is not a port" }],
            "removed": [{ "site": "d.test", "line": 9 }],
            "settings": ["certificates"],
            "waiting": ["listen", "log"],
            "degraded": true,
        }));
        let lines = "  added    c.test        line 12\n\
                     \x20 changed  long.a.test   line 3\n\
                     \x20 broken   b.test        line 6: `2O` is not a port\n\
                     \x20 removed  d.test        was on line 9\n\
                     \x20 changed  certificates\n";
        assert_eq!(
            reloaded(&all),
            format!(
                "/etc/sites.yaml was taken over\n{lines}\
                 a restart or an upgrade is needed for listen, log\n\
                 degraded: sites with the errors above are not served, all others are\n"
            )
        );
        let would = compared(&all);
        assert!(would.contains(lines), "{would}");
        assert!(would.contains("above would not be served"), "{would}");
        let is = compared(&told(json!({ "degraded": true })));
        assert!(is.contains("above are not served"), "{is}");
    }

    #[test]
    fn no_difference_is_told_with_its_time() {
        let same = told(json!({}));
        assert_eq!(
            reloaded(&same),
            "nothing has changed in /etc/sites.yaml since 2026-11-21T20:00:00Z, when it was taken over\n"
        );
        // It said that a reload would change something, and named nothing.
        let waits = told(json!({ "waiting": ["listen"] }));
        assert_eq!(
            compared(&waits),
            "/etc/sites.yaml is what runs since 2026-11-21T20:00:00Z, but for listen\n\
             a restart or an upgrade is needed for listen\n"
        );
        let by_hand = told(json!({
            "runtime_changes": [{ "upstream": "a.test", "endpoint": "localhost:2", "change": "added" }],
        }));
        assert_eq!(
            compared(&by_hand),
            "/etc/sites.yaml is what runs since 2026-11-21T20:00:00Z\n\n\
             changed while it runs, and not in sites.yaml:\n  localhost:2 added to a.test\n"
        );
    }
}
