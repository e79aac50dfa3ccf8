//! Answers of endpoints, to clients of HTTP/1, of HTTP/1 over TLS (in small
//! pieces, where it is short), and of HTTP/2.
//!
//! A text is what the endpoint sends, with `{close}` or `{reset}` at its end
//! where it does so; else it goes on and answers the next request as it should.
//! `[HEAD]` or `[POST]` in front: the request's method; `[EARLY]`: a POST whose
//! body never ends.
//!
//! Verdicts:
//! - `502`: our own answer.
//! - `broken`: an answer that the client sees not to be whole: the connection
//!   is closed before its end, the stream is reset.
//! - `clean STATUS`, with `body=`, `+NAME=VALUE`, `-NAME`, `trailer+…` as the
//!   client must have got them; and nothing of the endpoint's connection.
//!
//! Always: the next request is served, on the same connection where it goes on
//! and on a fresh one; and the endpoint's connection is not used again unless
//! the answer was clean and had an end of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::Request;

use super::house::House;
use super::notation::{self, Case};
use super::words::{Words, short, told};
use super::{Seen, told_by_us};
use crate::harness::{Answer, Backend, Client, Conn, joined, ok};

/// So little of an answer is sent at a time to the client over TLS.
const PIECE_BYTES: usize = 7;

/// What the endpoint is to do, and what became of it.
#[derive(Default)]
struct Task {
    answer: Vec<u8>,
    end: End,
    /// The case's answer is not awaited to the end of the request.
    early: bool,
    /// How much of it is sent at a time.
    piece_bytes: usize,
    /// Requests behind the case's, on the connection that answered it.
    used_again: usize,
    /// Which run of which case this is.
    run: u64,
}

#[derive(Clone, Copy, Default)]
enum End {
    #[default]
    Open,
    Close,
    Reset,
}

pub(super) struct Endpoint {
    _backend: Backend,
    task: Arc<Mutex<Task>>,
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = notation::cases(include_str!("answers.txt"));
    cases.extend(cut(
        "Broken off: a length",
        "content-length: 5",
        "hello",
        true,
    ));
    let chunks = r"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    cases.extend(cut(
        "Broken off: chunks",
        "transfer-encoding: chunked",
        chunks,
        true,
    ));
    cases.extend(cut("Broken off: until the end", "x: y", "hello", false));
    cases
}

/// The same answer, closed and reset behind each of its bytes.
fn cut(topic: &'static str, field: &str, body: &str, framed: bool) -> Vec<Case> {
    let head = notation::bytes(&format!(r"HTTP/1.1 200 OK\r\n{field}\r\n\r\n"));
    let whole = [head.clone(), notation::bytes(body)].concat();
    let mut cases = Vec::new();
    for (end, word) in [("{close}", "closed"), ("{reset}", "reset")] {
        for at in 0..=whole.len() {
            let ended = at == whole.len();
            let verdict = match (at >= head.len(), framed, word) {
                (false, _, _) => "502",
                (true, true, _) if ended => "clean 200 body=hello",
                (true, true, _) => "broken",
                (true, false, "closed") => "clean 200",
                (true, false, _) => "broken",
            };
            let bytes = whole[..at].iter().map(|byte| format!("\\x{byte:02x}"));
            let text = bytes.collect::<String>() + end;
            let got = at.saturating_sub(head.len());
            let verdict = match verdict {
                "clean 200" if got > 0 => format!("clean 200 body={}", &body[..got]),
                other => other.to_owned(),
            };
            cases.push(Case {
                topic,
                rule: "RFC 9112 §8, behaviour §4",
                name: format!("{word} behind byte {at} of {}", whole.len()),
                verdict,
                text,
            });
        }
    }
    cases
}

