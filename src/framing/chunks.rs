//! Chunked bodies (RFC 9112 §7.1), taken apart as they are received.
//!
//! Strict: a line ends in CRLF, a size is hexadecimal digits alone, and what
//! frames a message or speaks of its connection is no trailer.

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};

/// The longest line that opens a chunk, with its extensions.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// The longest trailer section.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// The most lines of a trailer section.
const TRAILER_LINES_MAX: usize = 128;

/// A body whose end cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("the chunked coding is broken")]
    Chunk,
    #[error("the trailer section is broken or longer than 16 KiB")]
    Trailer,
}

/// Reads a chunked body (RFC 9112 §7.1).
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    #[default]
    Line,
    Data(u64),
    DataEnd,
    Trailer,
    Ended,
}

/// What a look at the received bytes gave.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More must be received first.
    Wanting,
}

impl Chunks {
    /// Takes the next piece off the front of `received`.
    pub fn next(&mut self, received: &mut BytesMut) -> Result<Piece, Broken> {
        loop {
            match self.state {
                State::Line => {
                    let Some(line) = take_line(received, CHUNK_LINE_BYTES_MAX)? else {
                        return Ok(Piece::Wanting);
                    };
                    self.state = match chunk_size(&line)? {
                        0 => State::Trailer,
                        size => State::Data(size),
                    };
                }
                State::Data(left) => {
                    if received.is_empty() {
                        return Ok(Piece::Wanting);
                    }
                    let bytes = received
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.state = match left - bytes as u64 {
                        0 => State::DataEnd,
                        left => State::Data(left),
                    };
                    return Ok(Piece::Data(received.split_to(bytes).freeze()));
                }
                State::DataEnd => {
                    if received.len() < 2 {
                        return Ok(Piece::Wanting);
                    }
                    if received.split_to(2) != b"\r\n"[..] {
                        return Err(Broken::Chunk);
                    }
                    self.state = State::Line;
                }
                State::Trailer => {
                    let Some(trailers) = take_trailers(received)? else {
                        return Ok(Piece::Wanting);
                    };
                    self.state = State::Ended;
                    if !trailers.is_empty() {
                        return Ok(Piece::Trailers(trailers));
                    }
                }
                State::Ended => return Ok(Piece::End),
            }
        }
    }

    /// Whether the last chunk and the trailers were read.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }
}

fn take_line(received: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, Broken> {
    match received.iter().position(|byte| *byte == b'\n') {
        Some(end) if end >= bytes_max => Err(Broken::Chunk),
        Some(end) => {
            let line = received.split_to(end + 1);
            match line.strip_suffix(b"\r\n") {
                Some(_) => Ok(Some(line)),
                None => Err(Broken::Chunk),
            }
        }
        None if received.len() >= bytes_max => Err(Broken::Chunk),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Broken> {
    let line = line.strip_suffix(b"\r\n").ok_or(Broken::Chunk)?;
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (size, rest) = line.split_at(digits);
    // Extensions are dropped, but must look like some: nothing hides behind a size.
    // BWS (RFC 9110 §5.6.3) stands before an extension only, and is no other blank.
    let blanks = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let extension = match rest.get(blanks) {
        Some(b';') => &rest[blanks..],
        _ => rest,
    };
    if !(1..=15).contains(&digits) || !is_extension(extension) {
        return Err(Broken::Chunk);
    }
    let size = std::str::from_utf8(size).map_err(|_| Broken::Chunk)?;
    u64::from_str_radix(size, 16).map_err(|_| Broken::Chunk)
}

/// Nothing, or something behind a `;` without control characters whose quoted
/// strings end (RFC 9112 §7.1.1).
fn is_extension(text: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if !matches!(byte, b'\t' | 0x20..=0x7e | 0x80..) {
            return false;
        }
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
    }
    !quoted && (text.is_empty() || text[0] == b';')
}

/// Fields that frame a message or speak of its connection: none may stand in
/// trailers (RFC 9110 §6.5.1).
pub fn is_of_the_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == CONTENT_LENGTH
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "te" | "trailer"
        )
}

