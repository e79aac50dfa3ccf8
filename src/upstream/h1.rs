//! HTTP/1.1 as an endpoint speaks it: an answer's head.
//!
//! Pure: bytes in, meaning out. Stricter than most clients are, because what
//! is read here is framed anew for another reader: an answer whose length can
//! be read in two ways is refused (RFC 9112 §6.3, §11.2), as is a line that
//! does not end in CRLF inside a chunked body.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version};

use crate::framing::{Framing, chunks, content_length};

/// The longest head of an answer, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most field lines of an answer.
pub const HEADER_LINES_MAX: usize = 128;

/// What an endpoint said that is not HTTP, or can be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the answer does not begin with an HTTP/1 status line and header")]
    Head,
    #[error("the answer's header is longer than 64 KiB or 128 lines")]
    HeadTooLong,
    #[error("the answer's length is given twice or is no number")]
    Length,
    #[error("the answer has a transfer coding other than chunked")]
    Coding,
    #[error("the answer's body has no end: {0}")]
    Body(#[from] chunks::Broken),
    #[error("the endpoint switched protocols without being asked")]
    Switched,
    #[error("the answer breaks a rule of HTTP/2")]
    Http2,
}

/// The head of an answer. Fields that speak of the connection are not in it.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub framing: Framing,
    /// Whether the connection may carry another exchange.
    pub keep_alive: bool,
    /// `Keep-Alive: timeout=`: how long the endpoint keeps an idle connection.
    pub keep_for: Option<Duration>,
}

/// Reads a head from the front of `received` and takes it off; `None` while it
/// is not whole.
pub fn head(received: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        received,
        &mut lines,
    );
    let head_bytes = match parsed {
        Ok(httparse::Status::Complete(bytes)) if bytes > HEAD_BYTES_MAX => {
            return Err(Malformed::HeadTooLong);
        }
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if received.len() >= HEAD_BYTES_MAX => {
            return Err(Malformed::HeadTooLong);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::HeadTooLong),
        Err(_) => return Err(Malformed::Head),
    };
    let version = match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Malformed::Head)?;

    // Places of names and values, so that the head can be cut off `received`
    // and the values be parts of it without a copy.
    let base = received.as_ptr() as usize;
    let mut spans = [Span::default(); HEADER_LINES_MAX];
    let count = response.headers.len();
    for (span, line) in spans.iter_mut().zip(response.headers.iter()) {
        let name = line.name.as_ptr() as usize - base;
        let value = line.value.as_ptr() as usize - base;
        *span = Span {
            name: (name as u32, (name + line.name.len()) as u32),
            value: (value as u32, (value + line.value.len()) as u32),
        };
    }
    let text = received.split_to(head_bytes).freeze();
    Fields::read(&text, &spans[..count])?
        .head(status, version, method)
        .map(Some)
}

/// Where a name and its value begin and end; a head is short enough for `u32`.
#[derive(Clone, Copy, Default)]
struct Span {
    name: (u32, u32),
    value: (u32, u32),
}

/// Field lines, sorted into what is the answer's and what is the connection's.
struct Fields {
    headers: HeaderMap,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    keep_for: Option<Duration>,
}

impl Fields {
    fn read(text: &Bytes, spans: &[Span]) -> Result<Self, Malformed> {
        let mut fields = Self {
            headers: HeaderMap::with_capacity(spans.len() + 4),
            length: None,
            chunked: false,
            close: false,
            keep_alive: false,
            keep_for: None,
        };
        let mut listed: Vec<HeaderName> = Vec::new();
        for span in spans {
            let name = HeaderName::from_bytes(&text[span.name.0 as usize..span.name.1 as usize])
                .map_err(|_| Malformed::Head)?;
            let value = text.slice(span.value.0 as usize..span.value.1 as usize);
            fields.line(name, value, &mut listed)?;
        }
        // RFC 9110 §7.6.1: what Connection names is the connection's too.
        for name in listed {
            if name != CONTENT_LENGTH {
                fields.headers.remove(name);
            }
        }
        Ok(fields)
    }

    fn line(
        &mut self,
        name: HeaderName,
        value: Bytes,
        listed: &mut Vec<HeaderName>,
    ) -> Result<(), Malformed> {
        if name == CONTENT_LENGTH {
            let length = content_length(&value).ok_or(Malformed::Length)?;
            if self
                .length
                .replace(length)
                .is_some_and(|other| other != length)
            {
                return Err(Malformed::Length);
            }
            self.headers
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
            return Ok(());
        }
        if name == TRANSFER_ENCODING {
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Coding);
            }
            self.chunked = true;
            return Ok(());
        }
        if name == CONNECTION {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"close") {
                    self.close = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                } else if !token.eq_ignore_ascii_case(b"upgrade")
                    && let Ok(name) = HeaderName::from_bytes(token)
                {
                    listed.push(name);
                }
            }
            return Ok(());
        }
        match name.as_str() {
            "keep-alive" => self.keep_for = keep_alive_timeout(&value),
            "proxy-connection" | "te" => {}
            _ => {
                let value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed::Head)?;
                self.headers
                    .try_append(name, value)
                    .map_err(|_| Malformed::HeadTooLong)?;
            }
        }
        Ok(())
    }

    fn head(
        mut self,
        status: StatusCode,
        version: Version,
        method: &Method,
    ) -> Result<Head, Malformed> {
        if self.chunked && (self.length.is_some() || version == Version::HTTP_10) {
            return Err(Malformed::Length);
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            self.headers.remove(UPGRADE);
        }
        // RFC 9110 §8.6: these have no length, whatever they say.
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            self.headers.remove(CONTENT_LENGTH);
        }
        let bodiless = method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let framing = if bodiless {
            Framing::Length(0)
        } else if self.chunked {
            Framing::Chunked
        } else {
            self.length.map_or(Framing::UntilClose, Framing::Length)
        };
        let keep_alive = match version {
            Version::HTTP_10 => self.keep_alive && !self.close,
            _ => !self.close,
        };
        Ok(Head {
            status,
            headers: self.headers,
            framing,
            keep_alive: keep_alive && framing != Framing::UntilClose,
            keep_for: self.keep_for,
        })
    }
}

fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    text.split(',').find_map(|part| {
        let (name, seconds) = part.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("timeout") {
            return None;
        }
        seconds.trim().parse().ok().map(Duration::from_secs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, method: &Method) -> Result<Option<Head>, Malformed> {
        head(&mut BytesMut::from(text), method)
    }

    #[test]
    fn the_end_of_a_body_is_known_in_one_way() {
        let check = |fields: &str, framing: Framing, keep_alive: bool| {
            let got = read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET)
                .unwrap()
                .unwrap();
            assert_eq!(
                (got.framing, got.keep_alive),
                (framing, keep_alive),
                "{fields:?}"
            );
        };
        check("Content-Length: 5\r\n", Framing::Length(5), true);
        check(
            "Content-Length: 5\r\ncontent-length: 5\r\n",
            Framing::Length(5),
            true,
        );
        check("Transfer-Encoding: Chunked\r\n", Framing::Chunked, true);
        check("", Framing::UntilClose, false);
        check(
            "Content-Length: 0\r\nConnection: close\r\n",
            Framing::Length(0),
            false,
        );
    }

    #[test]
    fn an_answer_that_can_be_read_in_two_ways_is_refused() {
        let check = |fields: &str, want: Malformed| {
            let got = read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET);
            assert_eq!(got.unwrap_err(), want, "{fields:?}");
        };
        check(
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            Malformed::Length,
        );
        check("Content-Length: 5, 5\r\n", Malformed::Length);
        check("Content-Length: +5\r\n", Malformed::Length);
        check("Content-Length: \r\n", Malformed::Length);
        check(
            "Content-Length: 99999999999999999999\r\n",
            Malformed::Length,
        );
        check(
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Malformed::Length,
        );
        check("Transfer-Encoding: gzip, chunked\r\n", Malformed::Coding);
        check(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Malformed::Coding,
        );
        check("X: a\0b\r\n", Malformed::Head);
        check("X : a\r\n", Malformed::Head);
        check(": a\r\n", Malformed::Head);
    }

    #[test]
    fn what_is_not_http_is_no_answer() {
        for text in [
            "hello\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "\0\0\0",
        ] {
            assert_eq!(
                read(text, &Method::GET).unwrap_err(),
                Malformed::Head,
                "{text:?}"
            );
        }
        assert!(
            read("HTTP/1.1 200 OK\r\nA: b\r\n", &Method::GET)
                .unwrap()
                .is_none()
        );
        let flood = format!(
            "HTTP/1.1 200 OK\r\n{}",
            "A: b\r\n".repeat(HEADER_LINES_MAX + 1)
        );
        assert_eq!(
            read(&flood, &Method::GET).unwrap_err(),
            Malformed::HeadTooLong
        );
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(HEAD_BYTES_MAX));
        assert_eq!(
            read(&long, &Method::GET).unwrap_err(),
            Malformed::HeadTooLong
        );
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        let check = |status: &str, method: &Method| {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
            let got = read(&text, method).unwrap().unwrap();
            assert_eq!(got.framing, Framing::Length(0), "{status} {method}");
        };
        check("200 OK", &Method::HEAD);
        check("204 No Content", &Method::GET);
        check("304 Not Modified", &Method::GET);
        check("103 Early Hints", &Method::GET);
    }

    #[test]
    fn fields_of_the_connection_end_here() {
        let text = "HTTP/1.1 200 OK\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5, max=9\r\n\
                    Proxy-Connection: x\r\nUpgrade: h2c\r\nContent-Length: 0\r\nX-End: 2\r\n\r\n";
        let got = read(text, &Method::GET).unwrap().unwrap();
        let mut names: Vec<_> = got.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-end"]);
        assert_eq!(got.keep_for, Some(Duration::from_secs(5)));
    }

    #[test]
    fn an_http_1_0_connection_ends_unless_it_says_otherwise() {
        let check = |fields: &str, keep_alive: bool| {
            let text = format!("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n{fields}\r\n");
            let got = read(&text, &Method::GET).unwrap().unwrap();
            assert_eq!(got.keep_alive, keep_alive, "{fields:?}");
        };
        check("", false);
        check("Connection: keep-alive\r\n", true);
        check("Connection: keep-alive, close\r\n", false);
    }
}
