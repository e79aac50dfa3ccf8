//! `docs/conformance.md`: what was seen of every case of the corpora, and which
//! test shows which promise. `UPDATE=1` rewrites it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::corpus::{self, Seen};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// `paragraph | promise | module::test, …`; a line a promise.
const PROMISES: &str = include_str!("corpus/promises.txt");

const HEAD: &str = "\
# Conformance

What hostmux was seen to do with requests and answers that are odd, broken or
hostile, and which test shows which promise.

Written by the tests themselves, from what they see: do not edit.
`UPDATE=1 cargo test --test it conformance` writes it anew; without `UPDATE`
the test fails where it is out of date. The cases are data, in
`tests/it/corpus/*.txt`.

\"behaviour\" stands for what hostmux promises beyond the RFCs, paragraph by
paragraph [at the end](#promises). The column \"not yet right\" counts what is
known to deviate; such a row says what it should be.
";

const H1: &str = "\
Behind every case stands a second request on the same connection: it is
answered as a request of its own, or no endpoint ever sees it. Both are sent at
once, and again in pieces of a few bytes, with the same verdict. And the next
request on another connection is served.

- `refused STATUS`: our own answer, with a reason and a request id, and the end
  of the connection. No endpoint sees anything of the request.
- `broken STATUS`: the same, but an endpoint may have seen the beginning of a
  body, never its end.
- `told STATUS`: our own answer, and the connection goes on.
- `gone`: the client ended in the middle; no endpoint saw a whole request.
- `clean`: the endpoint got one well-formed request, framed anew: one length,
  no field of the connection, no forwarding field of the client's. The words
  behind it are what else was looked at: the target, the body, fields that had
  to be there (`+`) or not (`-`).
";

const H2: &str = "\
Behind every case goes another request on a stream of its own, which is served
unless the connection was ended.

- `stream CODE`: RST_STREAM. `refused STATUS`: our own answer on the stream.
- `connection CODE`: GOAWAY, and the end of the connection.
- `clean`: as above; without a request of its own: the connection goes on.
";

const ANSWERS: &str = "\
Every answer goes to a client of HTTP/1, to one of HTTP/1 over TLS (in pieces of
a few bytes) and to one of HTTP/2; where only one verdict stands, all three saw the same. Afterwards the
next request is served, on the same connection where it goes on and on a fresh
one; and the endpoint's connection is used again only behind an answer that was
clean (`once`: not even then).

- `502`: our own answer.
- `broken`: the client sees that the answer is not whole: the connection closes
  before the end of its framing, the stream is reset.
- `clean STATUS`: passed on, framed anew, with what is listed behind it.
";

#[test]
fn the_document_tells_what_was_seen() {
    let got = document();
    let file = Path::new(SOURCE).join("docs/conformance.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &got).unwrap();
    }
    let want = std::fs::read_to_string(&file).unwrap_or_default();
    let differ: Vec<String> = got
        .lines()
        .filter(|line| !want.lines().any(|other| other == *line))
        .map(str::to_owned)
        .collect();
    assert!(
        got == want,
        "docs/conformance.md is out of date (UPDATE=1 rewrites it); new lines:\n{}",
        differ.join("\n")
    );
}

#[test]
fn every_promise_has_a_test_that_exists() {
    let mut missing = Vec::new();
    for promise in promises() {
        for test in promise.tests {
            let (module, name) = test.rsplit_once("::").expect("module::test");
            // A test of the whole, or one that stands beside what it tests.
            let whole = format!("tests/it/{module}.rs");
            let unit = format!("src/{}.rs", module.replace("::", "/"));
            let is_in = |file: &String| {
                let text = std::fs::read_to_string(Path::new(SOURCE).join(file));
                text.is_ok_and(|text| text.contains(&format!("fn {name}(")))
            };
            if ![whole, unit].iter().any(is_in) {
                missing.push(test);
            }
        }
    }
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

struct Promise {
    paragraph: &'static str,
    text: &'static str,
    /// None where no test shows it yet.
    tests: Vec<&'static str>,
}

fn promises() -> Vec<Promise> {
    let lines = PROMISES.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let parts: Vec<&str> = line.splitn(3, " | ").collect();
            let [paragraph, text, tests] = parts[..] else {
                panic!("a promise has three parts: {line}");
            };
            let tests = tests.split(", ").filter(|test| *test != "-").collect();
            Promise {
                paragraph,
                text,
                tests,
            }
        })
        .collect()
}