fn take_trailers(received: &mut BytesMut) -> Result<Option<HeaderMap>, Broken> {
    let mut lines = [httparse::EMPTY_HEADER; TRAILER_LINES_MAX];
    let (bytes, lines) = match httparse::parse_headers(received, &mut lines) {
        Ok(httparse::Status::Complete(found)) => found,
        Ok(httparse::Status::Partial) if received.len() < TRAILER_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Broken::Trailer),
    };
    if bytes > TRAILER_BYTES_MAX || has_bare_line_feed(&received[..bytes]) {
        return Err(Broken::Trailer);
    }
    let mut trailers = HeaderMap::new();
    for line in lines.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Broken::Trailer)?;
        if is_of_the_connection(&name) {
            continue;
        }
        let value = HeaderValue::from_bytes(line.value).map_err(|_| Broken::Trailer)?;
        trailers
            .try_append(name, value)
            .map_err(|_| Broken::Trailer)?;
    }
    let _ = received.split_to(bytes);
    Ok(Some(trailers))
}

/// The library under us lets one end a line (RFC 9112 §2.2).
fn has_bare_line_feed(lines: &[u8]) -> bool {
    lines
        .split_inclusive(|byte| *byte == b'\n')
        .any(|line| !line.ends_with(b"\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every piece, fed in steps of `step` bytes.
    fn chunks(text: &str, step: usize) -> Result<(String, Option<HeaderMap>, usize), Broken> {
        let (mut chunks, mut received) = (Chunks::default(), BytesMut::new());
        let (mut data, mut trailers, mut fed) = (String::new(), None, 0);
        loop {
            match chunks.next(&mut received)? {
                Piece::Data(bytes) => data.push_str(std::str::from_utf8(&bytes).unwrap()),
                Piece::Trailers(map) => trailers = Some(map),
                Piece::End => return Ok((data, trailers, text.len() - fed + received.len())),
                Piece::Wanting => {
                    assert!(fed < text.len(), "wants more than {text:?}");
                    let next = text.len().min(fed + step);
                    received.extend_from_slice(&text.as_bytes()[fed..next]);
                    fed = next;
                }
            }
        }
    }

    #[test]
    fn chunks_are_read_however_they_come() {
        for step in [1, 2, 3, 7, 100] {
            let check = |text: &str, want: &str, left: usize| {
                let (data, _, rest) = chunks(text, step).unwrap();
                assert_eq!((data.as_str(), rest), (want, left), "{text:?} by {step}");
            };
            check("0\r\n\r\n", "", 0);
            check(
                "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
                "hello world",
                0,
            );
            check("00005 ; x\r\nhello\r\n0\r\n\r\nHTTP", "hello", 4);
            let (_, trailers, _) = chunks("1\r\na\r\n0\r\nX-Sum: 9\r\n\r\n", step).unwrap();
            assert_eq!(trailers.unwrap()["x-sum"], "9");
        }
    }

    #[test]
    fn broken_chunks_are_told_from_whole_ones() {
        let check = |text: &str, want: Broken| {
            for step in [1, 100] {
                assert_eq!(chunks(text, step).unwrap_err(), want, "{text:?} by {step}");
            }
        };
        check("\r\n", Broken::Chunk);
        check("x\r\n", Broken::Chunk);
        check("-1\r\n", Broken::Chunk);
        check("0x5\r\nhello\r\n", Broken::Chunk);
        check("5\nhello\r\n", Broken::Chunk);
        check("5\r\nhelloXX0\r\n\r\n", Broken::Chunk);
        check("5 5\r\nhello\r\n", Broken::Chunk);
        check("5\rhello\r\n", Broken::Chunk);
        check("5;\0\r\nhello\r\n", Broken::Chunk);
        check("5 \r\nhello\r\n", Broken::Chunk);
        check("5\r\r\nhello\r\n", Broken::Chunk);
        check("5;x=\"\r\nhello\r\n", Broken::Chunk);
        check("5;x=\"\\\"\r\nhello\r\n", Broken::Chunk);
        check("1000000000000000\r\n", Broken::Chunk);
        check("0\r\nno colon\r\n\r\n", Broken::Trailer);
        check("0\r\nx: y\nz: a\r\n\r\n", Broken::Trailer);
        check(
            &format!("5;{}\r\n", "a".repeat(CHUNK_LINE_BYTES_MAX)),
            Broken::Chunk,
        );
    }
}
