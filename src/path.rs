//! Path prefixes, matched by whole segments.
//!
//! Paths are compared undecoded (RFC 3986 §3.3).

use std::fmt;

/// A path prefix that holds whole segments: `/api` holds `/api/x`, not `/apix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPrefix(String); // begins with `/`; ends with one only as `/`

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPrefix {
    #[error("a path begins with `/`")]
    NoSlash,
}

impl PathPrefix {
    /// All paths.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    pub fn parse(text: &str) -> Result<Self, NotAPrefix> {
        if !text.starts_with('/') {
            return Err(NotAPrefix::NoSlash);
        }
        let trimmed = text.trim_end_matches('/');
        Ok(Self(
            if trimmed.is_empty() { "/" } else { trimmed }.to_owned(),
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// Whether a path is at or below it.
    pub fn holds(&self, path: &str) -> bool {
        self.is_root()
            || path
                .strip_prefix(self.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
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
        check("/api", "/", false);
        check("/", "/x", true);
        check("/", "*", true);
        assert_eq!(PathPrefix::parse("api"), Err(NotAPrefix::NoSlash));
    }
}
