//! What is refused before any endpoint is asked, for HTTP/1 and HTTP/2 alike.
//!
//! What no one could read is refused where it is read; here is refused what
//! two readers could read differently. One place, so that both protocols meet
//! the same rules.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Version};

use crate::error::ProxyError;
use crate::framing::{Framing, content_length};
use crate::host::Authority;

/// The longest request target.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// The most field lines of a request.
pub const HEADER_LINES_MAX: usize = 100;
/// The longest header of a request: names, values, and 4 bytes a line.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Transfer codings that are registered (RFC 9112 §7) but that we do not read.
const KNOWN_CODINGS: [&str; 5] = ["gzip", "x-gzip", "deflate", "compress", "x-compress"];

/// What a request that is fit to be served says of itself.
#[derive(Debug, PartialEq)]
pub struct Admitted<'a> {
    pub authority: Authority<'a>,
    /// Name and port as the client wrote them.
    pub host: &'a str,
    pub expects_continue: bool,
}

/// Judges the head of a request.
pub fn admit(parts: &Parts) -> Result<Admitted<'_>, ProxyError> {
    method(&parts.method)?;
    target(parts)?;
    size(&parts.headers)?;
    values(parts)?;
    framing(parts)?;
    let host = host(parts)?;
    let authority = Authority::parse(host).map_err(|_| ProxyError::BadHost(host.to_owned()))?;
    Ok(Admitted {
        authority,
        host,
        expects_continue: expectation(&parts.headers)? && parts.version != Version::HTTP_10,
    })
}

/// RFC 9113 §8.2.1: over HTTP/2 nothing is trimmed, so that nothing may have to be.
fn values(parts: &Parts) -> Result<(), ProxyError> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let trimmed = |value: &HeaderValue| {
        let value = value.as_bytes();
        !blank(value.first()) && !blank(value.last())
    };
    if parts.version == Version::HTTP_2 && !parts.headers.values().all(trimmed) {
        return Err(ProxyError::BadHead("white space around a header's value"));
    }
    Ok(())
}

/// CONNECT would make a tunnel of us; TRACE would show what only endpoints
/// may see (RFC 9110 §9.3.8).
fn method(method: &Method) -> Result<(), ProxyError> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(ProxyError::MethodRefused(method.to_string()));
    }
    Ok(())
}

fn target(parts: &Parts) -> Result<(), ProxyError> {
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.len() > TARGET_BYTES_MAX {
        return Err(ProxyError::TargetTooLong {
            bytes: target.len(),
            max: TARGET_BYTES_MAX,
        });
    }
    // RFC 9113 §8.3.1: a path is never empty; an absolute target of HTTP/1 may lack it.
    if target.starts_with('?') && parts.version == Version::HTTP_2 {
        return Err(ProxyError::BadTarget);
    }
    let path = parts.uri.path();
    if let Some(scheme) = parts.uri.scheme_str()
        && !scheme.eq_ignore_ascii_case("http")
        && !scheme.eq_ignore_ascii_case("https")
    {
        return Err(ProxyError::BadTarget);
    }
    // RFC 9112 §3.2: origin form, or `*` for OPTIONS alone.
    let formed = path.starts_with('/') || (path == "*" && parts.method == Method::OPTIONS);
    if !formed || path.contains('\\') || path.contains("%00") {
        return Err(ProxyError::BadTarget);
    }
    Ok(())
}

fn size(headers: &HeaderMap) -> Result<(), ProxyError> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if headers.len() > HEADER_LINES_MAX || bytes > HEADER_BYTES_MAX {
        return Err(ProxyError::HeaderTooLarge {
            lines_max: HEADER_LINES_MAX,
            bytes_max: HEADER_BYTES_MAX,
        });
    }
    Ok(())
}

