//! Names of sites: parsed, compared, and looked up.
//!
//! One matcher serves routing and SNI, so that a name that routes is a name
//! that can be certified. Exact names first, then `*.parent`, which stands for
//! exactly one label (RFC 9525 §6.3).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest name DNS can carry, in bytes (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// The longest label of a name, in bytes (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// A host name in its one canonical spelling: A-labels, lower case, no port,
/// no trailing dot. IPv4 and bracketed IPv6 literals are names too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

/// What is wrong with a text that was to be a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAHostName {
    #[error("a host name is empty")]
    Empty,
    #[error("a host name has at most 253 characters")]
    TooLong,
    #[error("a label of a host name has from 1 to 63 characters")]
    BadLabel,
    #[error("{0:?} cannot stand in a host name")]
    BadCharacter(char),
    #[error("not an IPv6 address in brackets")]
    BadAddress,
}

impl HostName {
    /// Reads a name in any of its spellings: upper case, a trailing dot, U-labels.
    pub fn parse(text: &str) -> Result<Self, NotAHostName> {
        if text.is_ascii() {
            return canonical(text).map(|name| Self(name.into_owned()));
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| {
            NotAHostName::BadCharacter(text.chars().find(|c| !c.is_ascii()).unwrap_or('\u{fffd}'))
        })?;
        canonical(&ascii).map(|name| Self(name.into_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is an IPv4 or IPv6 literal, which has no parent.
    pub fn is_address(&self) -> bool {
        is_address(&self.0)
    }

    /// The name without its first label; `None` for a single label or an address.
    pub fn parent(&self) -> Option<&str> {
        parent(&self.0)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The canonical spelling of an ASCII name: lower case, without one trailing
/// dot. Borrows where the text is canonical already, as a browser's is.
///
/// The text is a name alone: a port must have been split off (see [`Authority`]).
pub fn canonical(text: &str) -> Result<Cow<'_, str>, NotAHostName> {
    if text.starts_with('[') {
        return canonical_v6(text).map(Cow::Owned);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(NotAHostName::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NotAHostName::TooLong);
    }
    let (mut label, mut upper) = (0, false);
    for byte in name.bytes() {
        match byte {
            b'.' if label == 0 => return Err(NotAHostName::BadLabel),
            b'.' => {
                label = 0;
                continue;
            }
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            _ => return Err(NotAHostName::BadCharacter(char::from(byte))),
        }
        label += 1;
        if label > LABEL_BYTES_MAX {
            return Err(NotAHostName::BadLabel);
        }
    }
    if label == 0 {
        return Err(NotAHostName::BadLabel);
    }
    Ok(if upper {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

fn canonical_v6(text: &str) -> Result<String, NotAHostName> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or(NotAHostName::BadAddress)?;
    let address: Ipv6Addr = inner.parse().map_err(|_| NotAHostName::BadAddress)?;
    Ok(format!("[{address}]"))
}

fn is_address(name: &str) -> bool {
    name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok()
}

fn parent(name: &str) -> Option<&str> {
    if is_address(name) {
        return None;
    }
    name.split_once('.').map(|(_, parent)| parent)
}

/// The authority of a request (RFC 3986 §3.2): a name and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    pub name: Cow<'a, str>,
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `name` or `name:port`. Userinfo, a path, a comma, spaces and
    /// control characters are refused with the rest of what is no name.
    pub fn parse(text: &'a str) -> Result<Self, NotAHostName> {
        let (name, port) = split_port(text)?;
        Ok(Self {
            name: canonical(name)?,
            port,
        })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), NotAHostName> {
    let name_end = match text.rfind(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (name, rest) = text.split_at(name_end);
    let Some(digits) = rest.strip_prefix(':') else {
        return match rest.chars().next() {
            None => Ok((name, None)),
            Some(other) => Err(NotAHostName::BadCharacter(other)),
        };
    };
    // RFC 3986 §3.2.3: the port may be empty, which means the scheme's own.
    if digits.is_empty() {
        return Ok((name, None));
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAHostName::BadCharacter(':'));
    }
    match digits.parse() {
        Ok(port) => Ok((name, Some(port))),
        Err(_) => Err(NotAHostName::BadCharacter(':')),
    }
}

/// What a site (or a certificate) answers for: one name, or all names one label below one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    Exact(HostName),
    /// `*.parent`; holds the parent.
    Wildcard(HostName),
}

impl HostPattern {
    /// Reads `name` or `*.name`.
    pub fn parse(text: &str) -> Result<Self, NotAHostName> {
        match text.strip_prefix("*.") {
            None => HostName::parse(text).map(Self::Exact),
            Some(parent) => {
                let parent = HostName::parse(parent)?;
                if parent.is_address() {
                    return Err(NotAHostName::BadCharacter('*'));
                }
                Ok(Self::Wildcard(parent))
            }
        }
    }

    /// Whether the pattern holds a canonical name.
    pub fn holds(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.0 == name,
            Self::Wildcard(above) => parent(name).is_some_and(|parent| parent == above.0),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Values by host pattern; looked up by canonical name without allocation.
#[derive(Clone, Debug)]
pub struct HostMap<V> {
    exact: HashMap<String, V, foldhash::fast::RandomState>,
    wildcard: HashMap<String, V, foldhash::fast::RandomState>,
}

impl<V> Default for HostMap<V> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            wildcard: HashMap::default(),
        }
    }
}

impl<V> HostMap<V> {
    /// Puts a value under a pattern and gives back the one it replaces.
    pub fn insert(&mut self, pattern: HostPattern, value: V) -> Option<V> {
        match pattern {
            HostPattern::Exact(name) => self.exact.insert(name.0, value),
            HostPattern::Wildcard(parent) => self.wildcard.insert(parent.0, value),
        }
    }

    /// The value for a canonical name: the exact one first, then the wildcard's.
    pub fn get(&self, name: &str) -> Option<&V> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        if self.wildcard.is_empty() {
            return None;
        }
        self.wildcard.get(parent(name)?)
    }

    /// The value under just this pattern, without matching.
    pub fn of(&self, pattern: &HostPattern) -> Option<&V> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(&name.0),
            HostPattern::Wildcard(parent) => self.wildcard.get(&parent.0),
        }
    }

    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.exact.values().chain(self.wildcard.values())
    }

