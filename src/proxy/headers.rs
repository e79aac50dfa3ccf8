//! A request's header as an endpoint gets it, and what is taken off an answer's.
//!
//! One pass over the client's fields: what is the connection's ends here
//! (RFC 9110 §7.6.1), what a client may not say is dropped, and ours is added
//! last, so that no field of the client's can remove or shadow it. For
//! HTTP/1.1 it is written straight into the bytes to send, for HTTP/2 into a
//! map; what goes on and what is ours is said once for both.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HeaderMap, HeaderName, HeaderValue, TE,
};
use http::request::Parts;
use http::uri::{self, Scheme};
use http::{Method, Request, Uri, Version};

use super::origin::Origin;
use crate::framing::Framing;
use crate::path::PathPrefix;

/// What of a request is not in its own header.
pub struct Outgoing<'a> {
    pub parts: &'a Parts,
    /// The path that the endpoint sees, where it is not that of `parts`.
    pub path: Option<&'a str>,
    /// The prefix that was taken off it.
    pub prefix: Option<&'a PathPrefix>,
    /// `Host` as the endpoint is to see it.
    pub host: &'a str,
    /// `Host` as the client sent it.
    pub asked: &'a str,
    pub origin: &'a Origin,
    pub request_id: &'a str,
    /// How this hostmux calls itself in `Via`.
    pub via: &'a str,
    pub framing: Framing,
    pub expects_continue: bool,
    /// `Upgrade: websocket` goes on.
    pub upgrades: bool,
}

/// The head of the request, ready for the wire.
pub fn request_head(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let Outgoing { parts, .. } = outgoing;
    let mut out = Vec::with_capacity(HEAD_BYTES);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target(outgoing).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(outgoing.host.as_bytes());
    out.extend_from_slice(b"\r\n");

    let mut cookies = 0;
    for (name, value) in clients(&parts.headers) {
        if *name == COOKIE {
            cookies += 1;
            continue;
        }
        line(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    if cookies > 0 {
        cookie_line(&mut out, &parts.headers);
    }
    framing_lines(&mut out, outgoing);
    our_lines(&mut out, outgoing);
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of the request for HTTP/2 (RFC 9113 §8.3.1); `None` if `host` or
/// the target cannot stand in one.
pub fn request_fields(outgoing: &Outgoing<'_>, scheme: Scheme) -> Option<Request<()>> {
    let Outgoing { parts, .. } = outgoing;
    let mut uri = uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(outgoing.host.parse().ok()?);
    uri.path_and_query = Some(match parts.uri.path_and_query() {
        Some(sent) if outgoing.path.is_none() && !sent.as_str().starts_with('?') => sent.clone(),
        _ => target(outgoing).parse().ok()?,
    });
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    let fields = request.headers_mut();
    fields.reserve(parts.headers.len() + OUR_LINES);
    // Cookies may stay apart here (RFC 9113 §8.2.3).
    for (name, value) in clients(&parts.headers) {
        fields.append(name, value.clone());
    }
    if let Some(length) = told_length(outgoing) {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if outgoing.expects_continue {
        fields.insert(EXPECT, HeaderValue::from_static("100-continue"));
    }
    if takes_trailers(&parts.headers) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut ours = Vec::with_capacity(HEAD_BYTES);
    our_lines(&mut ours, outgoing);
    add_lines(fields, &ours.into());
    Some(request)
}

/// Lines as fields.
fn add_lines(fields: &mut HeaderMap, lines: &Bytes) {
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let value = lines.slice_ref(line[colon + 1..].trim_ascii_start());
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_maybe_shared(value),
        ) {
            fields.insert(name, value);
        }
    }
}

/// The client's fields that go on.
fn clients(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let listed = listed(headers);
    headers.iter().filter(move |(name, _)| {
        let is_listed = listed
            .iter()
            .any(|listed| name.as_str().as_bytes().eq_ignore_ascii_case(listed));
        !is_listed && passes(name.as_str())
    })
}

/// About how many fields [`our_lines`] adds.
const OUR_LINES: usize = 12;

/// What hostmux itself says.
fn our_lines(out: &mut Vec<u8>, outgoing: &Outgoing<'_>) {
    outgoing.origin.write(outgoing.asked, out);
    if let Some(prefix) = told_prefix(outgoing.origin, outgoing.prefix) {
        line(out, b"x-forwarded-prefix", prefix.as_bytes());
    }
    line(out, b"x-request-id", outgoing.request_id.as_bytes());
    via_line(out, outgoing);
}

/// Path and query as the endpoint sees them.
fn target<'o>(outgoing: &'o Outgoing<'_>) -> Cow<'o, str> {
    let uri = &outgoing.parts.uri;
    match (outgoing.path, uri.query()) {
        (None, _) => origin_form(uri),
        (Some(path), None) => path.into(),
        (Some(path), Some(query)) => format!("{path}?{query}").into(),
    }
}

/// What was taken off the path between the client and the endpoint: what a
/// trusted proxy before us tells, then ours.
pub(super) fn told_prefix<'o>(
    origin: &'o Origin,
    stripped: Option<&'o PathPrefix>,
) -> Option<Cow<'o, str>> {
    match (&origin.prefix, stripped) {
        (None, None) => None,
        (None, Some(ours)) => Some(ours.as_str().into()),
        (Some(theirs), None) => Some(theirs.as_str().into()),
        (Some(theirs), Some(ours)) => Some(format!("{theirs}{ours}").into()),
    }
}