pub(super) async fn run(cases: Vec<Case>) -> Vec<Seen> {
    let endpoint = async || {
        let task = Arc::new(Mutex::new(Task::default()));
        let of_script = task.clone();
        let backend = Backend::script(move |conn| serve(conn, of_script.clone())).await;
        let at = backend.at().to_owned();
        let endpoint = Endpoint {
            _backend: backend,
            task,
        };
        (endpoint, at)
    };
    House::new(endpoint).await.run(cases, one).await
}

async fn serve(mut conn: Conn, task: Arc<Mutex<Task>>) {
    let mut answered = None;
    while let Some(mut request) = conn.head().await {
        let its_case = request.target() == "/case";
        let (answer, end, early, piece_bytes) = {
            let mut task = task.lock().unwrap();
            task.used_again += usize::from(answered == Some(task.run));
            answered = its_case.then_some(task.run).or(answered);
            (task.answer.clone(), task.end, task.early, task.piece_bytes)
        };
        let at_once = its_case && early;
        if !at_once && !conn.body(&mut request).await {
            return;
        }
        if !its_case {
            conn.send(ok(b"next")).await;
            continue;
        }
        for piece in answer.chunks(piece_bytes) {
            conn.send(piece).await;
            // Lets the proxy, which has threads of its own, read what there is.
            tokio::task::yield_now().await;
        }
        match end {
            End::Close => return,
            End::Reset => return conn.reset(),
            End::Open => {}
        }
        if early {
            conn.body(&mut request).await;
        }
    }
}

/// How the client asks for the case.
#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Get,
    Head,
    Post,
    Early,
}

async fn one(house: Arc<House<Endpoint>>, at: usize, case: Case) -> String {
    let place = house.place(at);
    let (ask, text) = match case.text.split_once(']') {
        Some(("[HEAD", text)) => (Ask::Head, text),
        Some(("[POST", text)) => (Ask::Post, text),
        Some(("[EARLY", text)) => (Ask::Early, text),
        _ => (Ask::Get, case.text.as_str()),
    };
    let (text, end) = match (text.strip_suffix("{close}"), text.strip_suffix("{reset}")) {
        (Some(text), _) => (text, End::Close),
        (_, Some(text)) => (text, End::Reset),
        (None, None) => (text, End::Open),
    };
    let answer = notation::bytes(text);
    let mut seen: Vec<String> = Vec::new();
    let name = place.name();
    static RUNS: AtomicU64 = AtomicU64::new(1);
    for protocol in ["h1", "h1 over TLS", "h2"] {
        *place.endpoint.task.lock().unwrap() = Task {
            answer: answer.clone(),
            end,
            early: ask == Ask::Early,
            piece_bytes: match protocol == "h1 over TLS" && !text.contains('*') {
                true => PIECE_BYTES,
                false => usize::MAX,
            },
            run: RUNS.fetch_add(1, Ordering::Relaxed),
            ..Task::default()
        };
        let (answer, closed) = match protocol {
            "h1" => over_h1(house.proxy.plain().await, &name, ask).await,
            "h1 over TLS" => over_h1(house.proxy.tls(&name).await, &name, ask).await,
            _ => over_h2(&house, &name, ask).await,
        };
        let mut verdict = judged(&case, ask, &answer, closed);
        let fresh = house.proxy.plain().await.get(&name, "/next").await;
        if (fresh.status, fresh.text().as_str()) != (200, "next") {
            verdict = format!("{verdict}, and the next request harmed");
        }
        let task = place.endpoint.task.lock().unwrap();
        if task.used_again > 0 && !verdict.starts_with("clean") {
            verdict = format!("{verdict}, and the connection used again");
        }
        if task.used_again > 0 && case.verdict.contains(" once") {
            verdict = format!("{verdict}, but used again");
        }
        seen.push(verdict);
    }
    match seen.iter().all(|verdict| *verdict == seen[0]) {
        true => seen.swap_remove(0),
        false => format!("h1: {}; h1 over TLS: {}; h2: {}", seen[0], seen[1], seen[2]),
    }
}

