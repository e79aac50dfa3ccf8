//! `redirect`: where requests are sent instead of an endpoint.

use super::{Wrong, words};
use crate::config::Redirect;
use crate::host::{Authority, HostName};

/// What a template can hold in braces.
const PLACEHOLDER: &str = "path";
const PLACEHOLDER_HELP: &str = "the one placeholder is `{path}`, the path and query of the request";

/// Reads `https://host{path}`.
pub(super) fn redirect(text: &str) -> Result<Redirect, Wrong> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        let fault = Wrong::new(
            format!("`{text}` is not a URL to redirect to"),
            "expected `https://` or `http://`",
        );
        return Err(match text.contains("://") || text.starts_with('/') {
            true => fault.help("write the whole URL, such as `https://new.example.com{path}`"),
            false => fault.help(format!("write `https://{text}`")),
        });
    };
    if let Some(odd) = text
        .chars()
        .find(|c| c.is_whitespace() || "\"<>\\^`|".contains(*c))
    {
        return Err(Wrong::new(
            format!("`{text}` is not a URL to redirect to"),
            format!("`{odd}` cannot stand in a URL"),
        ));
    }
    placeholders(text)?;
    let host = &rest[..rest.find(['/', '?', '#', '{']).unwrap_or(rest.len())];
    if !host.is_ascii() {
        return Err(Wrong::new(
            format!("`{text}` is not a URL to redirect to"),
            format!("`{host}` is not in ASCII"),
        )
        .help("write its A-label, which begins with `xn--`"));
    }
    if host.is_empty() {
        return Err(Wrong::new(
            format!("`{text}` is not a URL to redirect to"),
            "no host stands behind `//`",
        ));
    }
    if let Err(wrong) = Authority::parse(host) {
        return Err(Wrong::new(
            format!("`{text}` is not a URL to redirect to"),
            format!("{wrong}, in `{host}`"),
        ));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii()) {
        return Err(Wrong::new(
            format!("`{text}` is not a URL to redirect to"),
            format!("`{odd}` must be percent-encoded"),
        ));
    }
    Ok(Redirect {
        template: text.to_owned(),
    })
}

fn placeholders(text: &str) -> Result<(), Wrong> {
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        if rest[brace..].starts_with('}') {
            return Err(Wrong::new(
                format!("a `}}` in `{text}` closes nothing"),
                "no `{` stands before it",
            )
            .help(PLACEHOLDER_HELP));
        }
        let Some((name, after)) = rest[brace + 1..].split_once('}') else {
            return Err(Wrong::new(
                format!("a `{{` in `{text}` is not closed"),
                "no `}` follows",
            )
            .help(PLACEHOLDER_HELP));
        };
        if name != PLACEHOLDER {
            let fault = Wrong::new(
                format!("`{{{name}}}` is not a placeholder"),
                "unknown placeholder",
            );
            return Err(match words::closest(name, &[PLACEHOLDER]) {
                Some(meant) => fault.help(format!("did you mean `{{{meant}}}`?")),
                None => fault.help(PLACEHOLDER_HELP),
            });
        }
        rest = after;
    }
    Ok(())
}

/// The host a template leads to, if it is the same for all requests and the
/// scheme's own port is meant.
pub(super) fn host(redirect: &Redirect) -> Option<HostName> {
    redirect.template.strip_prefix("https://")?;
    HostName::parse(split(redirect).0).ok()
}

/// The path a template leads to, as far as it is the same for all requests;
/// `None`: that of the request.
pub(super) fn path(redirect: &Redirect) -> Option<&str> {
    let path = split(redirect).1;
    match &path[..path.find(['?', '#', '{']).unwrap_or(path.len())] {
        "" if path.starts_with('{') => None,
        "" => Some("/"),
        path => Some(path),
    }
}

/// The host of a template, and what is behind it.
fn split(redirect: &Redirect) -> (&str, &str) {
    let (_, rest) = redirect.template.split_once("://").unwrap_or_default();
    rest.split_at(rest.find(['/', '?', '#', '{']).unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_the_path_are_taken() {
        for text in [
            "https://new.xyz.com{path}",
            "http://new.xyz.com:8080/x?y=1#z",
            "https://new.xyz.com",
            "https://[::1]:8443/a{path}",
        ] {
            assert_eq!(redirect(text).map(|r| r.template), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_template_says_why() {
        let check = |text: &str, want: &str| {
            let wrong = redirect(text).unwrap_err();
            let all = format!(
                "{} / {} / {}",
                wrong.message,
                wrong.label,
                wrong.help.unwrap_or_default()
            );
            assert!(all.contains(want), "{text}: {all}");
        };
        check("new.xyz.com", "write `https://new.xyz.com`");
        check("ftp://new.xyz.com", "whole URL");
        check("/new", "whole URL");
        check("https://new.xyz.com{pth}", "did you mean `{path}`?");
        check("https://new.xyz.com/{host}", "`{path}`");
        check("https://new.xyz.com{path", "is not closed");
        check("https://new.xyz.com/path}", "closes nothing");
        check("https://{path}", "no host stands");
        check("https://u@a.com/", "'@' cannot stand");
        check("https://a.com:99999/", "':' cannot stand");
        check("https://a.com/ b", "` ` cannot stand in a URL");
        check("https://bücher.example/", "A-label");
        check("https://a.com/ü", "percent-encoded");
    }
}
