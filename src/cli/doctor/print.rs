//! Findings as text for people and as JSON for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::finding::{Finding, Severity, worst};
use crate::diagnostic::Colour;

/// The columns of severities and of checks, in characters.
const SEVERITY_WIDTH: usize = 9;
const CHECK_WIDTH: usize = 15;

/// A block for each finding, and a line that counts them.
pub(super) fn text(findings: &[Finding], colour: Colour, out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        let severity = finding.severity;
        let word = format!("{:SEVERITY_WIDTH$}", severity.as_str());
        row(
            &painted(style(severity), &word, colour),
            finding.check.as_str(),
            &painted(headline(severity), &visible(&finding.what), colour),
            out,
        )?;
        let more = |label: &str, text: &str, out: &mut dyn Write| {
            row(&" ".repeat(SEVERITY_WIDTH), label, &visible(text), out)
        };
        if !finding.why.is_empty() {
            more("why", &finding.why, out)?;
        }
        for (n, fix) in finding.fixes.iter().enumerate() {
            more(if n == 0 { "fix" } else { "or" }, fix, out)?;
        }
    }
    writeln!(out, "\n{}", counted(findings))
}

fn row(severity: &str, check: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{severity}{check:CHECK_WIDTH$}{text}")
}

/// All findings, how many there are of each severity, and the worst.
pub(super) fn json(findings: &[Finding]) -> Value {
    let findings_json: Vec<Value> = findings.iter().map(Finding::to_json).collect();
    json!({
        "worst": worst(findings).as_str(),
        "counts": {
            "ok": count(findings, Severity::Ok),
            "note": count(findings, Severity::Note),
            "warning": count(findings, Severity::Warning),
            "error": count(findings, Severity::Error),
        },
        "findings": findings_json,
    })
}

/// `12 ok, 1 note, 2 warnings, 1 error`
fn counted(findings: &[Finding]) -> String {
    let told = |severity: Severity| {
        let plural = |n| if n == 1 { "" } else { "s" };
        match (count(findings, severity), severity) {
            (0, _) => None,
            (n, Severity::Ok) => Some(format!("{n} ok")),
            (n, other) => Some(format!("{n} {}{}", other.as_str(), plural(n))),
        }
    };
    let all = [
        Severity::Ok,
        Severity::Note,
        Severity::Warning,
        Severity::Error,
    ];
    all.into_iter()
        .filter_map(told)
        .collect::<Vec<_>>()
        .join(", ")
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    let of = findings.iter().filter(|it| it.severity == severity);
    of.count()
}

fn style(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "32",
        Severity::Note => "1;34",
        Severity::Warning => "1;33",
        Severity::Error => "1;31",
    }
}

/// What is not well stands out.
fn headline(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok | Severity::Note => "",
        Severity::Warning | Severity::Error => "1",
    }
}

fn painted(style: &str, text: &str, colour: Colour) -> String {
    match colour {
        Colour::Ansi if !style.is_empty() => format!("\x1b[{style}m{text}\x1b[0m"),
        Colour::Ansi | Colour::Plain => text.to_owned(),
    }
}

/// Names of files and processes may hold anything: nothing of it reaches the
/// terminal as a command.
fn visible(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Check;
    use super::*;

    fn some() -> Vec<Finding> {
        vec![
            Finding::ok(Check::Ports, "port 443 (https) is free"),
            Finding::error(Check::Clock, "it is \x1b[1990")
                .why("nothing is valid yet")
                .fix("`date -s`")
                .fix("wait"),
        ]
    }

    #[test]
    fn a_block_for_each_and_a_count() {
        let mut out = Vec::new();
        text(&some(), Colour::Plain, &mut out).unwrap();
        let want = "\
ok       ports          port 443 (https) is free
error    clock          it is \\u{1b}[1990
         why            nothing is valid yet
         fix            `date -s`
         or             wait

1 ok, 1 error
";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        let mut out = Vec::new();
        text(&some(), Colour::Ansi, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("\x1b[1;31merror    \x1b[0mclock"), "{out:?}");
    }

    #[test]
    fn json_says_the_same_as_data() {
        let json = json(&some());
        assert_eq!(json["worst"], "error");
        assert_eq!(
            json["counts"],
            json!({"ok": 1, "note": 0, "warning": 0, "error": 1})
        );
        assert_eq!(
            json["findings"][1]["fixes"],
            serde_json::json!(["`date -s`", "wait"])
        );
    }
}
