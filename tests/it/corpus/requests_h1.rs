//! Requests of HTTP/1, each with a second one right behind it on the same
//! connection: that one is answered as a request of its own, or nobody sees it.
//! Both are sent at once, and again in small pieces: the verdict is the same.
//!
//! Verdicts:
//! - `refused STATUS`: our own answer, the connection closed behind it, and
//!   nothing at the endpoint.
//! - `broken STATUS`: the same, but the endpoint may have seen the beginning of
//!   it, never its end.
//! - `told STATUS`: our own answer, and the connection goes on.
//! - `gone`: the client ended in the middle (`{end}`), and no endpoint saw it whole.
//! - `clean`, with words for what the endpoint must have got: `target=`,
//!   `method=`, `body=` (nothing else is said: none), `+NAME=VALUE`, `-NAME`,
//!   `trailer+NAME=VALUE`, `trailer-NAME`, `n=COUNT` of requests.

use std::sync::Arc;

use super::endpoint::{Endpoint, Log, faults};
use super::house::House;
use super::notation::{self, Case};
use super::words::{self, Words};
use super::{Seen, told_by_us};
use crate::harness::{Answer, Client, Message, get};

/// Stands at the end of a case whose client sends nothing more, and says so.
const END: &str = "{end}";
/// So little is sent at a time the second time.
const PIECE_BYTES: usize = 7;

pub(super) async fn run(cases: Vec<Case>) -> Vec<Seen> {
    let endpoint = async || {
        let endpoint = Endpoint::new().await;
        let at = endpoint.at().to_owned();
        (endpoint, at)
    };
    House::new(endpoint).await.run(cases, one).await
}

/// What a client heard.
struct Heard {
    answers: Vec<Answer>,
    closed: bool,
}

/// The case twice: whole, and in pieces that fall anywhere.
async fn one(house: Arc<House<Endpoint>>, at: usize, case: Case) -> String {
    let whole = sent(&house, at, &case, usize::MAX).await;
    if case.text.contains('*') {
        // What is long comes in pieces anyhow.
        return whole;
    }
    let pieces = sent(&house, at, &case, PIECE_BYTES).await;
    match whole == pieces {
        true => whole,
        false => format!("{whole}; in pieces: {pieces}"),
    }
}

async fn sent(house: &House<Endpoint>, at: usize, case: &Case, piece_bytes: usize) -> String {
    let place = house.place(at);
    let (text, ends) = match case.text.strip_suffix(END) {
        Some(text) => (text, true),
        None => (case.text.as_str(), false),
    };
    let mut raw = place.own(&notation::bytes(text));
    let method = method(&raw);
    if !ends {
        raw.extend(get(&place.name(), "/smuggled").bytes());
    }
    place.endpoint.news();
    let mut client = house.proxy.plain().await;
    for piece in raw.chunks(piece_bytes) {
        client.send(piece).await;
        // Lets the proxy, which has threads of its own, read what there is.
        tokio::task::yield_now().await;
    }
    if ends {
        client.wire().end().await;
    }
    let heard = listen(&mut client, method == "HEAD").await;
    // Whatever had been, the next request is served; and what this case left
    // behind would stand before it in the log.
    let next = house.proxy.plain().await.get(&place.name(), "/next").await;
    let mut log = place.endpoint.news();
    for request in &mut log.whole {
        request.head = place.anyones(&request.head);
    }
    let last = log.whole.pop().map(|request| request.target());
    log.begun -= 1;
    if next.status != 200 || last.as_deref() != Some("/next") {
        return format!("the next request harmed: {} {last:?}", next.status);
    }
    verdict(case, &method, ends, &heard, &log)
}

/// The answers, until the connection ends or the second request is answered.
async fn listen(client: &mut Client, to_head: bool) -> Heard {
    let mut answers: Vec<Answer> = Vec::new();
    loop {
        let Some(mut answer) = client.head().await else {
            let closed = true;
            return Heard { answers, closed };
        };
        if (100..200).contains(&answer.status) {
            continue;
        }
        if to_head && answers.is_empty() {
            answer.whole = true;
        } else {
            client.body(&mut answer).await;
        }
        let last = answer.field("connection").as_deref() == Some("close");
        let smuggled = answer.field("x-target").as_deref() == Some("/smuggled");
        answers.push(answer);
        if last || smuggled {
            let closed = last && client.is_closed().await;
            return Heard { answers, closed };
        }
    }
}

fn verdict(case: &Case, method: &str, ends: bool, heard: &Heard, log: &Log) -> String {
    let smuggled = log.whole.iter().any(|r| r.target() == "/smuggled");
    let answered = heard
        .answers
        .iter()
        .any(|answer| answer.field("x-target").as_deref() == Some("/smuggled"));
    if smuggled != answered {
        return "smuggled: the endpoint saw a request that nobody asked".into();
    }
    let Some(first) = heard.answers.first() else {
        return match (ends, log.whole.is_empty(), log.begun) {
            (true, true, _) => "gone".into(),
            (_, _, begun) => format!("closed without a word, {begun} at the endpoint"),
        };
    };
    if first.field("x-target").is_none() {
        let status = first.status;
        let odd = match told_by_us(first) {
            true => "",
            false => " (bare)",
        };
        let rest = heard.answers.len() - 1 + log.whole.len();
        let may_begin = case.verdict.starts_with("broken");
        return match (heard.closed, log.begun) {
            _ if ends && log.whole.is_empty() && case.verdict == "gone" => "gone".into(),
            (true, 0) if rest == 0 && !may_begin => format!("refused {status}{odd}"),
            (true, _) if rest == 0 && may_begin => format!("broken {status}{odd}"),
            (false, 1) if smuggled => format!("told {status}{odd}"),
            (closed, begun) => {
                format!("answered {status}{odd}, closed: {closed}, {begun} at the endpoint")
            }
        };
    }
    let words = Words::read(case.clean());
    let own: Vec<&Message> = log
        .whole
        .iter()
        .filter(|r| r.target() != "/smuggled")
        .collect();
    let mut wrong: Vec<String> = own.iter().flat_map(|request| faults(request)).collect();
    if own.len() != words.requests {
        wrong.push(format!("{} requests", own.len()));
    }
    if let Some(request) = own.first() {
        wrong.extend(words::unlike(&words, request, method));
    }
    if heard
        .answers
        .iter()
        .any(|answer| answer.status != 200 || !answer.whole)
    {
        wrong.push("not all answered".into());
    }
    words::told(case.clean(), wrong)
}

/// The first word, behind empty lines (RFC 9112 §2.2).
fn method(raw: &[u8]) -> String {
    let text = raw.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(0);
    String::from_utf8_lossy(&text[..end]).into_owned()
}
