//! Requests of HTTP/2, as frames; `frames` tells how they are written down.
//!
//! Behind each goes a request on a stream of its own, `GET /next`, which is
//! served unless the connection was ended. Verdicts:
//! - `connection CODE`: GOAWAY, and the connection closed.
//! - `stream CODE`: RST_STREAM; `refused STATUS`: our own answer. No endpoint
//!   saw the request whole, and the next one is served.
//! - `malformed`: one of these two, or `connection PROTOCOL_ERROR`, as RFC 9113
//!   §8.1.1 and §5.4.1 allow.
//! - `clean`, with the words of `requests_h1`; without a stream that is watched:
//!   the connection goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Seen;
use super::endpoint::{Endpoint, Log, faults};
use super::frames::{Script, Step};
use super::house::House;
use super::notation::Case;
use super::words::{self, Words};
use crate::harness::{Frames, Kind, Message};

/// The stream of the request behind the case.
const NEXT: u32 = 65_537;

pub(super) async fn run(cases: Vec<Case>) -> Vec<Seen> {
    let endpoint = async || {
        let endpoint = Endpoint::new().await;
        let at = endpoint.at().to_owned();
        (endpoint, at)
    };
    House::new(endpoint).await.run(cases, one).await
}

/// What a client heard of a stream.
#[derive(Default)]
struct Stream {
    status: Option<u16>,
    reset: Option<u32>,
    ended: bool,
}

/// What a client heard.
struct Heard {
    frames: Frames,
    streams: BTreeMap<u32, Stream>,
    goaway: Option<u32>,
    closed: bool,
}

async fn one(house: Arc<House<Endpoint>>, at: usize, case: Case) -> String {
    let place = house.place(at);
    place.endpoint.news();
    let script = Script::read(&case.text);
    let mut heard = Heard {
        frames: match script.bare {
            true => house.proxy.silent_frames(&place.name()).await,
            false => house.proxy.frames(&place.name()).await,
        },
        streams: BTreeMap::new(),
        goaway: None,
        closed: false,
    };
    for step in &script.steps {
        match step {
            Step::Send(bytes) => heard.frames.send_bytes(&place.own(bytes)).await,
            Step::Status(stream) => heard.until(|heard| heard.has_status(*stream)).await,
            Step::Answered(stream) => heard.until(|heard| heard.is_over(*stream)).await,
        }
    }
    let name = place.name();
    let next = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", name.as_str()),
        (":path", "/next"),
    ];
    heard.frames.ask(NEXT, &next, None).await;
    let watch = script.watch;
    heard
        .until(|heard| heard.is_over(NEXT) && (watch == 0 || heard.is_over(watch)))
        .await;
    if heard.goaway.is_some() {
        heard.until(|_| false).await;
    }
    let mut log = place.endpoint.news();
    for request in &mut log.whole {
        request.head = place.anyones(&request.head);
    }
    verdict(&case, watch, &heard, &log)
}

impl Heard {
    /// Listens until this holds or the connection ends.
    async fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !self.closed && !holds(self) {
            self.listen().await;
        }
    }

    async fn listen(&mut self) {
        let Some(frame) = self.frames.next().await else {
            self.closed = true;
            return;
        };
        let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
        if frame.kind == Kind::GoAway as u8 {
            self.goaway = Some(code(4));
            return;
        }
        let stream = self.streams.entry(frame.stream).or_default();
        if frame.kind == Kind::Reset as u8 {
            stream.reset.get_or_insert_with(|| code(0));
            stream.ended = true;
        }
        if frame.is_head() && stream.status.is_none() {
            let status = frame.status();
            stream.status = (status >= 200).then_some(status);
        }
        let carries = frame.is_head() || frame.kind == Kind::Data as u8;
        stream.ended |= carries && frame.ends_stream();
    }

    fn has_status(&self, stream: u32) -> bool {
        self.is_over(stream)
            || self
                .streams
                .get(&stream)
                .is_some_and(|s| s.status.is_some())
    }

    fn is_over(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.ended)
    }
}

fn verdict(case: &Case, watch: u32, heard: &Heard, log: &Log) -> String {
    if let Some(code) = heard.goaway {
        let open = match heard.closed {
            true => "",
            false => ", and not closed",
        };
        return format!("connection {}{open}", name(code));
    }
    if heard.closed {
        return "closed without a word".into();
    }
    if heard.streams.get(&NEXT).and_then(|next| next.status) != Some(200) {
        return "the next request harmed".into();
    }
    let own: Vec<&Message> = log.whole.iter().filter(|r| r.target() != "/next").collect();
    let mut wrong: Vec<String> = own.iter().flat_map(|request| faults(request)).collect();
    let stream = heard.streams.get(&watch);
    let refused = stream.and_then(|stream| match (stream.reset, stream.status) {
        // The rest of a request that was answered is not wanted (RFC 9113 §8.1).
        (None | Some(0), Some(200)) | (None, None) => None,
        (None | Some(0), Some(status)) => Some(format!("refused {status}")),
        (Some(code), _) => Some(format!("stream {}", name(code))),
    });
    if let Some(refused) = refused {
        // What has a body may have begun at the endpoint.
        let streamed = case.text.contains("post ") || case.text.contains("data ");
        if !own.is_empty() || (log.begun > 1 && !streamed) {
            return format!("{refused}, and seen by the endpoint");
        }
        return refused;
    }
    let words = Words::read(case.clean());
    let want = match (watch, case.clean().contains("n=")) {
        (0, false) => 0,
        _ => words.requests,
    };
    if own.len() != want {
        wrong.push(format!("{} requests", own.len()));
    }
    if let (true, Some(request)) = (watch > 0, own.first()) {
        let method = request.first_line();
        let method = method.split(' ').next().unwrap_or_default().to_owned();
        wrong.extend(words::unlike(&words, request, &method));
    }
    words::told(case.clean(), wrong)
}

/// RFC 9113 §7.
fn name(code: u32) -> String {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    match NAMES.get(code as usize) {
        Some(name) => (*name).to_owned(),
        None => format!("{code:#x}"),
    }
}
