//! A request's head, from a client's bytes to an endpoint's.

use hostmux::framing::Framing;
use hostmux::proxy::headers::{self, Outgoing};
use hostmux::proxy::origin::Origin;
use hostmux::proxy::strict;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};

const LINES_MAX: usize = 128;
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

/// A head as a server of HTTP/1 would hand it on; `None` if it is none.
fn parts(text: &[u8], over_h2: bool) -> Option<Parts> {
    let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    if !request.parse(text).ok()?.is_complete() {
        return None;
    }
    let version = match (over_h2, request.version?) {
        (true, _) => Version::HTTP_2,
        (false, 0) => Version::HTTP_10,
        (false, _) => Version::HTTP_11,
    };
    let mut parts = Request::builder()
        .method(request.method?)
        .uri(request.path?)
        .version(version)
        .body(())
        .ok()?
        .into_parts()
        .0;
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(line.value).ok()?;
        parts.headers.append(name, value);
    }
    Some(parts)
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
