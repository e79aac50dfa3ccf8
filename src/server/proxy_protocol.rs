//! The header a proxy before us puts in front of a connection's bytes, to say
//! who connected to it: the PROXY protocol, versions 1 and 2.
//!
//! `listen.proxy_protocol_from` lists who has to send it; from anyone else it
//! is never looked for. Only the source is read: the destination, TLVs and the
//! checksum among them are passed over.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// The most bytes of a header. Addresses need 232; the rest is for TLVs, of
/// which a client's certificate is the largest that proxies send.
pub const BYTES_MAX: usize = 4096;

/// §2.1: the longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
const LINE_BEGIN: &[u8] = b"PROXY ";
/// §2.2: it cannot be taken for the beginning of HTTP, TLS or version 1.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// §2.2: the signature, version and command, family, and the length of the rest.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length: what stands behind it is the client's.
    pub bytes: usize,
    /// Who connected to the proxy. `None`: the socket's own address holds,
    /// since the proxy speaks for itself or does not know.
    pub source: Option<SocketAddr>,
}

/// Bytes that are no header, and cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY protocol header: {0}")]
pub struct Malformed(&'static str);

/// Takes the header off a connection, and not a byte behind it; gives its source.
///
/// An error is the end of the connection: what stands there is no header, or
/// the header never became whole. Waits for as long as nothing comes. Dropping
/// the future loses what was taken until then.
pub async fn take(socket: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut received = vec![0; BYTES_MAX];
    let mut taken = 0;
    loop {
        let seen = taken + socket.peek(&mut received[taken..]).await?;
        if seen == taken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = read(&received[..seen])
            .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
        // What is no whole header yet is a part of one.
        let end = header.map_or(seen, |header| header.bytes);
        while taken < end {
            match socket.try_read(&mut received[taken..end]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.readable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(header) = header {
            return Ok(header.source);
        }
    }
}

/// Reads the header at the beginning of what was received. `None`: more has to
/// come, and something wrong is told as soon as it is there. At most
/// [`BYTES_MAX`] are asked for.
pub fn read(received: &[u8]) -> Result<Option<Header>, Malformed> {
    if begins(received, LINE_BEGIN) {
        return line(received);
    }
    if begins(received, SIGNATURE) {
        return binary(received);
    }
    Err(Malformed("it begins otherwise"))
}

/// Whether this is the mark's beginning, or begins with it.
fn begins(received: &[u8], mark: &[u8]) -> bool {
    received.iter().zip(mark).all(|(one, two)| one == two)
}

/// Version 1, §2.1: one line of text.
fn line(received: &[u8]) -> Result<Option<Header>, Malformed> {
    let most = &received[..received.len().min(LINE_BYTES_MAX)];
    let Some(end) = most.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return match most.len() < LINE_BYTES_MAX {
            true => Ok(None),
            false => Err(Malformed("the line is too long")),
        };
    };
    match most[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if most.len() < LINE_BYTES_MAX => return Ok(None),
        _ => return Err(Malformed("the line does not end with CR LF")),
    }
    // What stands behind `UNKNOWN` has no meaning, and need not be text.
    let said = most.get(LINE_BEGIN.len()..end).unwrap_or_default();
    let source = match said.strip_prefix(b"UNKNOWN") {
        Some([] | [b' ', ..]) => None,
        _ => Some(addresses(said)?),
    };
    Ok(Some(Header {
        bytes: end + 2,
        source,
    }))
}

/// `TCP4 source destination port port`, one space between each.
fn addresses(said: &[u8]) -> Result<SocketAddr, Malformed> {
    let said = std::str::from_utf8(said).map_err(|_| Malformed("the line is not text"))?;
    let words: Vec<&str> = said.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return Err(Malformed("the line has not six words"));
    };
    let address = match family {
        "TCP4" => |text: &str| text.parse::<Ipv4Addr>().map(IpAddr::from),
        "TCP6" => |text: &str| text.parse::<Ipv6Addr>().map(IpAddr::from),
        _ => return Err(Malformed("neither TCP4, TCP6 nor UNKNOWN")),
    };
    let (Ok(source), Ok(_)) = (address(source), address(destination)) else {
        return Err(Malformed("an address is not of its family"));
    };
    let (Some(port), Some(_)) = (port(source_port), port(destination_port)) else {
        return Err(Malformed("a port is not a number up to 65535"));
    };
    Ok(socket(source, port))
}

/// Decimal digits, without a sign and without a zero in front.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    (digits && !padded).then(|| text.parse().ok())?
}

