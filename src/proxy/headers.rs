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

/// What of a request is not in its own header.
pub struct Outgoing<'a> {
    pub parts: &'a Parts,
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
    out.extend_from_slice(origin_form(&parts.uri).as_bytes());
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
        Some(target) if !target.as_str().starts_with('?') => target.clone(),
        _ => origin_form(&parts.uri).parse().ok()?,
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
    line(out, b"x-request-id", outgoing.request_id.as_bytes());
    via_line(out, outgoing);
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
mod tests {
    use super::*;

    fn head(
        version: Version,
        fields: &[(&str, &str)],
        change: impl FnOnce(&mut Outgoing<'_>),
    ) -> String {
        let mut request = Request::builder()
            .version(version)
            .uri("/a?b=%2F")
            .method("GET");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let origin = Origin {
            client: [9, 9, 9, 9].into(),
            chain: None,
            secure: true,
            host: None,
            trusted: false,
        };
        let mut outgoing = Outgoing {
            parts: &parts,
            host: "a.com",
            asked: "a.com",
            origin: &origin,
            request_id: "id",
            via: "hostmux-1",
            framing: Framing::Length(0),
            expects_continue: false,
            upgrades: false,
        };
        change(&mut outgoing);
        let text = String::from_utf8(request_head(&outgoing)).unwrap();
        let ours = text.find("x-forwarded-for").unwrap();
        let end = text.find("x-request-id").unwrap();
        format!("{}{}", &text[..ours], &text[end..]).replace("\r\n", "|")
    }

    #[test]
    fn what_is_the_clients_goes_on_and_what_is_the_connections_does_not() {
        let fields = [
            ("host", "a.com"),
            ("accept", "*/*"),
            ("connection", "keep-alive, X-Hop"),
            ("connection", "X-Forwarded-For, X-Other"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-request-id", "theirs"),
            ("accept", "text/html"),
        ];
        assert_eq!(
            head(Version::HTTP_11, &fields, |_| {}),
            "GET /a?b=%2F HTTP/1.1|host: a.com|accept: */*|accept: text/html|x-request-id: id|via: 1.1 hostmux-1||",
        );
    }

    #[test]
    fn http_2_is_told_the_same_without_the_connection() {
        let parts = Request::builder()
            .uri("/a?b")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("te", "gzip, trailers")
            .header("via", "1.0 a")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let origin = Origin {
            client: "2001:db8::1".parse().unwrap(),
            chain: None,
            secure: true,
            host: None,
            trusted: false,
        };
        let outgoing = Outgoing {
            parts: &parts,
            host: "a.com:81",
            asked: "a.com:81",
            origin: &origin,
            request_id: "id",
            via: "hostmux-1",
            framing: Framing::Chunked,
            expects_continue: true,
            upgrades: false,
        };
        let request = request_fields(&outgoing, Scheme::HTTPS).unwrap();
        assert_eq!(request.uri(), "https://a.com:81/a?b");
        let mut fields: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort_unstable();
        let want = [
            "cookie: a=1",
            "cookie: b=2",
            "expect: 100-continue",
            "forwarded: for=\"[2001:db8::1]\";host=\"a.com:81\";proto=https",
            "te: trailers",
            "via: 1.0 a, 1.1 hostmux-1",
            "x-forwarded-for: 2001:db8::1",
            "x-forwarded-host: a.com:81",
            "x-forwarded-port: 81",
            "x-forwarded-proto: https",
            "x-real-ip: 2001:db8::1",
            "x-request-id: id",
        ];
        assert_eq!(fields, want);
    }

    #[test]
    fn a_loop_is_seen_behind_any_byte() {
        let check = |via: &str, want: bool| {
            let mut headers = HeaderMap::new();
            headers.append("via", via.parse().unwrap());
            assert_eq!(has_passed(&headers, "hostmux-1"), want, "{via}");
        };
        check("1.1 front, 1.1 hostmux-1", true);
        check("1.1 hostmux-2", false);
        // A client whose `Via` is no text had requests go round and round once.
        check("\u{e9}, 1.1 hostmux-1", true);
    }

    #[test]
    fn cookies_are_one_line() {
        let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")];
        let got = head(Version::HTTP_2, &fields, |_| {});
        assert!(got.contains("|x: y|cookie: a=1; b=2|"), "{got}");
        assert!(got.ends_with("via: 2 hostmux-1||"), "{got}");
    }

    #[test]
    fn a_body_is_framed_by_us() {
        let check = |framing: Framing, want: &str| {
            let fields = [("content-length", "7"), ("transfer-encoding", "chunked")];
            let got = head(Version::HTTP_11, &fields, |outgoing| {
                outgoing.framing = framing
            });
            assert!(got.contains(want), "{got}");
        };
        check(
            Framing::Length(7),
            "|host: a.com|content-length: 7|x-request-id",
        );
        check(
            Framing::Length(u64::MAX),
            "|content-length: 18446744073709551615|",
        );
        check(
            Framing::Chunked,
            "|host: a.com|transfer-encoding: chunked|x-request-id",
        );
        check(Framing::Length(0), "|host: a.com|x-request-id");
    }

    #[test]
    fn te_trailers_and_a_websocket_go_on() {
        let got = head(Version::HTTP_2, &[("te", "trailers")], |_| {});
        assert!(got.contains("|te: trailers|connection: te|"), "{got}");
        let got = head(Version::HTTP_11, &[("upgrade", "websocket")], |outgoing| {
            outgoing.upgrades = true
        });
        assert!(
            got.contains("|connection: upgrade|upgrade: websocket|"),
            "{got}"
        );
    }

    #[test]
    fn hops_before_us_are_kept() {
        let got = head(
            Version::HTTP_11,
            &[("via", "1.0 a"), ("via", "1.1 b")],
            |_| {},
        );
        assert!(got.contains("|via: 1.0 a, 1.1 b, 1.1 hostmux-1|"), "{got}");
    }

    #[test]
    fn trailers_carry_no_framing_and_no_credentials() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-sum",
            "content-length",
            "host",
            "authorization",
            "x-forwarded-for",
            "a_b",
        ] {
            trailers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                "1".parse().unwrap(),
            );
        }
        clean_trailers(&mut trailers);
        assert_eq!(
            trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-sum"]
        );
    }
}