    /// Whether both have the same patterns, with values that are the same.
    pub fn is_as(&self, other: &Self, same: impl Fn(&V, &V) -> bool) -> bool {
        let found = |other: Option<&V>, value: &V| other.is_some_and(|other| same(value, other));
        let mut exact = self.exact.iter();
        let mut wildcard = self.wildcard.iter();
        (self.exact.len(), self.wildcard.len()) == (other.exact.len(), other.wildcard.len())
            && exact.all(|(name, value)| found(other.exact.get(name), value))
            && wildcard.all(|(name, value)| found(other.wildcard.get(name), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_spelling() {
        let check = |text: &str, want: &str| {
            assert_eq!(HostName::parse(text).unwrap().as_str(), want, "{text}");
        };
        check("a.com", "a.com");
        check("A.Com.", "a.com");
        check("bücher.example", "xn--bcher-kva.example");
        check("xn--bcher-kva.example", "xn--bcher-kva.example");
        check("127.0.0.1", "127.0.0.1");
        check("[::1]", "[::1]");
        check("[0:0::1]", "[::1]");
        check("my_app.test", "my_app.test");
        check("localhost", "localhost");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = format!("{}x", "a.".repeat(127));
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "u@a",
            "a,b",
            "a\0",
            "[::1",
            "[::g]",
            "*.a",
            "a%41",
            &long_label,
            &long_name,
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_authority_is_a_name_and_perhaps_a_port() {
        let check = |text: &str, name: &str, port: Option<u16>| {
            let got = Authority::parse(text).unwrap();
            assert_eq!((got.name.as_ref(), got.port), (name, port), "{text}");
        };
        check("a.com", "a.com", None);
        check("A.com:8443", "a.com", Some(8443));
        check("a.com.:80", "a.com", Some(80));
        check("a.com:", "a.com", None);
        check("[::1]:443", "[::1]", Some(443));
        check("[::1]", "[::1]", None);
        for text in [
            "", ":80", "a:b", "a:99999", "u:p@a", "a/", "a,b", "a b", "[::1]x", "::1", "a:80:80",
            "a:+80",
        ] {
            assert!(Authority::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn exact_first_then_the_wildcard_of_one_label() {
        let mut map = HostMap::default();
        for pattern in ["a.com", "*.a.com", "x.a.com", "*.b.com"] {
            map.insert(HostPattern::parse(pattern).unwrap(), pattern);
        }
        let check = |name: &str, want: Option<&str>| {
            assert_eq!(map.get(name).copied(), want, "{name}");
        };
        check("a.com", Some("a.com"));
        check("x.a.com", Some("x.a.com"));
        check("y.a.com", Some("*.a.com"));
        check("z.y.a.com", None);
        check("b.com", None);
        check("com", None);
    }

    #[test]
    fn a_wildcard_of_an_address_is_none() {
        assert!(HostPattern::parse("*.127.0.0.1").is_err());
        assert!(!HostPattern::parse("*.0.0.1").is_ok_and(|p| p.holds("127.0.0.1")));
    }
}
