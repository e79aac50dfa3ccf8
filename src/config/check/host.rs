//! The keys of `sites`: which names a site answers for.

use super::{Wrong, words};
use crate::host::{HostPattern, NotAHostName};

/// Whether a key at the wrong level was meant for a site.
pub(super) fn looks_like_one(key: &str) -> bool {
    key == "localhost" || key.contains('.') && pattern(key).is_ok()
}

/// Whether a name has what public CAs and some clients refuse.
pub(super) fn has_underscore(pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Exact(name) | HostPattern::Wildcard(name) => name.as_str().contains('_'),
    }
}

/// Reads a key of `sites`.
pub(super) fn pattern(key: &str) -> Result<HostPattern, Wrong> {
    if let Some((scheme, rest)) = key.split_once("://") {
        let name = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(Wrong::new(
            format!("`{key}` is a URL, not a host name"),
            format!("without `{scheme}://`"),
        )
        .help(format!("write the name alone: `{name}`")));
    }
    if let Some((name, _)) = key.split_once('/') {
        return Err(Wrong::new(
            format!("`{key}` has a path, and a site is a host name"),
            "without the path",
        )
        .help(match name {
            "" => format!("paths stand under the `routes` of their site:\n  routes:\n    {key}: …"),
            _ => format!(
                "write the name alone, and the path under its `routes`:\n{name}:\n  routes:\n    {}: …",
                &key[name.len()..]
            ),
        }));
    }
    if key.contains([',', ' ', '\t']) {
        return Err(Wrong::new(
            format!("`{key}` is not one host name"),
            "one name for each site",
        )
        .help("write a line for each name"));
    }
    if key.contains(['“', '”', '„', '‘', '’']) {
        return Err(Wrong::new(
            format!("`{key}` is in typographic quotes"),
            "not YAML's quotes",
        )
        .help("use straight quotes, `\"…\"`, or none"));
    }
    if let Some((name, port)) = key.rsplit_once(':')
        && !name.contains(':')
    {
        let fault = Wrong::new(
            format!("`{key}` has a port, and a site is a host name"),
            "without the port",
        );
        if port.is_empty() {
            return Err(
                Wrong::new(format!("`{key}` ends with a colon"), "one too many")
                    .help(format!("write `{name}`, and one `:` behind it")),
            );
        }
        return Err(match port.bytes().all(|byte| byte.is_ascii_digit()) {
            true => fault.help(format!(
                "write `{name}`; the ports of hostmux itself stand under `listen`"
            )),
            false => fault.help(format!("write `{name}`")),
        });
    }
    if key.contains('*') {
        wildcard(key)?;
    }
    HostPattern::parse(key)
        .map_err(|wrong| not_a_name(key, wrong))
        .and_then(|pattern| {
            labels(key, &pattern)?;
            Ok(pattern)
        })
}

/// The most names that one key is taken for.
const MEANT_MAX: usize = 8;

/// The names that a key was most likely meant for which is none: those of a
/// URL, with a port, or several.
pub(super) fn meant(key: &str) -> Vec<HostPattern> {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let words = key.split([',', ' ', '\t']).filter(|word| !word.is_empty());
    let names = words.take(MEANT_MAX).filter_map(|word| {
        let name = word.split('/').next().unwrap_or_default();
        let name = name.trim_matches(['“', '”', '„', '‘', '’']);
        let name = match name.rsplit_once(':') {
            Some((name, _)) if name.ends_with(']') || !name.contains(':') => name,
            Some(_) | None => name,
        };
        pattern(name).ok()
    });
    names.collect()
}

fn wildcard(key: &str) -> Result<(), Wrong> {
    if key == "*" {
        return Err(Wrong::new(
            "`*` alone is not a host name",
            "stands for one label of a name",
        )
        .help("the site of all other names is `fallback`, at the top of the file"));
    }
    let parent = key.strip_prefix("*.").unwrap_or("*");
    if parent.contains('*') {
        return Err(Wrong::new(
            format!("`{key}` has its `*` in the wrong place"),
            "`*` is the whole first label",
        )
        .help(
            "a wildcard is `*.` and a name, and stands for exactly one label, as in certificates",
        ));
    }
    Ok(())
}

