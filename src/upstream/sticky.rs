//! `sticky: cookie`: a client goes where it went before.
//!
//! ```yaml
//! app.example.com: { upstream: { endpoints: [8080, 8081], sticky: cookie } }
//! ```
//!
//! The cookie is an HMAC of the upstream's and the endpoint's name under a
//! secret of this machine: nobody can make one, and none shows an address.
//! Nothing is kept of clients. When the endpoint is gone or out, the client
//! moves and gets a new cookie; while it is full, the client waits. Over TLS its name begins with `__Host-`
//! (RFC 6265bis §4.1.3.2), so that no other host can set it.

mod key;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

pub use self::key::{FILE, KeyFault};

/// Bytes of the HMAC that a cookie tells: enough that none can be guessed.
const TOKEN_BYTES: usize = 16;

/// What this machine's cookies are signed with.
#[derive(Clone)]
pub struct Secret(Arc<hmac::Key>);

impl Secret {
    pub fn new(bytes: &[u8; key::BYTES]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// That of this state folder, made if there is none.
    pub fn open(state: &Path) -> Result<Self, KeyFault> {
        let key = key::open(state)?;
        if let Some(mode) = key.exposed {
            tracing::warn!(
                "the secret of sticky cookies, {path}, can be read by other users (mode {mode:04o}): `chmod 600 {path}`",
                path = key.path.display(),
            );
        }
        Ok(Self::new(&key.bytes))
    }

    /// One of this process's own: cookies do not outlive it.
    pub fn fleeting() -> Self {
        let mut bytes = [0; 32];
        // Without the system's random source nothing is signed by what can be guessed:
        // rustls could not serve either.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            tracing::error!("the system gives no random numbers");
        }
        Self::new(&bytes)
    }

    /// What the cookie of a client of this endpoint says.
    pub(super) fn token(&self, upstream: &str, endpoint: &str) -> String {
        let mut signed = Vec::with_capacity(upstream.len() + endpoint.len() + 1);
        signed.extend_from_slice(upstream.as_bytes());
        signed.push(0);
        signed.extend_from_slice(endpoint.as_bytes());
        hex(&hmac::sign(&self.0, &signed).as_ref()[..TOKEN_BYTES])
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The cookie of one upstream.
#[derive(Debug)]
pub struct Sticky {
    /// Told from those of other routes of the site.
    name: String,
}

impl Sticky {
    /// `prefix`: the route's; `/` is the site itself.
    pub(super) fn new(prefix: &str) -> Self {
        let name = match prefix {
            "/" => "hostmux".to_owned(),
            prefix => {
                let hash = super::balance::stable_hash(prefix.as_bytes());
                format!("hostmux-{:08x}", hash as u32)
            }
        };
        Self { name }
    }

    /// What the client's cookie says, if it has one.
    pub fn of<'h>(&self, headers: &'h HeaderMap, secure: bool) -> Option<&'h str> {
        let name = self.name(secure);
        headers
            .get_all(COOKIE)
            .iter()
            // Other cookies beside it may be no text.
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .filter_map(|pair| {
                let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                value.strip_prefix(b"=")
            })
            .find_map(|value| std::str::from_utf8(value).ok())
    }

    /// `Set-Cookie` for a client that goes to an endpoint from now on.
    pub fn set(&self, token: &str, secure: bool) -> Option<HeaderValue> {
        let name = self.name(secure);
        let secured = if secure { "; Secure" } else { "" };
        let text = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax{secured}");
        HeaderValue::try_from(text).ok()
    }

    fn name(&self, secure: bool) -> String {
        match secure {
            true => format!("__Host-{}", self.name),
            false => self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_tells_nothing_and_cannot_be_made() {
        let secret = Secret::new(&[7; 32]);
        let token = secret.token("a.test", "localhost:8080");
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(token, secret.token("a.test", "localhost:8080"));
        for other in [
            secret.token("a.test", "localhost:8081"),
            secret.token("b.test", "localhost:8080"),
            Secret::new(&[8; 32]).token("a.test", "localhost:8080"),
        ] {
            assert_ne!(token, other);
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let check = |lines: &[&'static str], want: Option<&str>| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            assert_eq!(Sticky::new("/").of(&headers, true), want, "{lines:?}");
        };
        check(&["a=b; __Host-hostmux=abc;c=d"], Some("abc"));
        check(&["a=b", "__Host-hostmux=abc"], Some("abc"));
        check(&["hostmux=abc; x__Host-hostmux=d"], None);
        check(&[], None);
        // Browsers send what a page has set, and a page may set any text.
        check(&["a=\u{fc}; __Host-hostmux=abc"], Some("abc"));
        assert_ne!(Sticky::new("/a").name(true), Sticky::new("/b").name(true));
    }

    #[test]
    fn a_cookie_is_bound_to_its_host() {
        let set = Sticky::new("/").set("ab", true).unwrap();
        assert_eq!(
            set,
            "__Host-hostmux=ab; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        let plain = Sticky::new("/").set("ab", false).unwrap();
        assert_eq!(plain, "hostmux=ab; Path=/; HttpOnly; SameSite=Lax");
    }
}
