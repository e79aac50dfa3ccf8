//! A request's head, from a client's bytes to an endpoint's.

use bytes::BytesMut;
use hostmux::framing::Framing;
use hostmux::proxy::headers::{self, Outgoing};
use hostmux::proxy::origin::Origin;
use hostmux::proxy::strict;
use hostmux::server::h1::head::Scanner;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};

const LINES_MAX: usize = 128;
/// A request line of 16 KiB, a header of 32 KiB, and some room.
const HELD_MAX: usize = 52 * 1024;
const VIA: &str = "hostmux-fuzz";
const REQUEST_ID: &str = "0192f0c1-0000-7000-8000-000000000000";

/// Fields that are ours to say: at most once, whatever the client said.
const OURS: [&str; 10] = [
    "host",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "forwarded",
    "x-request-id",
    "via",
    "connection",
];

/// The first byte chooses how the request comes and goes; behind it stands a
/// head of HTTP/1. One that is admitted is written anew, and only so.
pub fn head(input: &[u8]) {
    let Some((first, text)) = input.split_first() else {
        return;
    };
    let Some(parts) = parts(text, first & 1 != 0) else {
        return;
    };
    let mut trailers = parts.headers.clone();
    headers::clean_trailers(&mut trailers);
    no_framing(&trailers);
    let Ok(admitted) = strict::admit(&parts) else {
        return;
    };
    let framing = match first >> 1 & 3 {
        0 => Framing::Length(0),
        1 => Framing::Length(u64::MAX),
        _ => Framing::Chunked,
    };
    let peer = [203, 0, 113, 9].into();
    let origin = Origin::of(peer, first & 8 != 0, &parts.headers, &[]);
    let out = headers::request_head(&Outgoing {
        parts: &parts,
        path: None,
        prefix: None,
        host: admitted.host,
        asked: admitted.host,
        origin: &origin,
        request_id: REQUEST_ID,
        via: VIA,
        framing,
        expects_continue: admitted.expects_continue,
        upgrades: headers::asks_websocket(&parts),
    });
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX * 2];
    let mut sent = httparse::Request::new(&mut lines);
    let read = sent.parse(&out).unwrap();
    assert_eq!(
        read,
        httparse::Status::Complete(out.len()),
        "one head, whole"
    );
    assert_eq!(sent.method, Some(parts.method.as_str()));
    let target = headers::origin_form(&parts.uri);
    assert_eq!(sent.path, Some(target.as_ref()));
    let values = |wanted: &str| -> Vec<&[u8]> {
        let lines = sent.headers.iter();
        lines
            .filter(|line| line.name.eq_ignore_ascii_case(wanted))
            .map(|line| line.value)
            .collect()
    };
    assert_eq!(values("host"), [admitted.host.as_bytes()]);
    assert_eq!(values("x-forwarded-for"), [b"203.0.113.9"]);
    assert_eq!(values("x-real-ip"), [b"203.0.113.9"]);
    assert_eq!(values("x-request-id"), [REQUEST_ID.as_bytes()]);
    for name in OURS {
        assert!(values(name).len() <= 1, "{name}");
    }
    one_framing(
        &parts,
        framing,
        &values("content-length"),
        &values("transfer-encoding"),
    );
    for line in sent.headers.iter() {
        hop(&parts, line.name, line.value);
    }
    let via = values("via")[0];
    assert!(via.ends_with(VIA.as_bytes()));
}

/// A head as it is handed on; `None` if it is refused before.
fn parts(text: &[u8], over_h2: bool) -> Option<Parts> {
    let head = Scanner::default().head(&mut BytesMut::from(text))?;
    let mut parts = head.fault.is_none().then_some(head.parts)?;
    if over_h2 {
        parts.version = Version::HTTP_2;
    }
    Some(parts)
}

