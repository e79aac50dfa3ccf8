//! An exchange: one request with its answer, and what is known of it so far.

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use crate::host::Authority;
use crate::path::PathPrefix;

/// The name of one exchange: a UUIDv7 (RFC 9562 §5.7), or what a trusted proxy called it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Text);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Ours([u8; 36]),
    Theirs(Arc<str>),
}

impl RequestId {
    /// A new id of this time and these 74 random bits.
    pub fn new(since_epoch: Duration, random: u128) -> Self {
        let millis = since_epoch.as_millis() & 0xffff_ffff_ffff;
        // 48 bits of time, version 7, 12 random bits, variant 2, 62 random bits.
        let value = millis << 80
            | 0x7 << 76
            | (random >> 64 & 0xfff) << 64
            | 0x2 << 62
            | (random & 0x3fff_ffff_ffff_ffff);
        let mut text = [b'-'; 36];
        let mut nibbles = (0..32)
            .rev()
            .map(|place| (value >> (place * 4) & 0xf) as usize);
        for (at, slot) in text.iter_mut().enumerate() {
            if !matches!(at, 8 | 13 | 18 | 23)
                && let Some(nibble) = nibbles.next()
            {
                *slot = b"0123456789abcdef"[nibble];
            }
        }
        Self(Text::Ours(text))
    }

    /// The id a trusted proxy gave: up to 128 visible characters, without quotes.
    pub fn given(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        (!text.is_empty() && text.len() <= 128 && text.bytes().all(plain))
            .then(|| Self(Text::Theirs(text.into())))
    }

    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Ours(text) => std::str::from_utf8(text).unwrap_or_default(),
            Text::Theirs(text) => text,
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of one request.
#[derive(Debug)]
pub struct Exchange {
    pub id: RequestId,
    pub started: Instant,
    pub at: SystemTime,
    /// Who asks; behind a trusted proxy, whom that proxy names.
    pub client: IpAddr,
    pub secure: bool,
    pub version: Version,
    pub method: Method,
    pub uri: Uri,
    /// The `Host` field, where there is one.
    pub host: Option<HeaderValue>,
    /// The `User-Agent` and `Referer`, for the combined log format only.
    pub agent: Option<Arc<Agent>>,
    /// The site's name in `sites.yaml`; `None`: none was found.
    pub site: Option<Arc<str>>,
    /// The prefix of its route, but for the site's own.
    pub route: Option<PathPrefix>,
    /// The last endpoint tried.
    pub endpoint: Option<Arc<str>>,
    /// Attempts made, those that got no connection among them.
    pub attempts: u32,
    /// The attempts that failed and were followed by another.
    pub failed_attempts: Vec<FailedAttempt>,
    /// Why the last failure was not followed by another attempt, in a word.
    pub not_retried: Option<&'static str>,
    pub status: Option<StatusCode>,
    pub reason: Option<&'static str>,
    /// The failure in full, for the log.
    pub detail: Option<String>,
    /// Counted by the request's body, where there is one.
    pub bytes_in: Option<Rc<Cell<u64>>>,
    pub bytes_out: u64,
    /// The answer went out whole.
    pub complete: bool,
}

/// An attempt that failed, or several in a row at the same endpoint for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    pub endpoint: Arc<str>,
    pub reason: &'static str,
    /// How long the last of them took.
    pub took: Duration,
    pub times: u32,
}

/// The most entries that are told of one exchange's failed attempts.
const FAILED_TOLD_MAX: usize = 16;

/// The most that the interim answers of one attempt may hold, in bytes: they
/// are hints, and an endpoint that sends them without end fills no memory.
const INTERIM_BYTES_MAX: usize = 32 * 1024;
/// What one counts for without its fields.
const INTERIM_LEAST_BYTES: usize = 64;

/// Where an endpoint's interim answers go (1xx, RFC 9110 §15.2): straight to
/// the client, before the answer, if it can take them.
#[derive(Clone)]
pub struct Interim {
    client: Option<Rc<dyn TakesInterim>>,
    left_bytes: Cell<usize>,
    /// Set by the first, where someone wants to know.
    came: Option<Rc<Cell<bool>>>,
}

/// A client's side that interim answers can be sent to.
pub trait TakesInterim {
    /// Sends one at once, or drops it: nobody waits for a hint.
    fn take(&self, status: StatusCode, headers: HeaderMap);
}

impl Interim {
    /// `None`: they are dropped.
    pub fn to(client: Option<Rc<dyn TakesInterim>>) -> Self {
        Self {
            client,
            left_bytes: Cell::new(INTERIM_BYTES_MAX),
            came: None,
        }
    }

    /// Whether one has come, from now on.
    pub fn watched(&mut self) -> Rc<Cell<bool>> {
        self.came.get_or_insert_default().clone()
    }

    /// Passes one on, unless there were too many already. Never 100, which is
    /// answered to the body, nor 101.
    pub fn tell(&self, status: StatusCode, headers: HeaderMap) {
        if let Some(came) = &self.came {
            came.set(true);
        }
        let Some(client) = &self.client else {
            return;
        };
        let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        let bytes = INTERIM_LEAST_BYTES + headers.iter().map(line).sum::<usize>();
        if let Some(left) = self.left_bytes.get().checked_sub(bytes) {
            self.left_bytes.set(left);
            client.take(status, headers);
        }
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interim")
            .field(&self.client.is_some())
            .finish()
    }
}

/// What the client says of itself.
#[derive(Debug, Default)]
pub struct Agent {
    pub user_agent: String,
    pub referer: String,
}

impl Exchange {
    /// How much of the request's body was read.
    pub fn received_bytes(&self) -> u64 {
        self.bytes_in.as_ref().map_or(0, |bytes| bytes.get())
    }

    /// The attempt at [`Self::endpoint`] that began then failed.
    pub fn attempt_failed(&mut self, reason: &'static str, began: Instant) {
        let Some(endpoint) = self.endpoint.clone() else {
            return;
        };
        let took = began.elapsed();
        let failed = &mut self.failed_attempts;
        // While a request waits for two endpoints, they take turns in refusing it.
        let same =
            |failed: &&mut FailedAttempt| failed.endpoint == endpoint && failed.reason == reason;
        if let Some(again) = failed.iter_mut().rev().find(same) {
            (again.times, again.took) = (again.times + 1, took);
        } else if failed.len() < FAILED_TOLD_MAX {
            failed.push(FailedAttempt {
                endpoint,
                reason,
                took,
                times: 1,
            });
        }
    }

    /// The name asked for, in its canonical spelling; `None` where there is none that is one.
    pub fn host_name(&self) -> Option<String> {
        let text = match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.host.as_ref()?.to_str().ok()?,
        };
        Some(Authority::parse(text).ok()?.name.into_owned())
    }

    /// Whether the client is on this machine: it may be told what is behind the door.
    pub fn is_near(&self) -> bool {
        self.client.is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_uuid_of_version_7() {
        let id = RequestId::new(Duration::from_millis(0x0190_1234_5678), u128::MAX);
        assert_eq!(id.as_str(), "01901234-5678-7fff-bfff-ffffffffffff");
        let id = RequestId::new(Duration::ZERO, 0);
        assert_eq!(id.as_str(), "00000000-0000-7000-8000-000000000000");
    }

    #[test]
    fn a_given_id_must_be_harmless() {
        assert_eq!(RequestId::given("abc-1").unwrap().as_str(), "abc-1");
        for text in ["", "a b", "a\"b", "a\nb", "ä", &"a".repeat(129)] {
            assert!(RequestId::given(text).is_none(), "{text:?}");
        }
    }
}
