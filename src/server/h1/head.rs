//! A request's head as it comes over HTTP/1, read strictly.
//!
//! Pure: bytes in, meaning or a fault out. What RFC 9112 lets a recipient
//! forgive (bare line feeds, folded lines, white space where none belongs) is
//! refused: each has been read in two ways by two servers.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

use crate::error::ProxyError;
use crate::proxy::strict::{HEADER_BYTES_MAX, HEADER_LINES_MAX, TARGET_BYTES_MAX};

/// The longest request line: a target, a method and a version.
const LINE_BYTES_MAX: usize = TARGET_BYTES_MAX + 256;

/// A head, and what was wrong with it: then as much of it as could be read.
#[derive(Debug)]
pub struct Head {
    pub parts: Parts,
    pub fault: Option<ProxyError>,
}

impl Head {
    /// A head of which nothing could be read.
    pub fn unread(fault: ProxyError) -> Self {
        Self {
            parts: no_parts(),
            fault: Some(fault),
        }
    }
}

/// What cannot be read is told as nothing.
fn no_parts() -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.uri = Uri::from_static("*");
    parts.method = Method::from_bytes(b"-").unwrap_or_default();
    parts
}

/// Looks for the end of a head while it comes, each byte once.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Read up to here.
    scanned: usize,
    /// Where the line begins that is being read.
    line: usize,
    lines: usize,
    /// Where the header begins, behind the request line.
    header: usize,
}

impl Scanner {
    /// Takes a head off the front of `received`; `None` while it is not whole.
    ///
    /// A head that cannot be served is given as soon as that is known. What
    /// follows it then means nothing.
    pub fn head(&mut self, received: &mut BytesMut) -> Option<Head> {
        // RFC 9112 §2.2: empty lines before a request are none of it.
        if self.scanned == 0 {
            while received.starts_with(b"\r\n") {
                let _ = received.split_to(2);
            }
            if received[..] == b"\r"[..] {
                return None;
            }
        }
        while let Some(found) = memchr::memchr(b'\n', &received[self.scanned..]) {
            let end = self.scanned + found;
            let line = &received[self.line..end];
            self.scanned = end + 1;
            let Some((b'\r', line)) = line.split_last() else {
                return Some(self.refused(received, ProxyError::BadHead("a bare line feed")));
            };
            if self.lines == 0 {
                if line.len() > LINE_BYTES_MAX {
                    return Some(self.refused(received, too_long(line.len())));
                }
                self.header = self.scanned;
            } else if line.is_empty() {
                let head = received.split_to(self.scanned).freeze();
                let read = read(&head, self.header);
                *self = Self::default();
                return Some(read);
            }
            self.line = self.scanned;
            self.lines += 1;
            if let Some(fault) = self.over_limit() {
                return Some(self.refused(received, fault));
            }
        }
        self.scanned = received.len();
        self.over_limit().map(|fault| self.refused(received, fault))
    }

    /// Whether what was read so far is too much already.
    fn over_limit(&self) -> Option<ProxyError> {
        if self.lines == 0 {
            return (self.scanned > LINE_BYTES_MAX).then(|| too_long(self.scanned));
        }
        // The request line is none of the header's, and its end is `\r\n`.
        let over = self.lines - 1 > HEADER_LINES_MAX
            || self.scanned.saturating_sub(self.header) > HEADER_BYTES_MAX + 2;
        over.then_some(ProxyError::HeaderTooLarge {
            lines_max: HEADER_LINES_MAX,
            bytes_max: HEADER_BYTES_MAX,
        })
    }

    /// The request line, if there is one, says who was refused.
    fn refused(&mut self, received: &mut BytesMut, fault: ProxyError) -> Head {
        let line = match self.header {
            0 => Bytes::new(),
            header => received.split_to(header).freeze(),
        };
        received.clear();
        *self = Self::default();
        let mut head = read(&line, line.len());
        head.fault = Some(fault);
        head
    }
}

fn too_long(bytes: usize) -> ProxyError {
    ProxyError::TargetTooLong {
        bytes,
        max: TARGET_BYTES_MAX,
    }
}

/// Reads a whole head: lines that all end in CRLF, the header from `header` on.
fn read(head: &Bytes, header: usize) -> Head {
    let mut parts = no_parts();
    let mut fault = request_line(&head.slice(..header.saturating_sub(2)), &mut parts).err();
    if fault.is_none() {
        fault = fields(head, header, &mut parts.headers).err();
    }
    Head { parts, fault }
}

