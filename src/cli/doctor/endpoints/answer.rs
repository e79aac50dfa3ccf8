//! What came back on a connection, before anything is made of it.

/// An answer, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// What the first bytes of a server are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// It closed without any.
    None,
    Http1(Answer),
    /// A frame that only HTTP/2 begins with (RFC 9113 §3.4).
    Http2,
    /// An alert or a handshake (RFC 8446 §5.1), or a server of HTTP that says
    /// that it was asked without TLS.
    Tls,
    Foreign,
}

/// What servers say over HTTP of a request that came without TLS.
const ASKED_WITHOUT_TLS: [&str; 3] = [
    // nginx
    "plain HTTP request was sent to HTTPS port",
    // Go
    "Client sent an HTTP request to an HTTPS server",
    // Apache
    "speaking plain HTTP to an SSL-enabled server port",
];

/// Judges all that was read of a connection.
pub fn read(bytes: &[u8]) -> Bytes {
    match bytes {
        [] => Bytes::None,
        // An alert (21) or a handshake (22), of any version 3.x.
        [21 | 22, 3, ..] => Bytes::Tls,
        // Length, then SETTINGS (4) without flags, on stream 0.
        [_, _, _, 4, 0, 0, 0, 0, 0, ..] => Bytes::Http2,
        _ => match answer(bytes) {
            Some(answer) if says_that_tls_is_wanted(&answer) => Bytes::Tls,
            Some(answer) => Bytes::Http1(answer),
            None => Bytes::Foreign,
        },
    }
}

/// Whether an answer has come whole, so that nothing more is waited for.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = end_of_head(bytes) else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let length = field(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    match length {
        Some(length) => bytes.len() >= end.saturating_add(length),
        None => bytes.ends_with(b"\r\n0\r\n\r\n"),
    }
}

fn answer(bytes: &[u8]) -> Option<Answer> {
    if !bytes.starts_with(b"HTTP/1.") {
        return None;
    }
    let end = end_of_head(bytes).unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    let mut body = bytes[end..].to_vec();
    if field(&head, "transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        body = unchunked(&body);
    }
    Some(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
        head,
    })
}

fn says_that_tls_is_wanted(answer: &Answer) -> bool {
    let says = |words: &&str| answer.body.contains(*words);
    answer.status == 400 && ASKED_WITHOUT_TLS.iter().any(says)
}

/// Behind the empty line, where the head has come whole.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The data of chunks (RFC 9112 §7.1), as far as they are well formed.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).unwrap_or_default();
        let size = size.split(';').next().unwrap_or_default().trim();
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else {
            break;
        };
        rest = &rest[line + 2..];
        data.extend_from_slice(&rest[..size.min(rest.len())]);
        rest = rest.get(size.saturating_add(2)..).unwrap_or_default();
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_a_protocol() {
        assert_eq!(read(b""), Bytes::None);
        assert_eq!(read(b"\x15\x03\x01\x00\x02\x02\x46"), Bytes::Tls);
        assert_eq!(read(b"\0\0\0\x04\0\0\0\0\0"), Bytes::Http2);
        assert_eq!(read(b"SSH-2.0-OpenSSH_9.2\r\n"), Bytes::Foreign);
        assert_eq!(read(b"HTTP/1.1 nonsense\r\n\r\n"), Bytes::Foreign);
        for text in ASKED_WITHOUT_TLS {
            let said = format!("HTTP/1.1 400 Bad Request\r\n\r\n<p>The {text}</p>");
            assert_eq!(read(said.as_bytes()), Bytes::Tls);
        }
    }

    #[test]
    fn an_answer_is_read_as_far_as_it_came() {
        let check = |bytes: &str, status: u16, body: &str, whole: bool| {
            let Bytes::Http1(answer) = read(bytes.as_bytes()) else {
                panic!("{bytes}");
            };
            assert_eq!((answer.status, answer.body.as_str()), (status, body));
            assert_eq!(is_whole(bytes.as_bytes()), whole, "{bytes}");
        };
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            200,
            "hi",
            true,
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
            200,
            "hi",
            false,
        );
        check("HTTP/1.0 404 No\r\n\r\ngone", 404, "gone", false);
        check("HTTP/1.1 204\r\n", 204, "", false);
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x\r\n yo\r\n0\r\n\r\n";
        check(chunks, 200, "hi yo", true);
        check(&chunks[..chunks.len() - 8], 200, "hi y", false);
    }

    #[test]
    fn chunks_that_are_none_end_the_data() {
        for bytes in [
            "zz\r\nhi",
            "ffffffffffffffff\r\nhi",
            "2\r\nhi",
            "-1\r\nhi",
            "",
        ] {
            assert!(unchunked(bytes.as_bytes()).len() <= 2, "{bytes}");
        }
    }
}