/// The answer, and whether the connection was closed behind it. Where it was
/// not, the next request on it has been served.
async fn over_h1(mut client: Client, name: &str, ask: Ask) -> (Answer, bool) {
    let head = |method: &str, field: &str| {
        format!(
            "{method} /case HTTP/1.1\r\nhost: {name}\r\nte: trailers\r\nconnection: te\r\n{field}\r\n"
        )
    };
    let request = match ask {
        Ask::Get => head("GET", ""),
        Ask::Head => head("HEAD", ""),
        Ask::Post => head("POST", "content-length: 5\r\n") + "hello",
        Ask::Early => head("POST", "content-length: 50000\r\n") + "hello",
    };
    let answer = client.ask(request).await;
    let closes = answer.field("connection").as_deref() == Some("close");
    if closes || !answer.whole || ask == Ask::Early {
        return (answer, client.is_closed().await);
    }
    let next = client.get(name, "/next").await;
    assert_eq!(
        (next.status, next.text().as_str()),
        (200, "next"),
        "on the same connection"
    );
    (answer, false)
}

async fn over_h2(house: &House<Endpoint>, name: &str, ask: Ask) -> (Answer, bool) {
    let mut client = house.proxy.h2(name).await;
    let request = Request::builder().uri(format!("https://{name}/case"));
    let request = match ask {
        Ask::Get => request.body(Vec::new()),
        Ask::Head => request.method("HEAD").body(Vec::new()),
        Ask::Post => request.method("POST").body(b"hello".to_vec()),
        Ask::Early => request
            .method("POST")
            .header("content-length", "50000")
            .body(b"hello".to_vec()),
    };
    let request = request.unwrap();
    let answer = match ask {
        Ask::Early => {
            let (parts, body) = request.into_parts();
            let head = Request::from_parts(parts, ());
            let (answer, mut sending) = client.requests.send_request(head, false).unwrap();
            sending.send_data(body.into(), false).unwrap();
            crate::harness::taken(answer).await
        }
        Ask::Get | Ask::Head | Ask::Post => client.ask(request, None).await,
    };
    // A stream that is reset before its head is as broken as one after it.
    let answer = answer.unwrap_or_default();
    let next = client.get(name, "/next").await;
    assert_eq!(
        (next.status, next.text().as_str()),
        (200, "next"),
        "on the same connection"
    );
    let closed = !answer.whole;
    (answer, closed)
}

/// Fields that end at the proxy; `transfer-encoding` over HTTP/1 is our own.
const ENDS_HERE: [&str; 4] = ["keep-alive", "proxy-connection", "upgrade", "te"];

fn judged(case: &Case, ask: Ask, answer: &Answer, closed: bool) -> String {
    if !answer.whole {
        return match closed {
            true => "broken".into(),
            false => "not whole, and not closed".into(),
        };
    }
    if told_by_us(answer) {
        return match ask == Ask::Early || !closed {
            true => answer.status.to_string(),
            false => format!("{}, closed", answer.status),
        };
    }
    let words = Words::read(case.clean().trim_end_matches(" once"));
    let mut wrong = words.fields_unlike(&answer.fields, &answer.trailers);
    for name in ENDS_HERE {
        if answer.field(name).is_some() {
            wrong.push(format!("{name} passed"));
        }
    }
    let count = |name: &str| answer.fields.iter().filter(|field| field.0 == name).count();
    if count("content-length") + count("transfer-encoding") > 1 {
        wrong.push("framed twice".into());
    }
    if count("x-request-id") != 1 {
        wrong.push("no request id".into());
    }
    let coding = joined(&answer.fields, "transfer-encoding");
    if !matches!(coding.as_deref(), None | Some("chunked")) {
        wrong.push(format!("coding {coding:?}"));
    }
    let status = case.clean().split(' ').nth(1).unwrap_or_default();
    if answer.status.to_string() != status {
        wrong.push(format!("status {}", answer.status));
    }
    if answer.text() != words.body {
        wrong.push(format!("body {:?}", short(&answer.text())));
    }
    told(case.clean(), wrong)
}