/// RFC 9112 §3: method, target and version, one space between them.
fn request_line(line: &Bytes, parts: &mut Parts) -> Result<(), ProxyError> {
    const BAD: ProxyError = ProxyError::BadHead("a request line that is none");
    let first = memchr::memchr(b' ', line).ok_or(BAD)?;
    parts.method = Method::from_bytes(&line[..first]).map_err(|_| BAD)?;
    let last = memchr::memrchr(b' ', line).ok_or(BAD)?;
    let (target, version) = (first + 1..last.max(first + 1), &line[last + 1..]);
    if target.is_empty() || line[target.clone()].iter().any(|byte| is_control(*byte)) {
        return Err(BAD);
    }
    let target = line.slice(target);
    // RFC 9112 §3.2: a target has no fragment; the parser would drop it.
    let whole = memchr::memchr(b'#', &target).is_none();
    match Uri::from_maybe_shared(target) {
        Ok(uri) if whole => parts.uri = uri,
        _ => return Err(ProxyError::BadTarget),
    }
    parts.version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        // RFC 9110 §2.5: a later minor version is read as the last that is known.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Version::HTTP_11,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(ProxyError::VersionRefused(char::from(*major)));
        }
        _ => return Err(BAD),
    };
    Ok(())
}

fn is_control(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// RFC 9112 §5: `name ":" OWS value OWS`, a line each.
fn fields(head: &Bytes, mut at: usize, headers: &mut HeaderMap) -> Result<(), ProxyError> {
    headers.reserve(16);
    loop {
        // The scanner saw each line's end.
        let end = memchr::memchr(b'\n', &head[at..]).map_or(head.len(), |found| at + found);
        let line = &head[at..end.saturating_sub(1).max(at)];
        if line.is_empty() {
            return Ok(());
        }
        if matches!(line[0], b' ' | b'\t') {
            return Err(ProxyError::BadHead("a folded header line"));
        }
        let colon = memchr::memchr(b':', line)
            .ok_or(ProxyError::BadHead("a header line without a colon"))?;
        // No space may stand before the colon (RFC 9112 §5.1): it is no character of a name.
        let name = HeaderName::from_bytes(&line[..colon])
            .map_err(|_| ProxyError::BadHead("a header name that is none"))?;
        let value = trim(line, colon + 1);
        let value = head.slice(at + value.start..at + value.end);
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| ProxyError::BadHead("a control character in a header"))?;
        headers
            .try_append(name, value)
            .map_err(|_| ProxyError::HeaderTooLarge {
                lines_max: HEADER_LINES_MAX,
                bytes_max: HEADER_BYTES_MAX,
            })?;
        at = end + 1;
    }
}

/// Where the value lies, without the white space around it.
fn trim(line: &[u8], from: usize) -> std::ops::Range<usize> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = line[from..]
        .iter()
        .position(|byte| !blank(byte))
        .map_or(line.len(), |at| from + at);
    let end = line[start..]
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |at| start + at + 1);
    start..end
}

