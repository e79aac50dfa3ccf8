//! Frames of HTTP/2 as text (RFC 9113 §6), for what no client library would send.
//!
//! Steps stand one behind the other, with ` ; ` between them:
//! - `get STREAM FIELDS`: HEADERS of a GET that ends its stream; `post`: of a
//!   POST that does not; `fields`: of these fields alone, and no end;
//!   `trailers`: the same, with the end of the stream.
//! - `data STREAM end|more TEXT`
//! - `frame KIND FLAGS STREAM TEXT`: the first two hexadecimal. In the text
//!   `<get FIELDS>` and the like stand for a block of fields.
//! - `settings ID=VALUE…`, `window STREAM BYTES`, `reset STREAM CODE`,
//!   `ping`, `bytes TEXT`
//! - `bare`, first: neither preface nor SETTINGS are sent unasked.
//! - `status STREAM`, `answered STREAM`: waits for the head of its answer, or its end.
//! - `watch STREAM`: the verdict is of this stream (else 1, or 0 where nothing asks on it).
//!
//! A field is `NAME=VALUE`, in the place of one of the four every request has
//! (`:method`, `:scheme`, `:authority`, `:path`) or behind them; `-NAME` takes
//! one of those away, `+NAME=VALUE` adds even what is there, `^NAME=VALUE` adds
//! in front; `COUNT*NAME=VALUE` is so many of them.

use super::notation;
use crate::harness::{Kind, frame, literal};

/// What a step does.
pub(super) enum Step {
    Send(Vec<u8>),
    /// Waits for the head of a stream's answer.
    Status(u32),
    /// Waits for the end of a stream's answer.
    Answered(u32),
}

/// A whole case.
pub(super) struct Script {
    pub(super) bare: bool,
    /// The stream that the verdict is of; 0 for the connection alone.
    pub(super) watch: u32,
    pub(super) steps: Vec<Step>,
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

impl Script {
    pub(super) fn read(text: &str) -> Self {
        let mut script = Self {
            bare: false,
            watch: 0,
            steps: Vec::new(),
        };
        let mut watch = None;
        for step in text.split(" ; ") {
            let step = step.trim();
            let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
            let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            let number = || first.parse::<u32>().unwrap_or_else(|_| panic!("{step}"));
            let asks = matches!(word, "get" | "post" | "fields") && first == "1";
            if asks || (word == "frame" && first == "1" && rest.contains(" 1 ")) {
                script.watch = 1;
            }
            script.steps.push(match word {
                "bare" => {
                    script.bare = true;
                    continue;
                }
                "watch" => {
                    watch = Some(number());
                    continue;
                }
                "status" => Step::Status(number()),
                "answered" => Step::Answered(number()),
                "get" | "post" | "fields" | "trailers" => {
                    let end = match word {
                        "get" | "trailers" => END_STREAM,
                        _ => 0,
                    };
                    Step::Send(head(number(), end, &block(word, behind)))
                }
                "data" => {
                    let (end, text) = behind.split_once(' ').unwrap_or((behind, ""));
                    let flags = u8::from(end == "end");
                    Step::Send(frame(Kind::Data, flags, number(), &notation::bytes(text)))
                }
                "frame" => Step::Send(any(rest)),
                "settings" => Step::Send(settings(rest)),
                "window" => {
                    let bytes: u32 = behind.parse().unwrap();
                    let payload = bytes.to_be_bytes();
                    Step::Send(frame(Kind::WindowUpdate, 0, number(), &payload))
                }
                "reset" => {
                    let code: u32 = behind.parse().unwrap();
                    Step::Send(frame(Kind::Reset, 0, number(), &code.to_be_bytes()))
                }
                "ping" => Step::Send(frame(Kind::Ping, 0, 0, b"12345678")),
                "bytes" => Step::Send(notation::bytes(rest)),
                other => panic!("no step {other}: {text}"),
            });
        }
        script.watch = watch.unwrap_or(script.watch);
        script
    }
}

/// HEADERS, and CONTINUATION where they are long.
fn head(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    const FRAME_BYTES_MAX: usize = 16 * 1024;
    let (first, mut rest) = block.split_at(block.len().min(FRAME_BYTES_MAX));
    let last = |rest: &[u8]| match rest.is_empty() {
        true => END_HEADERS,
        false => 0,
    };
    let mut out = frame(Kind::Headers, flags | last(rest), stream, first);
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min(FRAME_BYTES_MAX));
        rest = behind;
        out.extend(frame(Kind::Continuation, last(rest), stream, part));
    }
    out
}

/// A block of fields, as literals that no rule checks.
fn block(word: &str, fields: &str) -> Vec<u8> {
    let mut all: Vec<(String, String)> = Vec::new();
    if matches!(word, "get" | "post") {
        let method = word.to_uppercase();
        let base = [
            (":method", method.as_str()),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", "/"),
        ];
        all.extend(base.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let based = all.len();
    for field in fields.split(' ').filter(|field| !field.is_empty()) {
        let chars = |text: &str| crate::harness::text(&notation::bytes(text));
        if let Some(name) = field.strip_prefix('-') {
            all.retain(|field| field.0 != name);
            continue;
        }
        let (count, field) = match field.split_once('*') {
            Some((count, field)) if count.parse::<usize>().is_ok() => {
                (count.parse().unwrap(), field)
            }
            _ => (1, field),
        };
        let (at, field) = match field.as_bytes()[0] {
            b'+' => (all.len(), &field[1..]),
            b'^' => (0, &field[1..]),
            _ => {
                let name = field.split('=').next().unwrap();
                let is_it = |field: &(String, String)| name.starts_with(':') && field.0 == name;
                let known = all.iter().take(based).position(is_it);
                match known {
                    Some(at) => {
                        all.remove(at);
                        (at, field)
                    }
                    None => (all.len(), field),
                }
            }
        };
        let (name, value) = field.split_once('=').unwrap_or_else(|| panic!("{field}"));
        for _ in 0..count {
            all.insert(at, (chars(name), chars(value)));
        }
    }
    all.iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// `KIND FLAGS STREAM TEXT`.
fn any(text: &str) -> Vec<u8> {
    let parts: Vec<&str> = text.splitn(4, ' ').collect();
    let hex = |at: usize| u8::from_str_radix(parts[at], 16).unwrap();
    let stream: u32 = parts[2].parse().unwrap();
    let payload = payload(parts.get(3).copied().unwrap_or_default());
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([hex(0), hex(1)]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Text with blocks of fields in it.
fn payload(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('<') {
        out.extend(notation::bytes(before));
        let (inner, after) = behind.split_once('>').unwrap();
        let (word, fields) = inner.split_once(' ').unwrap_or((inner, ""));
        out.extend(block(word, fields));
        rest = after;
    }
    out.extend(notation::bytes(rest));
    out
}

fn settings(text: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    for pair in text.split(' ').filter(|pair| !pair.is_empty()) {
        let (id, value) = pair.split_once('=').unwrap();
        payload.extend(id.parse::<u16>().unwrap().to_be_bytes());
        payload.extend(value.parse::<u32>().unwrap().to_be_bytes());
    }
    frame(Kind::Settings, 0, 0, &payload)
}