fn document() -> String {
    let corpora = [
        ("Requests of HTTP/1", H1, corpus::requests_h1()),
        ("Requests of HTTP/2", H2, corpus::requests_h2()),
        ("Answers of endpoints", ANSWERS, corpus::answers()),
    ];
    let mut out = HEAD.to_owned();
    out += "\n| corpus | cases | refused or ended | passed on clean | broken visibly | not yet right |\n";
    out += "|---|---|---|---|---|---|\n";
    for (name, _, seen) in &corpora {
        let count = |of: fn(&str) -> bool| seen.iter().filter(|s| of(&s.verdict)).count();
        let clean = count(|verdict| verdict.starts_with("clean"));
        let broken = count(|verdict| verdict.starts_with("broken") || verdict == "gone");
        let refused = seen.len() - clean - broken;
        let all = seen.len();
        let wrong = seen.iter().filter(|s| !s.case.is_right(&s.verdict)).count();
        writeln!(
            out,
            "| [{name}](#{}) | {all} | {refused} | {clean} | {broken} | {wrong} |",
            anchor(name)
        )
        .unwrap();
    }
    for (name, words, seen) in &corpora {
        write!(out, "\n## {name}\n\n{words}").unwrap();
        tables(&mut out, seen);
    }
    out += "\n## Promises\n\n| paragraph | promise | shown by |\n|---|---|---|\n";
    for promise in promises() {
        let tests: Vec<String> = promise
            .tests
            .iter()
            .map(|test| format!("`{test}`"))
            .collect();
        let tests = match tests.is_empty() {
            true => "no test yet".to_owned(),
            false => tests.join(", "),
        };
        writeln!(
            out,
            "| {} | {} | {tests} |",
            promise.paragraph, promise.text
        )
        .unwrap();
    }
    out
}

fn tables(out: &mut String, seen: &[Seen]) {
    let mut topics: Vec<&str> = seen.iter().map(|seen| seen.case.topic).collect();
    topics.dedup();
    for topic in topics {
        let rows: Vec<&Seen> = seen.iter().filter(|s| s.case.topic == topic).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &rows {
            let kind = row.verdict.split(' ').next().unwrap_or_default();
            *counts.entry(kind).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        writeln!(
            out,
            "\n### {topic}\n\n{} cases: {}.\n",
            rows.len(),
            counts.join(", ")
        )
        .unwrap();
        out.push_str("| case | verdict | rule |\n|---|---|---|\n");
        let mut at = 0;
        while let Some(row) = rows.get(at) {
            let alike = rows[at..]
                .iter()
                .take_while(|other| follows(row, other))
                .count();
            let name = match rows[at..][..alike.max(1)].last() {
                Some(last) if alike > 1 => format!("{} – {}", row.case.name, last.case.name),
                _ => row.case.name.clone(),
            };
            let (name, verdict) = (cell(&name), cell(&row.verdict));
            let wrong = match row.case.is_right(&row.verdict) {
                true => String::new(),
                false => format!(", should be `{}`", cell(row.case.right())),
            };
            writeln!(out, "| {name} | `{verdict}`{wrong} | {} |", row.case.rule).unwrap();
            at += alike.max(1);
        }
    }
}

/// Cases that were generated, one byte after the other, and end alike.
fn follows(first: &Seen, other: &Seen) -> bool {
    let way = |seen: &Seen| {
        seen.case
            .name
            .split(" behind byte ")
            .next()
            .map(str::to_owned)
    };
    first.case.name.contains(" behind byte ")
        && way(first) == way(other)
        && first.verdict == other.verdict
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// How the heading is linked to.
fn anchor(heading: &str) -> String {
    let keep = |c: &char| c.is_ascii_alphanumeric() || *c == ' ';
    let text: String = heading.to_lowercase().chars().filter(keep).collect();
    text.replace(' ', "-")
}