/// Whether the client would have the connection go on behind the answer (RFC 9112 §9.3).
pub fn keeps_alive(parts: &Parts) -> bool {
    let (mut close, mut keep) = (false, false);
    for value in parts.headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            close |= token.eq_ignore_ascii_case(b"close");
            keep |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    match parts.version {
        Version::HTTP_10 => keep && !close,
        _ => !close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head, fed in steps of `step` bytes; and what is left behind it.
    fn scan(text: &[u8], step: usize) -> Option<(Head, usize)> {
        let (mut scanner, mut received) = (Scanner::default(), BytesMut::new());
        let mut fed = 0;
        for piece in text.chunks(step) {
            received.extend_from_slice(piece);
            fed += piece.len();
            if let Some(head) = scanner.head(&mut received) {
                return Some((head, received.len() + text.len() - fed));
            }
        }
        None
    }

    fn fault(text: &str) -> u16 {
        let (head, _) = scan(text.as_bytes(), 7).expect("a head, or a fault");
        head.fault
            .map_or(200, |fault| fault.facts().status.as_u16())
    }

    #[test]
    fn a_head_is_read_however_it_comes() {
        let text = b"\r\n\r\nGET /a?b HTTP/1.1\r\nHost: a.com\r\nX:\t 1 2 \r\nx: 3\r\n\r\nrest";
        for step in [1, 2, 3, 10, 100] {
            let (head, left) = scan(text, step).unwrap();
            assert!(head.fault.is_none(), "{step}");
            assert_eq!((head.parts.method, left), (Method::GET, 4), "{step}");
            assert_eq!(head.parts.uri, "/a?b");
            let values: Vec<_> = head.parts.headers.get_all("x").iter().collect();
            assert_eq!(values, ["1 2", "3"]);
        }
        assert!(scan(b"GET / HTTP/1.1\r\nHost: a.com\r\n", 3).is_none());
    }

    #[test]
    fn what_two_servers_would_read_in_two_ways_is_refused() {
        for line in [
            "GET / HTTP/1.1\n",
            " GET / HTTP/1.1\r\n",
            "GET  / HTTP/1.1\r\n",
            "GET /\tHTTP/1.1\r\n",
            "GET / HTTP/1.1 \r\n",
            "GET /\r\n",
            "GET\r\n",
            "G\u{e4}T / HTTP/1.1\r\n",
            "GET /a\u{7f} HTTP/1.1\r\n",
            "GET /a\rb HTTP/1.1\r\n",
            "GET /a\0b HTTP/1.1\r\n",
            "GET /#a HTTP/1.1\r\n",
            "GET / http/1.1\r\n",
            "GET / HTTP/1.10\r\n",
        ] {
            assert_eq!(fault(&format!("{line}\r\n")), 400, "{line:?}");
        }
        for line in [
            "X : a",
            "X a",
            ": a",
            " X: a",
            "X: a\r\n b",
            "X: a\rb",
            "X: a\0",
            "X: a\nY: b",
            "X\u{e4}: a",
            "(X): a",
        ] {
            let text = format!("GET / HTTP/1.1\r\n{line}\r\n\r\n");
            assert_eq!(fault(&text), 400, "{line:?}");
        }
    }

    #[test]
    fn versions_are_told_apart() {
        let check = |version: &str, want: u16| {
            assert_eq!(
                fault(&format!("GET / {version}\r\n\r\n")),
                want,
                "{version}"
            );
        };
        check("HTTP/1.0", 200);
        check("HTTP/1.9", 200);
        check("HTTP/2.0", 505);
        check("HTTP/0.9", 505);
    }

    #[test]
    fn a_head_is_bounded_while_it_comes() {
        let check = |text: &str, want: u16| assert_eq!(fault(text), want, "{:.40}", text);
        let a = |count: usize| "a".repeat(count);
        check(&format!("GET /{}", a(LINE_BYTES_MAX)), 414);
        check(
            &format!("GET / HTTP/1.1\r\nX: {}", a(HEADER_BYTES_MAX)),
            431,
        );
        let lines = "A: b\r\n".repeat(HEADER_LINES_MAX);
        check(&format!("GET / HTTP/1.1\r\n{lines}\r\n"), 200);
        check(&format!("GET / HTTP/1.1\r\n{lines}A: b\r\n"), 431);
        check(
            &format!("GET /{} HTTP/1.1\r\n\r\n", a(TARGET_BYTES_MAX - 1)),
            200,
        );
    }

    #[test]
    fn a_refused_head_says_what_was_asked() {
        let text = b"POST /x HTTP/1.1\r\nX : a\r\n\r\n";
        let (head, _) = scan(text, 100).unwrap();
        assert_eq!(
            (head.parts.method, head.parts.uri.path()),
            (Method::POST, "/x")
        );
        let (head, _) = scan(b"nonsense\n", 100).unwrap();
        assert_eq!(head.parts.uri, "*");
    }

    #[test]
    fn connections_go_on_as_their_version_has_it() {
        let check = |version: &str, connection: &str, want: bool| {
            let text = format!("GET / {version}\r\nConnection: {connection}\r\n\r\n");
            let (head, _) = scan(text.as_bytes(), 100).unwrap();
            assert_eq!(keeps_alive(&head.parts), want, "{version} {connection}");
        };
        check("HTTP/1.1", "x", true);
        check("HTTP/1.1", "x, Close", false);
        check("HTTP/1.0", "x", false);
        check("HTTP/1.0", "Keep-Alive", true);
        check("HTTP/1.0", "keep-alive, close", false);
    }
}