/// Path and query as they were sent; an absolute target may lack its path,
/// which is `/` then (RFC 9112 §3.2.1).
pub fn origin_form(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map_or("/", |target| target.as_str()) {
        query if query.starts_with('?') => format!("/{query}").into(),
        target => target.into(),
    }
}

/// Room for a common head at once.
const HEAD_BYTES: usize = 1024;

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a client's field goes on. Names with `_` collide with those with
/// `-` in CGI and WSGI, so that a client could set `X_Forwarded_For`.
fn passes(name: &str) -> bool {
    !matches!(
        name,
        "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "content-length"
            | "upgrade"
            | "http2-settings"
            | "expect"
            | "forwarded"
            | "via"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-forwarded-server"
            | "x-real-ip"
            | "x-request-id"
    ) && !name.contains('_')
}

/// What every `Connection` line names, but not what a request cannot do without.
fn listed(headers: &HeaderMap) -> Vec<&[u8]> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| {
            !token.is_empty()
                && !matches!(*token, b"close" | b"keep-alive" | b"Upgrade" | b"upgrade")
        })
        .collect()
}

/// RFC 9113 §8.2.3: cookies that HTTP/2 splits are one line to HTTP/1.1.
fn cookie_line(out: &mut Vec<u8>, headers: &HeaderMap) {
    out.extend_from_slice(b"cookie: ");
    for (n, value) in headers.get_all(COOKIE).iter().enumerate() {
        if n > 0 {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn framing_lines(out: &mut Vec<u8>, outgoing: &Outgoing<'_>) {
    match (told_length(outgoing), outgoing.framing) {
        (Some(length), _) => {
            let mut digits = [0; 20];
            line(out, b"content-length", decimal(length, &mut digits));
        }
        (None, Framing::Length(_)) => {}
        (None, Framing::Chunked | Framing::UntilClose) => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n")
        }
    }
    if outgoing.expects_continue {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    match (outgoing.upgrades, takes_trailers(&outgoing.parts.headers)) {
        (true, _) => out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n"),
        (false, true) => out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n"),
        (false, false) => {}
    }
}

/// The length that an endpoint is told.
fn told_length(outgoing: &Outgoing<'_>) -> Option<u64> {
    match outgoing.framing {
        // RFC 9110 §8.6: a method that has a body by its nature says so even when it is empty.
        Framing::Length(0) if !expects_body(&outgoing.parts.method) => None,
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    }
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, &TE, "trailers")
}

fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

/// RFC 9110 §7.6.3: our hop is added behind those before it.
fn via_line(out: &mut Vec<u8>, outgoing: &Outgoing<'_>) {
    out.extend_from_slice(b"via: ");
    for value in outgoing.parts.headers.get_all("via") {
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
    let version: &[u8] = match outgoing.parts.version {
        Version::HTTP_10 => b"1.0 ",
        Version::HTTP_2 => b"2 ",
        _ => b"1.1 ",
    };
    out.extend_from_slice(version);
    out.extend_from_slice(outgoing.via.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether a request has been here before.
pub fn has_passed(headers: &HeaderMap, via: &str) -> bool {
    headers
        .get_all("via")
        .iter()
        .any(|value| String::from_utf8_lossy(value.as_bytes()).contains(via))
}

/// Whether a request asks for a WebSocket (RFC 6455 §4.1). Over HTTP/2 these
/// fields are malformed: there only the server's bridge sets them (RFC 8441).
pub fn asks_websocket(parts: &Parts) -> bool {
    matches!(parts.version, Version::HTTP_11 | Version::HTTP_2)
        && parts.method == Method::GET
        && has_token(&parts.headers, &http::header::UPGRADE, "websocket")
        && has_token(&parts.headers, &CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Takes fields out of request trailers that may not stand there: framing,
/// routing and credentials (RFC 9110 §6.5.1).
pub fn clean_trailers(trailers: &mut HeaderMap) {
    let refused: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            !passes(name.as_str())
                || matches!(
                    name.as_str(),
                    "authorization"
                        | "cookie"
                        | "trailer"
                        | "content-type"
                        | "content-encoding"
                        | "content-range"
                )
        })
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests;
