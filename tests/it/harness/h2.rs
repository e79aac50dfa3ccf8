//! Two clients of HTTP/2: one that keeps the rules, and one that writes frames by hand.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::task::JoinSet;

use super::wire::{Answer, Stream, Wire, text};
use super::within;

/// A connection that keeps the rules.
pub(crate) struct H2 {
    pub(crate) requests: SendRequest<Bytes>,
    connection: JoinSet<Result<(), h2::Error>>,
}

impl H2 {
    pub(crate) async fn new(stream: impl Stream + 'static) -> Self {
        let (requests, running) = within(h2::client::handshake(stream)).await.unwrap();
        let mut connection = JoinSet::new();
        connection.spawn(running);
        Self {
            requests,
            connection,
        }
    }

    pub(crate) async fn get(&mut self, host: &str, target: &str) -> Answer {
        let request = Request::get(format!("https://{host}{target}"));
        self.ask(request.body(Vec::new()).unwrap(), None)
            .await
            .unwrap()
    }

    /// Sends a request, whole, and takes what comes.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Vec<u8>>,
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let (parts, body) = request.into_parts();
        let mut sending = within(self.requests.clone().ready()).await?;
        let bodiless = body.is_empty() && trailers.is_none();
        let (answer, mut stream) =
            sending.send_request(Request::from_parts(parts, ()), bodiless)?;
        if !bodiless {
            stream.send_data(body.into(), trailers.is_none())?;
        }
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers)?;
        }
        taken(answer).await
    }

    /// How the connection ended.
    pub(crate) async fn closed(mut self) -> Result<(), h2::Error> {
        drop(self.requests);
        within(self.connection.join_next()).await.unwrap().unwrap()
    }
}

/// An answer to its end; a body that is broken off leaves it not whole.
pub(crate) async fn taken(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut body) = within(answer).await?.into_parts();
    let mut answer = Answer {
        status: parts.status.as_u16(),
        fields: fields(&parts.headers),
        ..Answer::default()
    };
    while let Some(data) = within(body.data()).await {
        let Ok(data) = data else {
            return Ok(answer);
        };
        let _ = body.flow_control().release_capacity(data.len());
        answer.body.extend(data);
    }
    if let Ok(trailers) = within(body.trailers()).await {
        answer.trailers = trailers.as_ref().map(fields).unwrap_or_default();
        answer.whole = true;
    }
    Ok(answer)
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), text(value.as_bytes()))
    };
    headers.iter().map(field).collect()
}

/// A connection whose frames are written by hand (RFC 9113 §6).
pub(crate) struct Frames(Wire);

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The kinds of frames that tests write.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Data = 0,
    Headers = 1,
    Reset = 3,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Status(u16),
    Reset(u32),
    /// The whole connection was ended.
    GoAway(u32),
    Closed,
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

impl Frame {
    pub(crate) fn is_head(&self) -> bool {
        self.kind == Kind::Headers as u8
    }

    /// `:status` of an answer's head.
    pub(crate) fn status(&self) -> u16 {
        status(&self.payload)
    }

    pub(crate) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }
}

impl Frames {
    /// Says the preface and SETTINGS, with no dynamic table for the answers.
    pub(crate) async fn open(stream: impl Stream + 'static, socket: socket2::Socket) -> Self {
        let mut frames = Self(Wire::new(stream, socket));
        frames.0.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        // SETTINGS_HEADER_TABLE_SIZE = 0.
        frames.send(Kind::Settings, 0, 0, &[0, 1, 0, 0, 0, 0]).await;
        frames
    }

    /// Says nothing by itself.
    pub(crate) fn silent(stream: impl Stream + 'static, socket: socket2::Socket) -> Self {
        Self(Wire::new(stream, socket))
    }

    /// Takes the preface and says SETTINGS, as a server.
    pub(crate) async fn accept(mut wire: Wire) -> Self {
        wire.exactly(24).await;
        let mut frames = Self(wire);
        frames.send(Kind::Settings, 0, 0, &[]).await;
        frames
    }

    /// The stream of the next request; `None` at the end.
    pub(crate) async fn asked(&mut self) -> Option<u32> {
        loop {
            let frame = self.next().await?;
            if frame.is_head() {
                return Some(frame.stream);
            }
        }
    }

    /// Waits for the other side to close.
    pub(crate) async fn closed(&mut self) {
        while self.receive().await.is_some() {}
    }

