//! The words behind `clean`: what an endpoint must have got, or a client.

use super::notation;
use crate::harness::{Message, joined, text};

/// What a verdict says of a message, beside that it is clean.
pub(super) struct Words {
    pub(super) method: Option<String>,
    pub(super) target: String,
    pub(super) body: String,
    pub(super) requests: usize,
    with: Vec<(String, String)>,
    without: Vec<String>,
    trailers_with: Vec<(String, String)>,
    trailers_without: Vec<String>,
}

impl Words {
    /// Reads the words of a verdict; for one that is not `clean` there are none.
    pub(super) fn read(verdict: &str) -> Self {
        let mut words = Self {
            method: None,
            target: "/".into(),
            body: String::new(),
            requests: 1,
            with: Vec::new(),
            without: Vec::new(),
            trailers_with: Vec::new(),
            trailers_without: Vec::new(),
        };
        if !verdict.starts_with("clean") {
            return words;
        }
        for word in verdict.split(' ').skip(1) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let value = text(&notation::bytes(value));
            if let Some(name) = key.strip_prefix("trailer+") {
                words.trailers_with.push((name.into(), value));
            } else if let Some(name) = key.strip_prefix("trailer-") {
                words.trailers_without.push(name.into());
            } else if let Some(name) = key.strip_prefix('+') {
                words.with.push((name.into(), value));
            } else if let Some(name) = key.strip_prefix('-') {
                words.without.push(name.into());
            } else {
                match key {
                    "method" => words.method = Some(value),
                    "target" => words.target = value,
                    "body" => words.body = value,
                    "n" => words.requests = value.parse().unwrap(),
                    // A status, which answers have.
                    digits => assert!(digits.parse::<u16>().is_ok(), "{verdict}"),
                }
            }
        }
        words
    }

    /// Fields and trailers that are not as they should be.
    pub(super) fn fields_unlike(
        &self,
        fields: &[(String, String)],
        trailers: &[(String, String)],
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, fields, with, without) in [
            ("", fields, &self.with, &self.without),
            (
                "trailer ",
                trailers,
                &self.trailers_with,
                &self.trailers_without,
            ),
        ] {
            for (name, want) in with {
                let got = joined(fields, name);
                if got.as_ref() != Some(want) {
                    wrong.push(format!("{place}{name}: {got:?}"));
                }
            }
            for name in without {
                if let Some(got) = joined(fields, name) {
                    wrong.push(format!("{place}{name}: {got:?}"));
                }
            }
        }
        wrong
    }
}

/// How a request at the endpoint is unlike what the words say.
pub(super) fn unlike(words: &Words, request: &Message, method: &str) -> Vec<String> {
    let mut wrong = words.fields_unlike(&request.fields(), &request.trailers);
    let method = words.method.as_deref().unwrap_or(method);
    let line = request.first_line();
    if line.split(' ').next() != Some(method) {
        wrong.push(format!("method of {:?}", short(&line)));
    }
    if request.target() != words.target {
        wrong.push(format!("target {:?}", short(&request.target())));
    }
    if request.text() != words.body {
        wrong.push(format!("body {:?}", short(&request.text())));
    }
    wrong
}

/// The verdict itself where nothing is wrong.
pub(super) fn told(verdict: &str, wrong: Vec<String>) -> String {
    let clean = verdict.starts_with("clean");
    match (clean, wrong.is_empty()) {
        (true, true) => verdict.to_owned(),
        (false, true) => "clean".to_owned(),
        (_, false) => format!("unclean: {}", wrong.join("; ")),
    }
}

pub(super) fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
