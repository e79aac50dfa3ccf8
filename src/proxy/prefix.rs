//! `strip_prefix`: an endpoint that does not see its route's prefix does not
//! know it. Where its answer names a path of its own, the prefix is put back.
//!
//! In `Location`, `Content-Location` and `Refresh`: before a path (`/login`),
//! in a URL too if its host is the one that was asked for. In `Set-Cookie`:
//! before what `Path` says. An endpoint that goes by `X-Forwarded-Prefix` has
//! put it there itself, and it stays as it is; so do relative references,
//! other hosts and cookies that must have `Path=/` (`__Host-`, RFC 6265bis
//! §4.1.3.2). No other byte is changed. Bodies are not read: an endpoint whose
//! pages name paths from `/` on has to be told of the prefix.

use std::borrow::Cow;

use http::header::{
    CONTENT_LOCATION, Entry, HeaderMap, HeaderName, HeaderValue, LOCATION, REFRESH, SET_COOKIE,
};

use super::forward::Request;
use super::headers;
use crate::host::Authority;
use crate::site::Route;

/// What was taken off a request's path, and where it was asked for.
pub(super) struct Stripped<'a> {
    prefix: &'a str,
    /// With what proxies before us took off.
    whole: Cow<'a, str>,
    /// The hosts that the client may have asked for, with their ports.
    hosts: [Option<&'a str>; 2],
}

impl<'a> Stripped<'a> {
    pub(super) fn of(route: &'a Route, request: &'a Request<'_>) -> Self {
        let prefix = route.prefix.as_str();
        let whole = headers::told_prefix(request.origin, Some(&route.prefix));
        Self {
            prefix,
            whole: whole.unwrap_or_else(|| prefix.into()),
            hosts: [Some(request.admitted.host), request.origin.host.as_deref()],
        }
    }

    /// Puts it before the paths that an answer names.
    pub(super) fn put_back(&self, headers: &mut HeaderMap) {
        change(headers, LOCATION, |value| self.reference(value));
        change(headers, CONTENT_LOCATION, |value| self.reference(value));
        change(headers, REFRESH, |value| self.refresh(value));
        change(headers, SET_COOKIE, |value| self.cookie(value));
    }

    /// RFC 9110 §10.2.2: a URI reference (RFC 3986 §4.1). `None`: it stays.
    fn reference(&self, value: &[u8]) -> Option<Vec<u8>> {
        let at = self.lacks_at(value)?;
        Some([&value[..at], self.prefix.as_bytes(), &value[at..]].concat())
    }

    /// `5; url=/login`, as browsers read it; the URL may be quoted.
    fn refresh(&self, value: &[u8]) -> Option<Vec<u8>> {
        let end = |at: usize, skip: &[u8]| {
            let rest = value.get(at..)?;
            let blank = rest.iter().take_while(|byte| skip.contains(byte));
            Some(at + blank.count())
        };
        let mut at = value.iter().position(|byte| matches!(byte, b';' | b','))?;
        at = end(at, b";, \t")?;
        if value.get(at..at + 3)?.eq_ignore_ascii_case(b"url") {
            at = end(at + 3, b" \t")?;
            if value.get(at) != Some(&b'=') {
                return None;
            }
            at = end(at + 1, b" \t")?;
        }
        if matches!(value.get(at), Some(b'"' | b'\'')) {
            at += 1;
        }
        let changed = self.reference(value.get(at..)?)?;
        Some([&value[..at], &changed].concat())
    }

    /// RFC 6265 §5.2.4: a `Path` that does not begin with `/` counts for nothing.
    fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut parts = value.split(|byte| *byte == b';');
        let pair = parts.next()?;
        let is_bound_to_root = pair
            .trim_ascii_start()
            .get(.."__Host-".len())
            .is_some_and(|name| name.eq_ignore_ascii_case(b"__Host-"));
        if is_bound_to_root {
            return None;
        }
        let mut changed = false;
        let mut out = pair.to_vec();
        for part in parts {
            out.push(b';');
            let path = part
                .iter()
                .position(|byte| *byte == b'=')
                .filter(|equals| part[..*equals].trim_ascii().eq_ignore_ascii_case(b"path"))
                .map(|equals| part[equals + 1..].trim_ascii());
            match path {
                Some(path) if path.starts_with(b"/") && !self.is_before(path) => {
                    changed = true;
                    out.extend_from_slice(b" Path=");
                    out.extend_from_slice(self.prefix.as_bytes());
                    // `/prefix/` would not hold `/prefix` itself (RFC 6265 §5.1.4).
                    out.extend_from_slice(if path == b"/" { b"" } else { path });
                }
                Some(_) | None => out.extend_from_slice(part),
            }
        }
        changed.then_some(out)
    }

    /// Where a reference lacks the prefix.
    fn lacks_at(&self, reference: &[u8]) -> Option<usize> {
        let lower = reference
            .get(..reference.len().min("https://".len()))?
            .to_ascii_lowercase();
        let host_at = match &*lower {
            [b'/', b'/', ..] => Some(2),
            // To browsers a host, as `//`.
            [b'/', b'\\', ..] => return None,
            [b'/', ..] => None,
            _ if lower.starts_with(b"http://") => Some("http://".len()),
            _ if lower.starts_with(b"https://") => Some("https://".len()),
            _ => return None,
        };
        let path_at = match host_at {
            None => 0,
            Some(at) => {
                let rest = &reference[at..];
                let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b'\\');
                let end = rest.iter().position(ends).unwrap_or(rest.len());
                let host = std::str::from_utf8(&rest[..end]).ok()?;
                let own = self
                    .hosts
                    .iter()
                    .flatten()
                    .any(|asked| is_same(host, asked));
                own.then_some(at + end)?
            }
        };
        (!self.is_before(&reference[path_at..])).then_some(path_at)
    }

    /// Whether a path begins with the prefix already.
    fn is_before(&self, path: &[u8]) -> bool {
        [self.prefix, &self.whole].iter().any(|prefix| {
            path.strip_prefix(prefix.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/' | b'?' | b'#')))
        })
    }
}