/// How the body of a request is framed (RFC 9112 §6.3): a request without a
/// word about it has none. Over HTTP/2 only what its length says counts.
pub fn framing(parts: &Parts) -> Result<Framing, ProxyError> {
    let mut length = 0;
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    if let Some(first) = lengths.next() {
        length = content_length(first.as_bytes()).ok_or(ProxyError::BadLength)?;
        if lengths.any(|other| parts.version == Version::HTTP_2 || other != first) {
            return Err(ProxyError::BadLength);
        }
    }
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(Framing::Length(length));
    };
    let text = lossy(coding.as_bytes());
    if parts.headers.contains_key(CONTENT_LENGTH) {
        return Err(ProxyError::BadLength);
    }
    // RFC 9112 §6.1: a coding on HTTP/1.0 is faulty framing.
    if parts.version != Version::HTTP_11 || codings.next().is_some() {
        return Err(ProxyError::BadCoding(text.into_owned()));
    }
    if text.eq_ignore_ascii_case("chunked") {
        return Ok(Framing::Chunked);
    }
    // OWS alone: what else looks like a blank is none (RFC 9110 §5.6.3).
    let trim = |part: &'_ str| part.trim_matches([' ', '\t']).to_ascii_lowercase();
    let parts: Vec<String> = text.split(',').map(trim).collect();
    let known = |part: &String| {
        let name = part.split(';').next().unwrap_or_default();
        part == "chunked" || KNOWN_CODINGS.contains(&name.trim_end_matches([' ', '\t']))
    };
    let chunked = parts.iter().filter(|part| *part == "chunked").count();
    if chunked <= 1 && parts.iter().all(known) {
        return Err(ProxyError::UnknownCoding(text.into_owned()));
    }
    Err(ProxyError::BadCoding(text.into_owned()))
}

/// The one host of a request (RFC 9112 §3.2, RFC 9113 §8.3.1).
fn host(parts: &Parts) -> Result<&str, ProxyError> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = match fields.next() {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| ProxyError::BadHost(lossy(value.as_bytes()).into_owned()))?,
        ),
    };
    if fields.next().is_some() {
        return Err(ProxyError::HostCount);
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    match (authority, field) {
        (None, None) => Err(ProxyError::HostCount),
        // RFC 9112 §3.2: HTTP/1.1 wants the field even beside an absolute target.
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(ProxyError::HostCount),
        (Some(host), None) | (None, Some(host)) => Ok(host),
        (Some(authority), Some(field)) => {
            if authority.eq_ignore_ascii_case(field) {
                Ok(field)
            } else {
                Err(ProxyError::HostsDiffer(
                    authority.to_owned(),
                    field.to_owned(),
                ))
            }
        }
    }
}

fn expectation(headers: &HeaderMap) -> Result<bool, ProxyError> {
    let mut expected = false;
    for value in headers.get_all(EXPECT) {
        if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(ProxyError::UnknownExpectation(
                lossy(value.as_bytes()).into_owned(),
            ));
        }
        expected = true;
    }
    Ok(expected)
}

