//! An event stream: numbered events, one behind the other, for ever.

use anyhow::{Context, Error, Result, ensure};
use serde_json::{Value, json};

use super::{All, Kept};
use crate::stream::Stream;

/// Header lines that are looked at.
const HEADERS_MAX: usize = 64;
/// Of a line that tells how long a chunk is.
const SIZE_LINE_BYTES_MAX: usize = 128;
/// Of one event; the endpoint sends them so.
const EVENT_BYTES: usize = 256;

pub(super) struct EventStream {
    stream: Stream,
    chunks: Chunks,
    /// Of the body, that are not a whole event yet.
    came: Vec<u8>,
    events: u64,
    bytes: u64,
}

/// What the event of this number is.
fn event(number: u64) -> Vec<u8> {
    let begin = format!("id: {number}\ndata: ");
    let fill = EVENT_BYTES - begin.len() - 2;
    format!("{begin}{:=<fill$}\n\n", "").into_bytes()
}

impl EventStream {
    fn check(&mut self) -> Result<()> {
        while self.came.len() >= EVENT_BYTES {
            let same = self.came.drain(..EVENT_BYTES).eq(event(self.events));
            ensure!(same, "event {} is not what was sent", self.events);
            self.events += 1;
        }
        ensure!(!self.chunks.ended, "ended by the last chunk");
        Ok(())
    }

    async fn receive(&mut self) -> Result<()> {
        let (chunks, came) = (&mut self.chunks, &mut self.came);
        let before = came.len();
        let received = self.stream.receive(|bytes| chunks.feed(bytes, came)).await;
        self.bytes += (self.came.len() - before) as u64;
        self.check()?;
        received
    }
}

impl Kept for EventStream {
    const NAME: &'static str = "event stream";

    async fn open(all: &All, name: &str) -> Result<Self> {
        let mut stream = all.connect().await?;
        let request = format!(
            "GET /events/{name} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            all.target.host
        );
        stream.send(request.as_bytes()).await?;
        let mut head = Vec::new();
        let long = loop {
            stream
                .receive(|bytes| {
                    head.extend_from_slice(bytes);
                    Ok(())
                })
                .await
                .context("waiting for the answer")?;
            if let Some(long) = long(&head)? {
                break long;
            }
        };
        let mut one = Self {
            stream,
            chunks: Chunks::default(),
            came: Vec::new(),
            events: 0,
            bytes: 0,
        };
        one.chunks.feed(&head[long..], &mut one.came)?;
        one.bytes = one.came.len() as u64;
        one.check()?;
        Ok(one)
    }

    async fn live(&mut self) -> Error {
        loop {
            if let Err(ended) = self.receive().await {
                return ended;
            }
        }
    }

    async fn end(&mut self) -> Result<()> {
        Ok(()) // it has no end of its own
    }

    fn report(&self) -> Value {
        json!({ "messages": self.events, "bytes": self.bytes })
    }
}

/// The bytes of the head; `None` while it is not complete.
fn long(bytes: &[u8]) -> Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(long) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    ensure!(status == 200, "status {status}");
    let chunked = response.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("transfer-encoding") && header.value == b"chunked"
    });
    ensure!(chunked, "the stream is not chunked");
    Ok(Some(long))
}

/// Takes the chunked framing away (RFC 9112 §7.1).
#[derive(Default)]
struct Chunks {
    /// Bytes of the chunk that have not come.
    left: usize,
    /// The line before a chunk, as far as it has come.
    line: Vec<u8>,
    ended: bool,
}

impl Chunks {
    fn feed(&mut self, mut bytes: &[u8], body: &mut Vec<u8>) -> Result<()> {
        while let (Some(byte), false) = (bytes.first(), self.ended) {
            if self.left > 0 {
                let (data, rest) = bytes.split_at(self.left.min(bytes.len()));
                body.extend_from_slice(data);
                self.left -= data.len();
                bytes = rest;
                continue;
            }
            bytes = &bytes[1..];
            self.line.push(*byte);
            ensure!(self.line.len() < SIZE_LINE_BYTES_MAX, "no chunk begins");
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line)?.trim_end();
                // Behind each chunk's data stands an empty line.
                if !line.is_empty() {
                    self.left = usize::from_str_radix(line, 16).context("no chunk begins")?;
                    self.ended = self.left == 0;
                }
            }
        }
        Ok(())
    }
}
