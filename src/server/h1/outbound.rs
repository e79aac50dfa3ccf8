//! What is sent to a client over HTTP/1: heads, and the body behind them.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use http_body::Body as _;

use crate::body::Body;
use crate::framing::Framing;
use crate::server::transport::Transport;

/// Room for a common head at once.
const HEAD_BYTES: usize = 512;

/// What whoever asked can read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) head_only: bool,
    /// Reads chunks (HTTP/1.1).
    pub(super) reads_chunks: bool,
}

/// How the body of an answer is framed; `None`: it has none (RFC 9112 §6.3).
pub(super) fn framing(response: &Response<Body>, reader: Reader) -> Option<Framing> {
    let status = response.status();
    let bodiless = reader.head_only
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        return None;
    }
    Some(match response.body().size_hint().exact() {
        Some(length) => Framing::Length(length),
        None if reader.reads_chunks => Framing::Chunked,
        None => Framing::UntilClose,
    })
}

/// The head of an answer, with what is said of the connection. Framing fields
/// of the answer's own count for nothing but where there is no body to frame.
pub(super) fn head(
    response: &Response<Body>,
    framing: Option<Framing>,
    connection: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    status_line(response.status(), &mut out);
    for (name, value) in response.headers() {
        if name == CONNECTION
            || name == TRANSFER_ENCODING
            || (name == CONTENT_LENGTH && framing.is_some())
        {
            continue;
        }
        line(name.as_str(), value.as_bytes(), &mut out);
    }
    match framing {
        // Writing into a Vec does not fail.
        Some(Framing::Length(length)) => {
            let _ = write!(out, "content-length: {length}\r\n");
        }
        Some(Framing::Chunked) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Some(Framing::UntilClose) | None => {}
    }
    if !connection.is_empty() {
        line("connection", connection.as_bytes(), &mut out);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// An interim answer (RFC 9110 §15.2).
pub(super) fn interim(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    status_line(status, &mut out);
    for (name, value) in headers {
        line(name.as_str(), value.as_bytes(), &mut out);
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn status_line(status: StatusCode, out: &mut Vec<u8>) {
    // RFC 9110 §2.5: the version that is spoken here, whatever the client's is.
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// How the sending of a body ended.
#[derive(Debug)]
pub(super) enum Sent {
    Whole,
    /// The client must be able to tell that it is not whole.
    Broken,
}

/// A body on its way. Holds one piece of it at a time.
pub(super) struct Sending {
    body: Body,
    framing: Framing,
    data: Bytes,
    /// A chunk's data is to be ended.
    in_chunk: bool,
    ended: bool,
}

impl Sending {
    pub(super) fn new(body: Body, framing: Framing) -> Self {
        let ended = framing == Framing::Length(0);
        Self {
            body,
            framing,
            data: Bytes::new(),
            in_chunk: false,
            ended,
        }
    }

    /// Puts what there is of the body into the transport. An error is the client's end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        transport: &std::cell::RefCell<Transport>,
    ) -> Poll<io::Result<Sent>> {
        loop {
            while !self.data.is_empty() {
                let bytes = ready!(transport.borrow_mut().poll_write(cx, &self.data))?;
                self.data.advance(bytes);
            }
            if std::mem::take(&mut self.in_chunk) {
                transport.borrow_mut().put(b"\r\n")?;
            }
            if self.ended {
                return Poll::Ready(Ok(Sent::Whole));
            }
            // The body may read from the client meanwhile: the transport is not held.
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    if !self.end(None, &mut transport.borrow_mut())? {
                        return Poll::Ready(Ok(Sent::Broken));
                    }
                    continue;
                }
                Some(Err(_)) => return Poll::Ready(Ok(Sent::Broken)),
                Some(Ok(frame)) => frame,
            };
            let mut transport = transport.borrow_mut();
            match frame.into_data() {
                Ok(data) => {
                    if !self.begin(data, &mut transport)? {
                        return Poll::Ready(Ok(Sent::Broken));
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().ok();
                    if !self.end(trailers, &mut transport)? {
                        return Poll::Ready(Ok(Sent::Broken));
                    }
                }
            }
        }
    }

    /// Frames a piece of the body; `false` if it is more than was said.
    fn begin(&mut self, data: Bytes, transport: &mut Transport) -> io::Result<bool> {
        if data.is_empty() {
            return Ok(true); // an empty chunk would be the last one
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let Some(rest) = left.checked_sub(data.len() as u64) else {
                    return Ok(false);
                };
                *left = rest;
                self.ended = rest == 0;
            }
            Framing::Chunked => {
                let mut line = [0; 18];
                let mut rest = &mut line[..];
                write!(rest, "{:x}\r\n", data.len())?;
                let free = rest.len();
                transport.put(&line[..line.len() - free])?;
                self.in_chunk = true;
            }
            Framing::UntilClose => {}
        }
        self.data = data;
        Ok(true)
    }

    /// Frames the end; `false` if the body is shorter than was said.
    fn end(&mut self, trailers: Option<HeaderMap>, transport: &mut Transport) -> io::Result<bool> {
        self.ended = true;
        match self.framing {
            Framing::Length(left) => return Ok(left == 0),
            Framing::UntilClose => {}
            Framing::Chunked => {
                let mut last = Vec::from(b"0\r\n");
                for (name, value) in trailers.iter().flatten() {
                    line(name.as_str(), value.as_bytes(), &mut last);
                }
                last.extend_from_slice(b"\r\n");
                transport.put(&last)?;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: Reader = Reader {
        head_only: false,
        reads_chunks: true,
    };

    fn response(status: u16, body: Body) -> Response<Body> {
        Response::builder()
            .status(status)
            .header("content-length", "9")
            .header("connection", "x")
            .body(body)
            .unwrap()
    }

    #[test]
    fn an_answer_is_framed_by_what_it_is() {
        let check = |status: u16, reader: Reader, want: Option<Framing>| {
            let got = framing(&response(status, Body::Full("abc".into())), reader);
            assert_eq!(got, want, "{status} {reader:?}");
        };
        let head_only = Reader {
            head_only: true,
            ..READER
        };
        check(200, READER, Some(Framing::Length(3)));
        check(200, head_only, None);
        check(204, READER, None);
        check(304, READER, None);
        check(101, READER, None);
    }

    #[test]
    fn a_head_says_one_length_and_nothing_of_other_hops() {
        let check = |framing: Option<Framing>, connection: &str, want: &str| {
            let got = head(&response(200, Body::Empty), framing, connection);
            assert_eq!(
                String::from_utf8(got).unwrap(),
                format!("HTTP/1.1 200 OK\r\n{want}\r\n")
            );
        };
        check(Some(Framing::Length(3)), "", "content-length: 3\r\n");
        check(Some(Framing::Chunked), "", "transfer-encoding: chunked\r\n");
        check(Some(Framing::UntilClose), "close", "connection: close\r\n");
        check(
            None,
            "keep-alive",
            "content-length: 9\r\nconnection: keep-alive\r\n",
        );
    }
}
