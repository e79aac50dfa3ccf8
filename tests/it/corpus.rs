//! Adversarial corpora: requests of HTTP/1 and HTTP/2 and answers of endpoints,
//! as data, each with its verdict. `conformance` writes the verdicts down.

pub(crate) mod notation;

mod answers;
mod endpoint;
mod frames;
mod house;
mod requests_h1;
mod requests_h2;
mod words;

use std::sync::OnceLock;

use self::notation::{Case, cases};
use crate::harness::Answer;

/// A case, and what was seen of it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) case: Case,
    pub(crate) verdict: String,
}

/// Every request of HTTP/1, run once in a process.
pub(crate) fn requests_h1() -> &'static [Seen] {
    static SEEN: OnceLock<Vec<Seen>> = OnceLock::new();
    SEEN.get_or_init(|| {
        wait_for(requests_h1::run(cases(include_str!(
            "corpus/requests_h1.txt"
        ))))
    })
}

/// Every request of HTTP/2, run once in a process.
pub(crate) fn requests_h2() -> &'static [Seen] {
    static SEEN: OnceLock<Vec<Seen>> = OnceLock::new();
    SEEN.get_or_init(|| {
        wait_for(requests_h2::run(cases(include_str!(
            "corpus/requests_h2.txt"
        ))))
    })
}

/// Every answer of an endpoint, run once in a process.
pub(crate) fn answers() -> &'static [Seen] {
    static SEEN: OnceLock<Vec<Seen>> = OnceLock::new();
    SEEN.get_or_init(|| wait_for(answers::run(answers::cases())))
}

/// Runs a corpus on a runtime of its own, which ends with it.
fn wait_for(corpus: impl Future<Output = Vec<Seen>> + Send) -> Vec<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(corpus)
}

/// Whether an answer is one of our own, and says so (RFC 9209).
fn told_by_us(answer: &Answer) -> bool {
    let status = answer.field("proxy-status").unwrap_or_default();
    status.starts_with("hostmux; error=") && answer.field("x-request-id").is_some()
}

/// All verdicts are as they should be; if not, all that differ are told.
fn check(seen: &[Seen], cases_min: usize) {
    assert!(seen.len() >= cases_min, "{} cases", seen.len());
    let differ: Vec<String> = seen
        .iter()
        .filter(|seen| !seen.case.admits(&seen.verdict))
        .map(|seen| {
            let Case {
                topic,
                rule,
                name,
                verdict,
                ..
            } = &seen.case;
            let seen = &seen.verdict;
            format!("{topic}: {name} ({rule})\n    expected {verdict}\n    seen     {seen}")
        })
        .collect();
    let (count, of) = (differ.len(), seen.len());
    assert!(
        differ.is_empty(),
        "{count} of {of} differ:\n{}",
        differ.join("\n")
    );
}

#[test]
fn requests_of_http_1_get_their_verdicts() {
    check(requests_h1(), 400);
}

#[test]
fn requests_of_http_2_get_their_verdicts() {
    check(requests_h2(), 150);
}

#[test]
fn answers_of_endpoints_get_their_verdicts() {
    check(answers(), 150);
}
