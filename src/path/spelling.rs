//! The spellings of a path, and the one that routes are held against.
//!
//! RFC 3986 §6.2.2: `/%61pi`, `/x/../api` and `/api` are one path. And servers
//! read more into a path than that: some decode `%2F`, drop `;parameters`,
//! merge `//`, some leave `..` alone. A path whose readers would find different
//! routes must not reach an endpoint as what it is not: it is sent in its
//! normal form, or, where that too has two readings, not at all. So nobody gets
//! around what a route asks for by spelling its path in another way.
//!
//! Letters keep their case: `/API` is another path than `/api`.

use std::borrow::Cow;

/// The longest path, in bytes, that is read in every way where it has encoded
/// slashes or parameters: so that none costs more than its request does.
pub const READ_BYTES_MAX: usize = 2048;

/// Two readers of the path would find different routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// The normal form: escapes decoded where they say nothing of their own, the
/// others in capitals, dot segments removed (RFC 3986 §5.2.4), and `//` as `/`.
/// Not of `*`, nor of what else is no path.
pub fn normal(path: &str) -> Cow<'_, str> {
    match is_plain(path) {
        true => path.into(),
        false => READER.read(&Escapes::Plain.read(path)).into(),
    }
}

/// What a path leads to, and the path as an endpoint may get it: as it was
/// sent, if all who may read it agree where it leads.
pub fn resolve<R: PartialEq>(
    path: &str,
    find: impl Fn(&str) -> R,
) -> Result<(R, Cow<'_, str>), Ambiguous> {
    if is_plain(path) {
        return Ok((find(path), path.into()));
    }
    let normal = READER.read(&Escapes::Plain.read(path));
    let found = find(&normal);
    if all_readings(path, |reading| find(reading) == found) {
        Ok((found, path.into()))
    } else if all_readings(&normal, |reading| find(reading) == found) {
        Ok((found, normal.into()))
    } else {
        Err(Ambiguous)
    }
}

/// Whether a path has one reading only, which is the path itself: most do.
pub(super) fn is_plain(path: &str) -> bool {
    if !path.starts_with('/') {
        return true; // `*`
    }
    let mut before = 0;
    path.bytes().all(|byte| {
        let fits = match byte {
            b'/' | b'.' => before != b'/',
            _ => is_literal(byte),
        };
        before = byte;
        fits
    })
}

/// Whether a byte stands for itself in a segment (RFC 3986 §3.3). Without `;`,
/// which begins a parameter to some.
pub(super) fn is_literal(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
        | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')'
        | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// Without escapes of what stands for itself; what does not, in escapes.
pub fn decoded(path: &str) -> Cow<'_, str> {
    Escapes::Plain.read(path)
}

/// The byte of two hexadecimal digits.
pub(super) fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// One way to read a path, besides how escapes are read.
#[derive(Clone, Copy)]
struct Reader {
    /// `/a;b/c` is `/a/c`.
    drops_parameters: bool,
    merges_slashes: bool,
    resolves_dots: bool,
}

/// How escapes are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Left as they are.
    No,
    /// Those of what stands for itself.
    Plain,
    /// `%2F`, `%5C` and `%3B` too.
    All,
}

/// Who reads the normal form.
const READER: Reader = Reader {
    drops_parameters: false,
    merges_slashes: true,
    resolves_dots: true,
};

/// What of a path is read in several ways.
struct Odd {
    /// `%2F`, `%5C` or `%3B`.
    hidden: bool,
    parameters: bool,
    slashes: bool,
    dots: bool,
}

impl Odd {
    fn of(path: &str) -> Self {
        let upper = path.to_ascii_uppercase();
        let hides = |escape| upper.contains(escape);
        let hidden = hides("%2F") || hides("%5C") || hides("%3B");
        let parameters = path.contains(';') || hides("%3B");
        Self {
            hidden,
            parameters,
            // A segment that is all parameter is an empty one.
            slashes: hidden || parameters || path.contains("//"),
            dots: hidden || path.contains("/.") || hides("%2E"),
        }
    }

    fn escapes(&self) -> impl Iterator<Item = Escapes> {
        let all = self.hidden.then_some(Escapes::All);
        [Escapes::No, Escapes::Plain].into_iter().chain(all)
    }

    /// Who reads the path differently from another.
    fn readers(&self) -> impl Iterator<Item = Reader> {
        let Self {
            parameters,
            slashes,
            dots,
            ..
        } = *self;
        // No, and yes where that is something else.
        let either = |differs: bool| [false].into_iter().chain(differs.then_some(true));
        either(parameters).flat_map(move |drops_parameters| {
            either(slashes).flat_map(move |merges_slashes| {
                either(dots).map(move |resolves_dots| Reader {
                    drops_parameters,
                    merges_slashes,
                    resolves_dots,
                })
            })
        })
    }
}

/// Whether something holds for all readings of a path.
fn all_readings(path: &str, holds: impl Fn(&str) -> bool) -> bool {
    let odd = Odd::of(path);
    if path.len() > READ_BYTES_MAX && (odd.hidden || odd.parameters) {
        return false;
    }
    // `new URL("//a/b", base)` has the path `/b`, and servers write just that.
    let behind_host = path
        .strip_prefix("//")
        .map(|rest| rest.find('/').map_or("/", |slash| &rest[slash..]));
    let mut paths = [Some(path), behind_host].into_iter().flatten();
    paths.all(|path| {
        odd.escapes().all(|escapes| {
            let path = escapes.read(path);
            odd.readers().all(|reader| holds(&reader.read(&path)))
        })
    })
}