    pub(crate) async fn send(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload)).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.send(bytes).await;
    }

    /// A request of these fields, as literals that no rule checks, and a body.
    pub(crate) async fn ask(&mut self, stream: u32, fields: &[(&str, &str)], body: Option<&[u8]>) {
        let end = if body.is_none() { END_STREAM } else { 0 };
        self.headers(stream, fields, end).await;
        if let Some(body) = body {
            self.send(Kind::Data, END_STREAM, stream, body).await;
        }
    }

    /// HEADERS, and CONTINUATION where they are long.
    pub(crate) async fn headers(&mut self, stream: u32, fields: &[(&str, &str)], flags: u8) {
        self.send_bytes(&headers(stream, fields, flags)).await;
    }

    /// The next frame that is neither SETTINGS nor WINDOW_UPDATE; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.receive().await?;
            if frame.kind == Kind::Settings as u8 && frame.flags & ACK == 0 {
                self.send(Kind::Settings, ACK, 0, &[]).await;
            }
            if frame.kind == Kind::Ping as u8 && frame.flags & ACK == 0 {
                self.send(Kind::Ping, ACK, 0, &frame.payload).await;
                continue;
            }
            if frame.kind != Kind::Settings as u8 && frame.kind != Kind::WindowUpdate as u8 {
                return Some(frame);
            }
        }
    }

    /// The next frame of a stream.
    pub(crate) async fn next_of(&mut self, stream: u32) -> Frame {
        loop {
            let frame = self.next().await.expect("a frame comes");
            if frame.stream == stream {
                return frame;
            }
        }
    }

    /// The next frame, whatever it is.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        let head = self.0.exactly(9).await;
        if head.len() < 9 {
            return None;
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..9].try_into().unwrap()),
            payload: self.0.exactly(length).await,
        })
    }

    /// What becomes of a stream: its status, or how it was refused.
    pub(crate) async fn heard(&mut self, stream: u32) -> Heard {
        loop {
            let Some(frame) = self.next().await else {
                return Heard::Closed;
            };
            let code =
                |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            if frame.kind == Kind::GoAway as u8 && code(4) != 0 {
                return Heard::GoAway(code(4));
            }
            if frame.stream != stream {
                continue;
            }
            if frame.kind == Kind::Reset as u8 {
                return Heard::Reset(code(0));
            }
            if frame.kind == Kind::Headers as u8 {
                return Heard::Status(status(&frame.payload));
            }
        }
    }
}

/// A frame.
pub(crate) fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind as u8, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HEADERS, and CONTINUATION where they are long.
pub(crate) fn headers(stream: u32, fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let block: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect();
    let parts: Vec<&[u8]> = block.chunks(16 * 1024).collect();
    let mut out = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let last = if n + 1 == parts.len() { END_HEADERS } else { 0 };
        let (kind, flags) = if n == 0 {
            (Kind::Headers, flags)
        } else {
            (Kind::Continuation, 0)
        };
        out.extend(frame(kind, flags | last, stream, part));
    }
    out
}

/// A literal field without indexing, its strings plain (RFC 7541 §6.2.2).
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for part in [name, value] {
        // Every char is one byte here, so that any byte can be sent.
        let bytes: Vec<u8> = part
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
        let mut length = bytes.len();
        if length < 127 {
            out.push(length as u8);
        } else {
            out.push(127);
            length -= 127;
            while length >= 128 {
                out.push((length % 128) as u8 | 128);
                length /= 128;
            }
            out.push(length as u8);
        }
        out.extend(bytes);
    }
    out
}

/// `:status`, which comes first in an answer: by the static table, or as a
/// literal of three digits, which Huffman codes in five or six bits each
/// (RFC 7541 appendices A and B).
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // The change of the table's size to what SETTINGS said.
    let block = &block[usize::from(block[0] == 0x20)..];
    if block[0] & 0x80 != 0 {
        return INDEXED[usize::from(block[0] & 0x7f) - 8];
    }
    let length = usize::from(block[1] & 0x7f);
    let value = &block[2..2 + length];
    if block[1] & 0x80 == 0 {
        return std::str::from_utf8(value).unwrap().parse().unwrap();
    }
    let bits: Vec<u8> = value
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let number = |bits: &[u8]| {
        bits.iter()
            .fold(0u16, |sum, bit| sum << 1 | u16::from(*bit))
    };
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(&bits[at..at + 5]);
        let digit = if short <= 2 {
            at += 5;
            short
        } else {
            at += 6;
            number(&bits[at - 6..at]) - 22
        };
        status = status * 10 + digit;
    }
    status
}
