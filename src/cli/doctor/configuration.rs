//! The file itself: what `hostmux check` says of it, as findings.

use serde_json::Value;

use super::finding::{Check, Finding};
use crate::cli::control::told::{number, text};
use crate::server::reload::{Loaded, PRINTED_MAX};

const CHECK: Check = Check::Configuration;

/// What is wrong with it, or that nothing is. `told`: whether another check
/// tells a fault of a certificate or a key better, by its message.
pub(super) fn judge(loaded: &Loaded, told: impl Fn(&str) -> bool) -> Vec<Finding> {
    let entries = loaded.checked.entries(&loaded.name);
    let entries: Vec<Value> = entries
        .iter()
        .filter_map(|entry| serde_json::to_value(entry).ok())
        .filter(|entry| !told(text(entry, "message")))
        .collect();
    let harm = match loaded.checked.config {
        Some(_) => "its site is not served, all others are",
        None => "hostmux does not take the file over",
    };
    let mut findings: Vec<Finding> = entries
        .iter()
        .take(PRINTED_MAX)
        .map(|entry| fault(entry, harm))
        .collect();
    let left = entries.len().saturating_sub(PRINTED_MAX);
    findings.extend((left > 0).then(|| {
        Finding::error(CHECK, format!("{left} more faults in {}", loaded.name))
            .fix(format!("`hostmux check {}`", loaded.name))
    }));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{} is valid", loaded.name)));
    }
    findings
}

/// There is none, or it is not known where.
pub(super) fn absent(why: &anyhow::Error) -> Finding {
    let why = why.to_string();
    let what = why.lines().next().unwrap_or_default().to_owned();
    Finding::error(CHECK, what)
        .why(
            "without one hostmux serves nothing, and ports, names and endpoints were not looked at",
        )
        .fix("`hostmux doctor -c FILE`, or write a sites.yaml")
}

/// Where the file names what the other checks look at, and cannot be read so far.
pub(super) fn meaningless() -> Finding {
    Finding::note(
        CHECK,
        "ports, names, certificates and endpoints were not looked at",
    )
    .why("the file names them, and has to be right first")
    .fix("mend what is told of it, and run `hostmux doctor` again")
}

/// `harm`: what comes of an error.
fn fault(entry: &Value, harm: &str) -> Finding {
    let what = match number(entry, "line") {
        0 => text(entry, "message").to_owned(),
        line => format!(
            "{}:{line}:{}: {}",
            text(entry, "file"),
            number(entry, "column"),
            text(entry, "message")
        ),
    };
    let is_error = text(entry, "severity") == "error";
    let finding = match is_error {
        true => Finding::error(CHECK, what),
        false => Finding::warning(CHECK, what),
    };
    let finding = finding.why(match (text(entry, "label"), is_error) {
        ("", true) => harm.to_owned(),
        (label, true) => format!("{label}: {harm}"),
        ("", false) => "hostmux runs with it, and probably not as it is meant".to_owned(),
        (label, false) => label.to_owned(),
    });
    match text(entry, "help") {
        "" => finding.fix("`hostmux check` shows the place"),
        help => finding.fix(help),
    }
}