/// The first byte says how long the pieces are; what they give is the same,
/// and is what another reader reads.
pub fn scanned(input: &[u8]) {
    let Some((first, input)) = input.split_first() else {
        return;
    };
    let mut received = BytesMut::from(input);
    let whole = Scanner::default().head(&mut received);
    let behind = received;
    let (mut scanner, mut received, mut pieces) = (Scanner::default(), BytesMut::new(), None);
    let mut rest = input;
    while pieces.is_none() && !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.len().min(usize::from(*first & 0x3f) + 1));
        received.extend_from_slice(piece);
        rest = more;
        pieces = scanner.head(&mut received);
        assert!(pieces.is_some() || received.len() <= HELD_MAX);
    }
    let (Some(whole), Some(pieces)) = (&whole, &pieces) else {
        assert!(whole.is_none() && pieces.is_none());
        return;
    };
    assert_eq!(format!("{:?}", whole.parts), format!("{:?}", pieces.parts));
    assert_eq!(whole.fault.is_some(), pieces.fault.is_some());
    if whole.fault.is_some() {
        return;
    }
    received.extend_from_slice(rest);
    assert_eq!(received, behind, "what stands behind the head is kept");
    as_others_read(&input[..input.len() - behind.len()], &whole.parts);
}

/// A head that we take, httparse takes, and as the same.
fn as_others_read(head: &[u8], parts: &Parts) {
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let read = match request.parse(head) {
        // It knows no later version.
        Err(httparse::Error::Version) => return,
        read => read.unwrap(),
    };
    assert_eq!(read, httparse::Status::Complete(head.len()));
    assert_eq!(request.method, Some(parts.method.as_str()));
    let path = request.path.unwrap();
    if path.starts_with('/') {
        assert_eq!(headers::origin_form(&parts.uri), path);
    }
    assert_eq!(request.headers.len(), parts.headers.len());
    for line in request.headers.iter() {
        let values = parts.headers.get_all(line.name).iter();
        let mut values = values.map(HeaderValue::as_bytes);
        assert!(values.any(|value| value == line.value), "{}", line.name);
    }
    let host = request
        .headers
        .iter()
        .filter(|line| line.name.eq_ignore_ascii_case("host"));
    assert_eq!(parts.headers.get_all("host").iter().count(), host.count());
}

/// RFC 9112 §6: a reader knows where the body ends, in one way.
fn one_framing(parts: &Parts, framing: Framing, lengths: &[&[u8]], codings: &[&[u8]]) {
    match framing {
        Framing::Length(0) if lengths.is_empty() => {
            assert!(!matches!(parts.method.as_str(), "POST" | "PUT" | "PATCH"));
        }
        Framing::Length(length) => assert_eq!(lengths, [length.to_string().as_bytes()]),
        Framing::Chunked | Framing::UntilClose => assert!(lengths.is_empty()),
    }
    match framing {
        Framing::Length(_) => assert!(codings.is_empty()),
        Framing::Chunked | Framing::UntilClose => assert_eq!(codings, [b"chunked"]),
    }
}

/// RFC 9110 §7.6.1: what belongs to the client's connection ends here.
fn hop(parts: &Parts, name: &str, value: &[u8]) {
    assert!(!name.contains('_'), "{name}");
    let gone = [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "http2-settings",
        "x-forwarded-prefix",
        "x-forwarded-server",
    ];
    assert!(!gone.contains(&name), "{name}");
    match name {
        "te" => assert_eq!(value, b"trailers"),
        "upgrade" => assert_eq!(value, b"websocket"),
        "expect" => assert_eq!(value, b"100-continue"),
        "connection" => assert!(matches!(value, b"te" | b"upgrade")),
        _ => {}
    }
    // Any name in any `Connection` line, but for what we say ourselves.
    let written = OURS.contains(&name)
        || matches!(
            name,
            "te" | "upgrade" | "expect" | "content-length" | "transfer-encoding"
        );
    let lines = parts.headers.get_all("connection").iter();
    let mut listed = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let named = listed.any(|word| word.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
    assert!(written || !named || name == "close", "{name} was listed");
}

/// Trailers frame nothing, route nothing and open nothing.
fn no_framing(trailers: &HeaderMap) {
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "authorization",
        "cookie",
        "x-forwarded-for",
        "forwarded",
        "expect",
    ] {
        assert!(!trailers.contains_key(name), "{name}");
    }
}