impl Reader {
    fn read(self, path: &str) -> String {
        let mut out = String::with_capacity(path.len());
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
        while let Some(whole) = segments.next() {
            let segment = match whole.split_once(';') {
                Some((before, _)) if self.drops_parameters => before,
                Some(_) | None => whole,
            };
            let is_last = segments.peek().is_none();
            match segment {
                "" if self.merges_slashes && !is_last => {}
                "." | ".." if self.resolves_dots => {
                    if segment == ".." {
                        out.truncate(out.rfind('/').unwrap_or(0));
                    }
                    if is_last {
                        out.push('/');
                    }
                }
                _ => {
                    out.push('/');
                    out.push_str(segment);
                }
            }
        }
        out
    }
}

impl Escapes {
    fn read(self, path: &str) -> Cow<'_, str> {
        if self == Self::No {
            return path.into();
        }
        let bytes = path.as_bytes();
        let mut out = String::with_capacity(path.len());
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let is_odd = |byte: &u8| !is_literal(*byte) && *byte != b'/';
            let literal = rest.iter().position(is_odd).unwrap_or(rest.len());
            // Literals are ASCII, what follows them may not be.
            out.push_str(std::str::from_utf8(&rest[..literal]).unwrap_or_default());
            at += literal;
            let Some(&byte) = bytes.get(at) else {
                break;
            };
            at += 1;
            let escape = match byte {
                b'%' => escaped(&bytes[at..]),
                _ => None,
            };
            if escape.is_some() {
                at += 2;
            }
            match (escape, escape.unwrap_or(byte)) {
                (_, byte) if is_literal(byte) => out.push(char::from(byte)),
                (None, b';') => out.push(';'),
                (Some(b'/' | b'\\'), _) if self == Self::All => out.push('/'),
                (Some(b';'), _) if self == Self::All => out.push(';'),
                // A `%` that begins no escape must not begin one with what is
                // decoded behind it.
                (_, byte) => {
                    out.push('%');
                    for digit in [byte >> 4, byte & 15] {
                        out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                    }
                }
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_normal_form() {
        let check = |path: &str, want: &str| {
            assert_eq!(normal(path), want, "{path}");
            assert_eq!(normal(want), want, "{path}, again");
        };
        check("/", "/");
        check("*", "*");
        check("/a/b", "/a/b");
        check("/%61%2f%3b%7e%40", "/a%2F%3B~@");
        check("/a/./b/../c", "/a/c");
        check("/a/..", "/");
        check("/a/.", "/a/");
        check("/../../a", "/a");
        check("/%2e%2E/a", "/a");
        check("//a///b//", "/a/b/");
        check("/.well-known/x", "/.well-known/x");
        check("/ü{", "/%C3%BC%7B");
        check("/a%zz%2%46", "/a%25zz%252F");
        check("/a;b=c", "/a;b=c");
        check("/%252e", "/%252e");
    }

    /// Routes `/`, `/admin`, `/s` and `/@x`, by name.
    fn resolved(path: &str) -> Result<(&'static str, String), Ambiguous> {
        let find = |path: &str| {
            let names = ["/admin", "/s", "/@x"];
            let holds = |name: &&str| {
                let rest = path.strip_prefix(*name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            names.into_iter().find(holds).unwrap_or("/")
        };
        resolve(path, find).map(|(route, sent)| (route, sent.into_owned()))
    }

    #[test]
    fn a_path_is_sent_as_it_came_unless_someone_could_read_it_otherwise() {
        let check = |path: &str, route: &str, sent: &str| {
            let (got, path_sent) = resolved(path).unwrap_or_else(|_| panic!("{path}"));
            assert_eq!((got, path_sent.as_str()), (route, sent), "{path}");
        };
        check("/admin", "/admin", "/admin");
        check("/ADMIN", "/", "/ADMIN");
        check("/admin/%7ex/a%2Fb//c;d", "/admin", "/admin/%7ex/a%2Fb//c;d");
        check("/x%2fy;z//%20", "/", "/x%2fy;z//%20");
        check("/%61dmin", "/admin", "/admin");
        check("/public/../admin", "/admin", "/admin");
        check("/admin/../public", "/", "/public");
        check("/admin/%2e%2e/public", "/", "/public");
        check("//admin", "/admin", "/admin");
        check("//x/admin", "/", "/x/admin");
        check("/admin//../public", "/", "/public");
        check("/%40x/y", "/@x", "/@x/y");
        check("/x/../s/a%20b", "/s", "/s/a%20b");
        check("/s/..%2f;/..", "/s", "/s/");
        check("*", "/", "*");
    }

    #[test]
    fn what_stays_ambiguous_is_not_served() {
        let long = format!("/x{};", "/x".repeat(READ_BYTES_MAX / 2));
        assert_eq!(resolved(&long), Err(Ambiguous));
        for path in [
            "/admin%2fx",
            "/admin%5Cx",
            "/x%2f..%2Fadmin",
            "/admin/..%2fpublic",
            "/admin;x",
            "/admin%3bx",
            "/;/admin",
            "/x/..;/admin",
            "/x/..;a=b/admin/y",
        ] {
            assert_eq!(resolved(path), Err(Ambiguous), "{path}");
        }
    }
}
