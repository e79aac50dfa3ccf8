//! Who a request is from, and how endpoints are told.

use std::net::IpAddr;

use hostmux::proxy::origin::Origin;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

/// The first byte chooses who connects; lines behind it are `name: value`.
pub fn holds(input: &[u8]) {
    let Some((first, lines)) = input.split_first() else {
        return;
    };
    let trusted = trusted();
    let peer: IpAddr = match first % 3 {
        0 => [10, 0, 0, 1].into(),
        1 => [203, 0, 113, 9].into(),
        _ => "2001:db8::9".parse().unwrap(),
    };
    let secure = first & 0x80 != 0;
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let (name, value) = field(line);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    check(peer, secure, &headers, &trusted);
    check(peer, secure, &headers, &[]);
}

/// A line's field; one without a name is an `X-Forwarded-For`.
fn field(line: &[u8]) -> (HeaderName, &[u8]) {
    const CHAIN: HeaderName = HeaderName::from_static("x-forwarded-for");
    let colon = line.windows(2).position(|at| at == b": ");
    let Some((at, name)) =
        colon.and_then(|at| Some((at, HeaderName::from_bytes(&line[..at]).ok()?)))
    else {
        return (CHAIN, line);
    };
    (name, &line[at + 2..])
}

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8"]
        .map(|text| text.parse().unwrap())
        .to_vec()
}

fn check(peer: IpAddr, secure: bool, headers: &HeaderMap, trusted: &[IpNet]) {
    let believed = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let origin = Origin::of(peer, secure, headers, trusted);
    assert_eq!(origin.trusted, believed(&peer));
    if !origin.trusted {
        assert_eq!((origin.client, origin.secure), (peer, secure));
        assert_eq!((&origin.chain, &origin.host), (&None, &None));
    }
    if origin.client != peer {
        assert!(
            said(headers, origin.client),
            "{} came from nowhere",
            origin.client
        );
    }
    if let Some(chain) = &origin.chain {
        let chain: Vec<IpAddr> = chain.split(", ").map(|one| one.parse().unwrap()).collect();
        assert_eq!(chain.last(), Some(&peer));
        assert_eq!(chain.first(), Some(&origin.client));
        // Everyone behind the client is one of ours.
        assert!(chain[1..].iter().all(believed), "{chain:?}");
    }
    told(&origin);
}

/// Whether an address stands in the client's fields.
fn said(headers: &HeaderMap, address: IpAddr) -> bool {
    let values = headers.get_all("x-forwarded-for").iter();
    let mut words = values.flat_map(|value| {
        let between = |byte: &u8| matches!(byte, b',' | b' ' | b'\t' | b'[' | b']');
        value.as_bytes().split(between)
    });
    words.any(|word| {
        let word = String::from_utf8_lossy(word);
        let word = word.as_ref();
        let bare = word.rsplit_once(':').map_or(word, |(bare, _)| bare);
        word.parse() == Ok(address) || bare.parse() == Ok(address)
    })
}

/// Each field once, on one line, with nothing of the client's around it.
fn told(origin: &Origin) {
    for host in ["a.test", "a.test:8443", "[::1]:8443"] {
        let mut out = Vec::new();
        origin.write(host, &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        let lines: Vec<(&str, &str)> = text
            .split_terminator("\r\n")
            .map(|line| line.split_once(": ").unwrap())
            .collect();
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        let want = [
            "x-forwarded-for",
            "x-real-ip",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "forwarded",
        ];
        assert_eq!(names, want);
        for (name, value) in &lines {
            assert!(!value.is_empty(), "{name}");
            assert!(!value.contains(|c: char| c.is_control()), "{name}: {value}");
        }
        assert_eq!(lines[1].1.parse(), Ok(origin.client));
        assert!(lines[4].1.parse::<u16>().is_ok(), "{}", lines[4].1);
        assert!(!lines[5].1.contains(char::is_whitespace) || origin.chain.is_some());
    }
}