/// Whether the client waits for a 100 before it sends the body (RFC 9110
/// §10.1.1); HTTP/1.0 knows no 100.
pub fn expects_continue(parts: &Parts) -> bool {
    parts.version != Version::HTTP_10 && matches!(expectation(&parts.headers), Ok(true))
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(version: Version, method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(version: Version, method: &str, uri: &str, fields: &[(&str, &str)]) -> u16 {
        match admit(&parts(version, method, uri, fields)) {
            Ok(_) => 200,
            Err(error) => error.facts().status.as_u16(),
        }
    }

    #[test]
    fn a_request_over_http_1_names_one_host() {
        let check = |uri: &str, hosts: &[&str], want: u16| {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(
                status(Version::HTTP_11, "GET", uri, &fields),
                want,
                "{uri} {hosts:?}"
            );
        };
        check("/", &["a.com"], 200);
        check("/", &["A.com.:8443"], 200);
        check("/", &["[::1]:80"], 200);
        check("http://a.com/", &["a.com"], 200);
        check("/", &[], 400);
        check("http://a.com/", &[], 400);
        check("/", &["a.com", "a.com"], 400);
        for host in [
            "",
            "a b",
            "u@a.com",
            "a.com/x",
            "a.com,b.com",
            "a.com:x",
            "a..com",
        ] {
            check("/", &[host], 400);
        }
        check("http://a.com/", &["b.com"], 400);
        check("http://a.com/", &["a.com:80"], 400);
    }

    #[test]
    fn a_request_over_http_2_names_one_host() {
        let check = |uri: &str, hosts: &[&str], want: u16| {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(
                status(Version::HTTP_2, "GET", uri, &fields),
                want,
                "{uri} {hosts:?}"
            );
        };
        check("https://a.com/", &[], 200);
        check("https://a.com/", &["a.com"], 200);
        check("https://a.com/", &["b.com"], 400);
        check("/", &["a.com"], 200);
        check("/", &[], 400);
    }

    #[test]
    fn a_body_has_one_length() {
        let check = |version: Version, fields: &[(&str, &str)], want: u16| {
            let mut all = vec![("host", "a.com")];
            all.extend_from_slice(fields);
            assert_eq!(
                status(version, "POST", "/", &all),
                want,
                "{version:?} {fields:?}"
            );
        };
        check(Version::HTTP_11, &[("content-length", "5")], 200);
        check(Version::HTTP_11, &[("transfer-encoding", "chunked")], 200);
        check(Version::HTTP_11, &[("transfer-encoding", "Chunked")], 200);
        check(
            Version::HTTP_11,
            &[("content-length", "5"), ("content-length", "6")],
            400,
        );
        check(Version::HTTP_11, &[("content-length", "5, 5")], 400);
        check(Version::HTTP_11, &[("content-length", "+5")], 400);
        check(Version::HTTP_11, &[("content-length", "")], 400);
        check(
            Version::HTTP_2,
            &[("content-length", "5"), ("content-length", "6")],
            400,
        );
        check(
            Version::HTTP_11,
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            400,
        );
        check(
            Version::HTTP_11,
            &[("transfer-encoding", "gzip, chunked")],
            501,
        );
        check(Version::HTTP_11, &[("transfer-encoding", "gzip")], 501);
        check(Version::HTTP_11, &[("transfer-encoding", "xchunked")], 400);
        check(
            Version::HTTP_11,
            &[("transfer-encoding", "chunked, chunked")],
            400,
        );
        check(
            Version::HTTP_11,
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            400,
        );
        check(Version::HTTP_11, &[("transfer-encoding", "identity")], 400);
        check(Version::HTTP_10, &[("transfer-encoding", "chunked")], 400);
    }

    #[test]
    fn what_two_readers_read_differently_is_refused() {
        let check = |method: &str, uri: &str, fields: &[(&str, &str)], want: u16| {
            let mut all = vec![("host", "a.com")];
            all.extend_from_slice(fields);
            assert_eq!(
                status(Version::HTTP_11, method, uri, &all),
                want,
                "{method} {uri} {fields:?}"
            );
        };
        check("GET", "/a%20b?x=\\", &[], 200);
        check("GET", "/a%00b", &[], 400);
        check("OPTIONS", "*", &[], 200);
        check("GET", "*", &[], 400);
        check("TRACE", "/", &[], 405);
        check("CONNECT", "a.com:443", &[], 405);
        check("POST", "/", &[("expect", "100-Continue")], 200);
        check("POST", "/", &[("expect", "tea")], 417);
        check(
            "GET",
            &format!("/{}", "a".repeat(TARGET_BYTES_MAX)),
            &[],
            414,
        );
        check("GET", "/", &[("x", &"a".repeat(HEADER_BYTES_MAX))], 431);
        check("GET", "/", &[("x", "a"); HEADER_LINES_MAX], 431);
    }
}