/// Version 2, §2.2: fixed fields, addresses, then TLVs.
fn binary(received: &[u8]) -> Result<Option<Header>, Malformed> {
    let rest = received.get(SIGNATURE.len()..).unwrap_or_default();
    let Some(version_and_command) = rest.first() else {
        return Ok(None);
    };
    let local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("neither LOCAL nor PROXY of version 2")),
    };
    let Some(family) = rest.get(1) else {
        return Ok(None);
    };
    let address_bytes = match family >> 4 {
        // LOCAL: the family has no meaning.
        _ if local => 0,
        _ if family & 0x0f > 2 => return Err(Malformed("an unknown transport")),
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return Err(Malformed("an unknown family")),
    };
    let Some(&[high, low]) = rest.get(2..4) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < address_bytes {
        return Err(Malformed("too short for its addresses"));
    }
    let bytes = FIXED_BYTES + length;
    if bytes > BYTES_MAX {
        return Err(Malformed("too long"));
    }
    let Some(body) = received.get(FIXED_BYTES..bytes) else {
        return Ok(None);
    };
    let source = match family {
        _ if local => None,
        // INET and INET6 over a stream: source, destination, and their ports.
        0x11 => source::<4>(body, 8),
        0x21 => source::<16>(body, 32),
        // A Unix socket or datagrams: no address that means anything here.
        _ => None,
    };
    Ok(Some(Header { bytes, source }))
}

/// The address that a body begins with, and the port at a place in it.
fn source<const N: usize>(body: &[u8], port_at: usize) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let address = <[u8; N]>::try_from(body.get(..N)?).ok()?;
    let port = <[u8; 2]>::try_from(body.get(port_at..port_at + 2)?).ok()?;
    Some(socket(address.into(), u16::from_be_bytes(port)))
}