fn not_a_name(key: &str, wrong: NotAHostName) -> Wrong {
    let fault = |label: String| Wrong::new(format!("`{key}` is not a host name"), label);
    match wrong {
        NotAHostName::Empty => Wrong::new(
            "a host name is empty",
            "expected a name such as `app.localhost`",
        ),
        NotAHostName::BadAddress if key.contains(':') => fault(wrong.to_string())
            .help("an IPv6 address stands in quotes and brackets: `\"[::1]\"`"),
        NotAHostName::BadCharacter(':') => fault("`:` cannot stand in a host name".to_owned())
            .help(format!(
                "an IPv6 address stands in quotes and brackets: `\"[{key}]\"`"
            )),
        NotAHostName::BadCharacter(c) => fault(format!("`{c}` cannot stand in a host name")),
        NotAHostName::BadAddress | NotAHostName::BadLabel | NotAHostName::TooLong => {
            fault(wrong.to_string())
        }
    }
}

/// What the letters allow and no client could ask for.
fn labels(key: &str, pattern: &HostPattern) -> Result<(), Wrong> {
    let name = match pattern {
        HostPattern::Exact(name) | HostPattern::Wildcard(name) => name,
    };
    if name.is_address() {
        return Ok(());
    }
    let name = name.as_str();
    if let Some(label) = name
        .split('.')
        .find(|label| label.starts_with('-') || label.ends_with('-'))
    {
        let fault = Wrong::new(
            format!("`{key}` is not a host name"),
            format!("the label `{label}` begins or ends with `-`"),
        );
        return Err(if key.starts_with('-') {
            fault.help(format!(
                "`sites` is a mapping, not a list: write `{}`",
                key.trim_start_matches('-')
            ))
        } else {
            fault
        });
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        let fault = |label| Wrong::new(format!("`{key}` is not a host name"), label);
        return Err(if name.contains('.') {
            fault("ends in a number, but is not an IPv4 address")
        } else {
            fault("a number").help(format!(
                "the name comes first, the port behind it: `app.localhost: {key}`"
            ))
        });
    }
    Ok(())
}

/// Whether a name is a key of a site that was not indented.
pub(super) fn is_key_of_a_site(name: &str) -> bool {
    words::SITE.contains(&name) || words::NOT_YET.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wildcards_are_taken() {
        for key in [
            "a.com",
            "A.com.",
            "bücher.example",
            "*.a.com",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "my_app.test",
            "a-b.c",
            "xn--bcher-kva.example",
        ] {
            assert!(pattern(key).is_ok(), "{key}");
        }
    }

    #[test]
    fn what_is_no_name_was_meant_for_some() {
        let check = |key: &str, want: &[&str]| {
            let meant: Vec<String> = meant(key).iter().map(ToString::to_string).collect();
            assert_eq!(meant, want, "{key}");
        };
        check("https://a.com:443/x", &["a.com"]);
        check("a.com/app", &["a.com"]);
        check("A.com:443", &["a.com"]);
        check("a.com:", &["a.com"]);
        check("a.com b.com", &["a.com", "b.com"]);
        check("a.com,*.b.com,-", &["a.com", "*.b.com"]);
        check("“a.com”", &["a.com"]);
        check("[::1]:80", &["[::1]"]);
        for none in ["", "*", "a..com", "::1", "8080", "a(b).com", "/x", "://"] {
            check(none, &[]);
        }
        assert_eq!(meant(&"a.com,".repeat(100)).len(), MEANT_MAX);
    }

    #[test]
    fn what_is_no_name_says_why() {
        let check = |key: &str, want: &str| {
            let wrong = pattern(key).unwrap_err();
            let all = format!(
                "{} / {} / {}",
                wrong.message,
                wrong.label,
                wrong.help.unwrap_or_default()
            );
            assert!(all.contains(want), "{key}: {all}");
        };
        check("https://a.com/x", "write the name alone: `a.com`");
        check("a.com/app", "has a path");
        check("a.com:443", "has a port");
        check("a.com:", "ends with a colon");
        check("a.com:x", "write `a.com`");
        check("a.com b.com", "a line for each name");
        check("a.com, b.com", "a line for each name");
        check("“a.com”", "typographic quotes");
        check("*", "`fallback`");
        check("a.*.com", "the whole first label");
        check("*a.com", "the whole first label");
        check("*.*.com", "the whole first label");
        check("a..com", "from 1 to 63");
        check("", "a host name is empty");
        check("::1", "`\"[::1]\"`");
        check("[::g]", "not an IPv6 address");
        check("-a.com", "not a list: write `a.com`");
        check("a-.com", "`a-`");
        check("8080", "`app.localhost: 8080`");
        check("1.2.3", "not an IPv4 address");
        check("a(b).com", "`(` cannot stand");
    }
}
