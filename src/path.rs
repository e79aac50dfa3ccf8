//! Path prefixes, matched by whole segments.
//!
//! Prefixes are written in the normal form of a path, and held against that of
//! a request's ([`spelling`]): however a path is spelled, it has one route.

pub mod spelling;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use self::spelling::{decoded, is_plain, normal};

/// The longest prefix, in bytes: how much of a path is looked at to find one.
pub const PREFIX_BYTES_MAX: usize = 512;

/// A path prefix that holds whole segments: `/api` holds `/api/x`, not `/apix`.
///
/// The longest comes first in order, as [`longest`] wants them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPrefix(Arc<str>); // normal; begins with `/`; ends with one only as `/`

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPrefix {
    #[error("a path begins with `/`")]
    NoSlash,
    #[error("longer than {PREFIX_BYTES_MAX} bytes")]
    TooLong,
    #[error("`{0}` ends a path")]
    NotOfThePath(char),
    #[error("`*` is no pattern here")]
    Pattern,
    #[error("{} cannot stand here", shown(*.0))]
    Odd(char),
    #[error("two hexadecimal digits stand behind a `%`")]
    BadEscape,
    #[error("`%00` is never served")]
    Nul,
    #[error("an encoded `{0}` is read in two ways")]
    Unclear(char),
    #[error("a segment is empty")]
    EmptySegment,
    #[error("`{0}` is no segment of its own")]
    DotSegment(&'static str),
    /// The same in its normal form.
    #[error("not how it is compared")]
    NotNormal(String),
}

impl PathPrefix {
    /// All paths.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Reads a prefix in its normal form; one `/` at its end says nothing.
    pub fn parse(text: &str) -> Result<Self, NotAPrefix> {
        if !text.starts_with('/') {
            return Err(NotAPrefix::NoSlash);
        }
        if text.len() > PREFIX_BYTES_MAX {
            return Err(NotAPrefix::TooLong);
        }
        for c in text.chars() {
            match c {
                '?' | '#' => return Err(NotAPrefix::NotOfThePath(c)),
                '*' => return Err(NotAPrefix::Pattern),
                '%' | '/' => {}
                _ if c.is_ascii() && !spelling::is_literal(c as u8) => {
                    return Err(NotAPrefix::Odd(c));
                }
                _ => {}
            }
        }
        escapes(text)?;
        if text.contains("//") {
            return Err(NotAPrefix::EmptySegment);
        }
        let normal = decoded(text);
        let mut segments = normal.split('/');
        if let Some(dots) = segments.find(|segment| matches!(*segment, "." | "..")) {
            return Err(NotAPrefix::DotSegment(match dots {
                "." => ".",
                _ => "..",
            }));
        }
        if normal != text {
            return Err(NotAPrefix::NotNormal(normal.into_owned()));
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        Ok(match trimmed {
            "" => Self::root(),
            _ => Self(trimmed.into()),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.as_str() == "/"
    }

    /// Whether a path in its normal form is at or below it.
    pub fn holds(&self, path: &str) -> bool {
        self.is_root() || self.below(path).is_some()
    }

    /// What of a path stands behind the prefix: nothing, or what begins with `/`.
    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = match self.is_root() {
            true => path,
            false => path.strip_prefix(self.as_str())?,
        };
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// A path without the prefix, as an endpoint is to see it that knows
    /// nothing of the prefix: as it was sent, or else in its normal form, where
    /// the prefix is spelled otherwise or what stands behind it leads out of it.
    pub fn strip<'p>(&self, path: &'p str) -> Cow<'p, str> {
        let rooted = |rest: &'p str| if rest.is_empty() { "/" } else { rest };
        let rest = self.below(path).map(rooted);
        if let Some(rest) = rest
            && is_plain(rest)
        {
            return rest.into();
        }
        let whole = normal(path);
        let below = match self.below(&whole) {
            Some("") => "/",
            Some(below) => below,
            None => whole.as_ref(), // of another route
        };
        match rest {
            // `//x/y` would be a host and its path to many.
            Some(rest) if !rest.starts_with("//") && normal(rest) == below => rest.into(),
            Some(_) | None => below.to_owned().into(),
        }
    }
}

/// The longest of these prefixes that holds a path in its normal form.
/// `sorted` by [`PathPrefix`]; looks at no more than a few of them.
pub fn longest<T>(sorted: &[T], prefix: impl Fn(&T) -> &PathPrefix, path: &str) -> Option<usize> {
    let most = prefix(sorted.first()?).as_str().len().min(path.len());
    let ends_segment = |end: &usize| matches!(path.as_bytes().get(*end), None | Some(b'/'));
    let cuts = (1..=most).rev().filter(ends_segment);
    let mut texts = cuts.map(|end| &path[..end]).chain(["/"]);
    texts.find_map(|text| {
        sorted
            .binary_search_by(|item| longest_first(prefix(item).as_str(), text))
            .ok()
    })
}

fn longest_first(one: &str, other: &str) -> Ordering {
    other.len().cmp(&one.len()).then_with(|| one.cmp(other))
}

impl Ord for PathPrefix {
    fn cmp(&self, other: &Self) -> Ordering {
        longest_first(self.as_str(), other.as_str())
    }
}

impl PartialOrd for PathPrefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn shown(c: char) -> String {
    match c.is_control() {
        true => format!("the control character U+{:04X}", u32::from(c)),
        false => format!("`{c}`"),
    }
}

/// What is encoded must be read alike by all.
fn escapes(text: &str) -> Result<(), NotAPrefix> {
    for after in text.split('%').skip(1) {
        match spelling::escaped(after.as_bytes()) {
            None => return Err(NotAPrefix::BadEscape),
            Some(0) => return Err(NotAPrefix::Nul),
            Some(byte @ (b'/' | b'\\' | b';')) => {
                return Err(NotAPrefix::Unclear(char::from(byte)));
            }
            Some(b'*') => return Err(NotAPrefix::Pattern),
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_whole_segments() {
        let check = |prefix: &str, path: &str, want: bool| {
            let prefix = PathPrefix::parse(prefix).unwrap();
            assert_eq!(prefix.holds(path), want, "{prefix} {path}");
        };
        check("/api", "/api", true);
        check("/api", "/api/", true);
        check("/api/", "/api/x", true);
        check("/api", "/apix", false);
        check("/api", "/API", false);
        check("/api", "/", false);
        check("/", "/x", true);
        check("/", "*", true);
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        let check = |text: &str, want: NotAPrefix| {
            assert_eq!(PathPrefix::parse(text), Err(want), "{text}");
        };
        check("", NotAPrefix::NoSlash);
        check("api", NotAPrefix::NoSlash);
        check("~ ^/api", NotAPrefix::NoSlash);
        check("/a?b", NotAPrefix::NotOfThePath('?'));
        check("/a#b", NotAPrefix::NotOfThePath('#'));
        check("/a b", NotAPrefix::Odd(' '));
        check("/a\tb", NotAPrefix::Odd('\t'));
        check("/a\\b", NotAPrefix::Odd('\\'));
        check("/a;b", NotAPrefix::Odd(';'));
        check("/{id}", NotAPrefix::Odd('{'));
        check("/*", NotAPrefix::Pattern);
        check("/a/%2a", NotAPrefix::Pattern);
        check("/a%2", NotAPrefix::BadEscape);
        check("/a%zz", NotAPrefix::BadEscape);
        check("/a%00", NotAPrefix::Nul);
        check("/a%2Fb", NotAPrefix::Unclear('/'));
        check("/a//b", NotAPrefix::EmptySegment);
        check("//", NotAPrefix::EmptySegment);
        check("/./a", NotAPrefix::DotSegment("."));
        check("/a/%2E.", NotAPrefix::DotSegment(".."));
        check("/%61", NotAPrefix::NotNormal("/a".to_owned()));
        check("/%c3%bc", NotAPrefix::NotNormal("/%C3%BC".to_owned()));
        check("/ü", NotAPrefix::NotNormal("/%C3%BC".to_owned()));
        check(
            &format!("/{}", "a".repeat(PREFIX_BYTES_MAX)),
            NotAPrefix::TooLong,
        );
    }

    #[test]
    fn the_longest_of_many_is_found() {
        let mut sorted: Vec<PathPrefix> = (0..1000)
            .flat_map(|n| [format!("/r{n}"), format!("/r{n}/v/{n}")])
            .chain(["/".to_owned(), "/r7/v".to_owned()])
            .map(|text| PathPrefix::parse(&text).unwrap())
            .collect();
        sorted.sort();
        let check = |path: &str, want: &str| {
            let found = longest(&sorted, |prefix| prefix, path).unwrap();
            assert_eq!(sorted[found].as_str(), want, "{path}");
        };
        check("/r7/v/7", "/r7/v/7");
        check("/r7/v/7/x", "/r7/v/7");
        check("/r7/v/77", "/r7/v");
        check("/r7/", "/r7");
        check("/r1000/ü/x", "/");
        check("*", "/");
        check("/", "/");
        let without_own = &sorted[..sorted.len() - 1];
        assert_eq!(longest(without_own, |prefix| prefix, "/x"), None);
        assert_eq!(longest(without_own, |prefix| prefix, "*"), None);
    }

    #[test]
    fn a_prefix_is_taken_off() {
        let check = |path: &str, want: &str| {
            let prefix = PathPrefix::parse("/s/v1").unwrap();
            assert_eq!(prefix.strip(path), want, "{path}");
        };
        check("/s/v1", "/");
        check("/s/v1/", "/");
        check("/s/v1/a/b", "/a/b");
        // As it was sent.
        check("/s/v1/%7ea%2Fb;c", "/%7ea%2Fb;c");
        check("/s/v1/a//b/./c", "/a//b/./c");
        // The prefix is spelled otherwise.
        check("/%73/v1/%7ea", "/~a");
        check("/x/../s/v1/a", "/a");
        check("//s/v1/a%20b", "/a%20b");
        // What is left alone would be something else.
        check("/s/v1/../v1/a", "/a");
        check("/s/v1//a.test/b", "/a.test/b");
    }
}
