//! What a port speaks: asked once, with a bounded GET.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How many ports are asked at once.
const AT_ONCE: usize = 32;
/// How long a connection may take: they are of this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer may take to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// What is read of an answer: enough to tell what it is.
const ANSWER_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    /// HTTP/2 alone, without TLS.
    H2c,
    Tls,
    /// A hostmux, of another user or another name: a site would lead to itself.
    Hostmux,
    /// It took the question and did not answer in time.
    Silent,
    Other,
    /// Nobody took the connection.
    Nothing,
}

/// What each of these addresses speaks, in their order.
pub(super) fn all(addresses: &[SocketAddr]) -> Vec<Speaks> {
    let mut spoken = Vec::with_capacity(addresses.len());
    for some in addresses.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|address| scope.spawn(move || one(*address)))
                .collect();
            let answers = asked.into_iter().map(std::thread::ScopedJoinHandle::join);
            spoken.extend(answers.map(|answer| answer.unwrap_or(Speaks::Nothing)));
        });
    }
    spoken
}

/// What came back, and why no more was read.
struct Answer {
    bytes: Vec<u8>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Enough,
    Closed,
    Time,
}

fn one(address: SocketAddr) -> Speaks {
    ask(address).map_or(Speaks::Nothing, |answer| told(&answer))
}

/// Asks, if there is anyone to be asked.
fn ask(address: SocketAddr) -> Option<Answer> {
    let port = address.port();
    let ip = address.ip().to_canonical();
    let (v4, v6) = (
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    );
    let near: &[IpAddr] = match (ip.is_unspecified(), ip.is_ipv4()) {
        (false, _) => &[ip],
        (true, true) => &[v4],
        // On both families, unless it says otherwise.
        (true, false) => &[v6, v4],
    };
    let mut connected = near.iter().filter_map(|ip| {
        TcpStream::connect_timeout(&SocketAddr::new(*ip, port), CONNECT_TIMEOUT).ok()
    });
    let mut stream = connected.next()?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).ok()?;
    let question = format!(
        "GET / HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: hostmux-init\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    // Who does not take it may have said why before.
    let _ = stream.write_all(question.as_bytes());
    Some(read(stream, Instant::now() + ANSWER_TIMEOUT))
}

/// Reads until it is clear what it is; `until` at the latest.
fn read(mut stream: TcpStream, until: Instant) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; ANSWER_BYTES_MAX];
    let end = loop {
        if is_enough(&bytes) {
            break End::Enough;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break End::Time;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break End::Closed,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(error.kind()) => break End::Time,
            Err(_) => break End::Closed,
        }
    };
    Answer { bytes, end }
}

/// As a socket says it whose time is over: in either word.
fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A whole head; with a 400 what is said below it, which may speak of TLS.
fn is_enough(bytes: &[u8]) -> bool {
    if bytes.len() >= ANSWER_BYTES_MAX {
        return true;
    }
    if !b"HTTP/1.".iter().zip(bytes).all(|(want, is)| want == is) {
        // The head of a frame of HTTP/2, or of a TLS record and what is in it.
        return bytes.len() >= 9;
    }
    is_status(bytes).is_some_and(|status| status != b"400") && has(bytes, b"\r\n\r\n")
}

/// The status of an HTTP/1 response, `HTTP/1.1 200` (RFC 9112 §4).
fn is_status(bytes: &[u8]) -> Option<&[u8]> {
    let status = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    status.iter().all(u8::is_ascii_digit).then_some(status)
}

fn has(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

/// What servers that want TLS say to a request without: Go, nginx, Apache, Tomcat.
const TLS_WANTED: [&[u8]; 4] = [
    b"HTTP request to an HTTPS server",
    b"plain HTTP request was sent to HTTPS port",
    b"plain HTTP to an SSL-enabled",
    b"requires TLS",
];

/// What stands in answers that a hostmux makes itself, as to names it has no
/// site for (RFC 9209 §2).
const HOSTMUX: &[u8] = b"\r\nproxy-status: hostmux;";

fn told(answer: &Answer) -> Speaks {
    let bytes = answer.bytes.as_slice();
    match (is_status(bytes), bytes) {
        (Some(b"400"), _) if TLS_WANTED.iter().any(|words| has(bytes, words)) => Speaks::Tls,
        (Some(_), _) if has(bytes, HOSTMUX) => Speaks::Hostmux,
        (Some(_), _) => Speaks::Http,
        // A TLS alert (RFC 8446 §6), whose version begins with 3.
        (None, [0x15, 3, ..]) => Speaks::Tls,
        // A SETTINGS frame of stream 0, which a server begins with (RFC 9113 §3.4).
        (None, [0, _, length, 4, 0, 0, 0, 0, 0, ..]) if length % 6 == 0 => Speaks::H2c,
        (None, []) if answer.end == End::Time => Speaks::Silent,
        (None, _) => Speaks::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_tells() {
        let check = |bytes: &[u8], end: End, want: Speaks| {
            let answer = Answer {
                bytes: bytes.to_vec(),
                end,
            };
            assert_eq!(told(&answer), want, "{}", String::from_utf8_lossy(bytes));
        };
        check(b"HTTP/1.1 404 Not Found\r\n", End::Enough, Speaks::Http);
        check(b"HTTP/1.0 200", End::Closed, Speaks::Http);
        // It became a site that led to itself: another user's has no name.
        check(
            b"HTTP/1.1 404 Not Found\r\nproxy-status: hostmux; error=destination_not_found\r\n\r\n",
            End::Enough,
            Speaks::Hostmux,
        );
        check(
            b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            End::Closed,
            Speaks::Tls,
        );
        check(
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            End::Closed,
            Speaks::Http,
        );
        check(b"\x15\x03\x01\x00\x02\x02\x46", End::Closed, Speaks::Tls);
        check(b"\0\0\x06\x04\0\0\0\0\0\0\x05", End::Enough, Speaks::H2c);
        check(b"\0\0\0\x04\0\0\0\0\0", End::Enough, Speaks::H2c);
        check(b"", End::Time, Speaks::Silent);
        check(b"", End::Closed, Speaks::Other);
        check(
            b"-ERR unknown command 'GET'\r\n",
            End::Enough,
            Speaks::Other,
        );
        check(b"HTTP/2 200", End::Enough, Speaks::Other);
    }

    #[test]
    fn no_more_is_read_than_tells_it() {
        let check = |bytes: &[u8], want: bool| assert_eq!(is_enough(bytes), want);
        check(b"", false);
        check(b"HTTP/1.1 20", false);
        check(b"HTTP/1.1 200 OK\r\n", false);
        check(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhel", true);
        check(b"HTTP/1.1 400 Bad Request\r\n\r\n", false);
        check(&[b'H'; ANSWER_BYTES_MAX], true);
        check(b"SSH-2.0-x\r\n", true);
    }
}