/// Whether a URL's host is the one that was asked for. An endpoint that does
/// not know of TLS or of ports before us leaves the port out, or says 80.
fn is_same(host: &str, asked: &str) -> bool {
    let (Ok(one), Ok(other)) = (Authority::parse(host), Authority::parse(asked)) else {
        return false;
    };
    let ports = match (one.port, other.port) {
        (None, _) => true,
        (Some(port), Some(asked)) => port == asked,
        (Some(port), None) => port == 80 || port == 443,
    };
    one.name == other.name && ports
}

/// Changes the values of a field; `None`: one stays.
fn change(headers: &mut HeaderMap, name: HeaderName, to: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if !headers.contains_key(&name) {
        return;
    }
    let Entry::Occupied(mut values) = headers.entry(name) else {
        return;
    };
    for value in values.iter_mut() {
        if let Some(changed) = to(value.as_bytes())
            && let Ok(changed) = HeaderValue::from_maybe_shared(bytes::Bytes::from(changed))
        {
            *value = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped() -> Stripped<'static> {
        Stripped {
            prefix: "/s/v1",
            whole: "/outer/s/v1".into(),
            hosts: [Some("App.test:8443"), Some("front.test")],
        }
    }

    type Change = fn(&Stripped<'static>, &[u8]) -> Option<Vec<u8>>;

    /// `want`: the value as its client gets it.
    fn check(change: Change, value: &str, want: &str) {
        let got = change(&stripped(), value.as_bytes());
        let got = got.map_or_else(|| value.to_owned(), |got| String::from_utf8(got).unwrap());
        assert_eq!(got, want, "{value}");
        let again = change(&stripped(), got.as_bytes());
        assert_eq!(again, None, "{value}, a second time");
    }

    #[test]
    fn references_from_the_root_get_the_prefix() {
        let check = |value: &str, want: &str| check(Stripped::reference, value, want);
        check("/login", "/s/v1/login");
        check("/", "/s/v1/");
        check("/?a=/b#c", "/s/v1/?a=/b#c");
        check("/a%2Fb/../c\u{e9}", "/s/v1/a%2Fb/../c\u{e9}");
        check("/s/v10", "/s/v1/s/v10");
        check("/s/v1", "/s/v1");
        check("/s/v1?x", "/s/v1?x");
        check("/s/v1/login", "/s/v1/login");
        check("/outer/s/v1/login", "/outer/s/v1/login");
    }

    #[test]
    fn urls_of_the_host_that_was_asked_get_the_prefix() {
        let check = |value: &str, want: &str| check(Stripped::reference, value, want);
        check("https://app.test:8443/a", "https://app.test:8443/s/v1/a");
        check("HTTP://APP.test/a", "HTTP://APP.test/s/v1/a");
        check("https://app.test", "https://app.test/s/v1");
        check("https://app.test?x", "https://app.test/s/v1?x");
        check("//app.test./a", "//app.test./s/v1/a");
        check("http://front.test:80/a", "http://front.test:80/s/v1/a");
        for stays in [
            "https://app.test:8443/s/v1/a",
            "https://other.test/a",
            "https://app.test:9000/a",
            "https://app.test@evil.test/a",
            "//other.test/a",
            "/\\other.test/a",
            "ftp://app.test/a",
            "http:/a",
            "a/b",
            "../a",
            "?a",
            "#a",
            "",
        ] {
            check(stays, stays);
        }
    }

    #[test]
    fn a_refresh_gets_the_prefix() {
        let check = |value: &str, want: &str| check(Stripped::refresh, value, want);
        check("5; url=/login", "5; url=/s/v1/login");
        check("0;URL='/login'", "0;URL='/s/v1/login'");
        check("0, /login", "0, /s/v1/login");
        check(
            "0; url = \"https://app.test/a\"",
            "0; url = \"https://app.test/s/v1/a\"",
        );
        for stays in [
            "5",
            "5; url=login",
            "5; url",
            "5;",
            "5; url=//other.test/",
            "",
        ] {
            check(stays, stays);
        }
    }

    #[test]
    fn a_cookies_path_gets_the_prefix() {
        let check = |value: &str, want: &str| check(Stripped::cookie, value, want);
        check("a=b; Path=/", "a=b; Path=/s/v1");
        check("a=b;path=/x;Secure", "a=b; Path=/s/v1/x;Secure");
        check(
            "a=/; HttpOnly; PATH = /x/ ; Max-Age=1",
            "a=/; HttpOnly; Path=/s/v1/x/; Max-Age=1",
        );
        check("a=b; Path=/; Path=/x", "a=b; Path=/s/v1; Path=/s/v1/x");
        check("__Secure-a=b; Path=/", "__Secure-a=b; Path=/s/v1");
        for stays in [
            "a=b",
            "a=b; Path=/s/v1",
            "a=b; Path=/s/v1/x",
            "a=b; Path=/outer/s/v1",
            "a=b; Path=",
            "a=b; Path",
            "a=b; Path=x",
            "__Host-a=b; Path=/; Secure",
            "__host-a=b; Path=/; Secure",
            "path=/x",
            "",
        ] {
            check(stays, stays);
        }
    }
}