/// An IPv4 client is one in whatever form it is written, as where we accept.
fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version_and_command, family], &length[..], body].concat()
    }

    fn inet(tlvs: &[u8]) -> Vec<u8> {
        let addresses = [192, 0, 2, 7, 127, 0, 0, 1, 0xdc, 0x04, 1, 187];
        v2(0x21, 0x11, &[&addresses, tlvs].concat())
    }

    fn inet6(source: Ipv6Addr) -> Vec<u8> {
        let (source, there) = (source.octets(), Ipv6Addr::LOCALHOST.octets());
        v2(
            0x21,
            0x21,
            &[&source[..], &there, &[0xdc, 0x04, 1, 187]].concat(),
        )
    }

    /// A header is read whole, never before its last byte, and nothing behind it.
    #[track_caller]
    fn check(header: &[u8], source: Option<&str>) {
        let want = Header {
            bytes: header.len(),
            source: source.map(|text| text.parse().unwrap()),
        };
        for end in 0..header.len() {
            assert_eq!(read(&header[..end]), Ok(None), "{end} bytes of {header:?}");
        }
        for behind in ["", "GET / HTTP/1.1\r\n", "\r\n\r\n"] {
            let received = [header, behind.as_bytes()].concat();
            assert_eq!(read(&received), Ok(Some(want)), "{header:?}");
        }
    }

    /// Bytes that are wrong stay wrong, and are asked for no longer.
    #[track_caller]
    fn refused(received: &[u8]) {
        assert!(read(received).is_err(), "{received:?}");
        let more = [received, &[b' '; BYTES_MAX]].concat();
        assert!(read(&more).is_err(), "{received:?} and more");
    }

    #[test]
    fn version_1_is_read() {
        check(
            b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 443\r\n",
            Some("192.0.2.7:56324"),
        );
        check(
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Some("255.255.255.255:65535"),
        );
        check(b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0:0"));
        check(
            b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",
            Some("[2001:db8::1]:56324"),
        );
        check(
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n",
            Some("192.0.2.7:1"),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN \xff whatever\r\n", None);
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(line.len(), LINE_BYTES_MAX);
        check(line.as_bytes(), None);
    }

    #[test]
    fn version_1_is_taken_at_its_word() {
        for line in [
            "GET / HTTP/1.1\r\n\r\n",
            "proxy TCP4 192.0.2.7 127.0.0.1 1 2\r\n",
            "PROXY  TCP4 192.0.2.7 127.0.0.1 1 2\r\n",
            "PROXY TCP4  192.0.2.7 127.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1\t2\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1 2\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1\r 1 2\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 -1 2\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1 70000\r\n",
            "PROXY TCP4 192.0.2.7 127.0.0.1 1 \r\n",
            "PROXY TCP4 192.0.2.07 127.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2 127.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 localhost 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 127.0.0.1 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY TCP5 ::1 ::1 1 2\r\n",
            "PROXY tcp4 192.0.2.7 127.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 127.0.0.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "PROX TCP4",
            "\r\n\r\nPROXY UNKNOWN\r\n",
        ] {
            refused(line.as_bytes());
        }
        refused(b"PROXY TCP4 192.0.2.7\xff 127.0.0.1 1 2\r\n");
        refused(&[b"PROXY UNKNOWN ".as_slice(), &[b'a'; 93]].concat());
        refused(&[b"PROXY UNKNOWN ".as_slice(), &[b'a'; 92], b"\r\n"].concat());
    }

    #[test]
    fn version_2_is_read() {
        check(&inet(b""), Some("192.0.2.7:56324"));
        check(&inet(&[4; 300]), Some("192.0.2.7:56324"));
        check(&inet(&[4; BYTES_MAX - 28]), Some("192.0.2.7:56324"));
        check(
            &inet6("2001:db8::1".parse().unwrap()),
            Some("[2001:db8::1]:56324"),
        );
        check(
            &inet6("::ffff:192.0.2.7".parse().unwrap()),
            Some("192.0.2.7:56324"),
        );
        // LOCAL: the proxy's own health check. The rest has no meaning.
        check(&v2(0x20, 0x00, b""), None);
        check(&v2(0x20, 0x11, b""), None);
        check(&v2(0x20, 0xff, &[7; 40]), None);
        // Known, but no address that means anything here.
        check(&v2(0x21, 0x00, b""), None);
        check(&v2(0x21, 0x00, &[7; 40]), None);
        check(&v2(0x21, 0x31, &[b'/'; 216]), None);
        check(&v2(0x21, 0x12, &[7; 12]), None);
        check(&v2(0x21, 0x10, &[7; 12]), None);
    }

    #[test]
    fn version_2_is_taken_at_its_word() {
        let (v4, v6) = (&[7; 12][..], &[7; 36][..]);
        for header in [
            v2(0x11, 0x11, v4),
            v2(0x31, 0x11, v4),
            v2(0x22, 0x11, v4),
            v2(0x2f, 0x11, v4),
            v2(0x21, 0x13, v4),
            v2(0x21, 0x41, v6),
            v2(0x21, 0xf1, v6),
            v2(0x21, 0x11, &v4[1..]),
            v2(0x21, 0x12, &v4[1..]),
            v2(0x21, 0x21, &v6[1..]),
            v2(0x21, 0x31, &[7; 215]),
            inet(&[4; BYTES_MAX - 27]),
            v2(0x20, 0x00, &[4; BYTES_MAX]),
            inet(b"")[1..].to_vec(),
        ] {
            refused(&header);
        }
        // Each is known to be wrong at its first wrong byte.
        refused(b"\r\n\r\n\0\r\nQUIT\r");
        refused(b"\r\n\r\n\0\r\nQUIT\n\x11");
        refused(b"\r\n\r\n\0\r\nQUIT\n\x21\x41");
        refused(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff");
    }
}
