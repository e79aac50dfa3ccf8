//! The keys there are, and what was probably meant by one there is not.

mod elsewhere;

use crate::diagnostic::{Diagnostic, Path, Place};

pub(super) const TOP: &[&str] = &[
    "listen",
    "certificates",
    "trusted_proxies",
    "log",
    "defaults",
    "sites",
    "fallback",
];
pub(super) const LISTEN: &[&str] = &["https", "http", "proxy_protocol_from"];
pub(super) const CERTIFICATES: &[&str] = &["directory", "otherwise"];
pub(super) const LOG: &[&str] = &["format", "requests"];
pub(super) const POLICIES: &[&str] = &["host", "plain_http", "hsts", "max_body"];
pub(super) const SITE: &[&str] = &[
    "upstream",
    "redirect",
    "host",
    "plain_http",
    "hsts",
    "certificate",
    "max_body",
    "routes",
];
pub(super) const ROUTE: &[&str] = &[
    "upstream",
    "redirect",
    "strip_prefix",
    "host",
    "plain_http",
    "hsts",
    "max_body",
];
pub(super) const HSTS: &[&str] = &["max_age", "include_subdomains", "preload"];
pub(super) const CERTIFICATE: &[&str] = &["chain", "key"];
pub(super) const UPSTREAM: &[&str] = &[
    "endpoints",
    "balance",
    "sticky",
    "health_check",
    "eject",
    "max_connections",
    "wait_for_endpoint",
    "connect_timeout",
    "response_timeout",
    "tls",
];
pub(super) const ENDPOINT: &[&str] = &["address", "weight", "backup", "tls"];
pub(super) const HEALTH_CHECK: &[&str] = &[
    "path",
    "host",
    "every",
    "timeout",
    "status",
    "down_after",
    "up_after",
];
pub(super) const EJECT: &[&str] = &["after", "for"];
pub(super) const TLS: &[&str] = &["ca", "name"];

/// Keys that have no default where they stand.
pub(super) const REQUIRED: &[&str] = &[
    "address",
    "chain",
    "endpoints",
    "key",
    "max_age",
    "redirect",
    "routes",
    "upstream",
];

/// Keys of the reference that a later version brings.
pub(super) const NOT_YET: &[&str] = &[
    "http3",
    "acme",
    "metrics",
    "allow",
    "deny",
    "rate_limit",
    "auth",
    "forward_auth",
    "rewrite",
    "headers",
    "cache",
    "compress",
    "errors",
];

/// Where a key belongs that stands elsewhere.
const HOMES: &[(&str, &[&str])] = &[
    ("the top of the file", TOP),
    ("`listen`", LISTEN),
    ("`certificates`", CERTIFICATES),
    ("`log`", LOG),
    ("a site or `defaults`", POLICIES),
    ("a site", SITE),
    ("a route", ROUTE),
    ("`hsts`", HSTS),
    ("`certificate`", CERTIFICATE),
    ("`upstream`", UPSTREAM),
    ("an endpoint", &["weight", "backup"]),
    ("`health_check`", &["every", "down_after", "up_after"]),
    ("`tls` of an endpoint", TLS),
];

/// What others call it not to look at a certificate.
const UNVERIFIED: &[&str] = &[
    "insecure",
    "insecure_skip_verify",
    "proxy_ssl_verify",
    "skip_verify",
    "tls_insecure_skip_verify",
    "verify",
];

/// A key that is not there: misspelt, from elsewhere, or of a later version.
pub(super) fn unknown_key(key: &str, at: &Path, known: &[&str], of: &str) -> Diagnostic {
    let place = Place::Key(at.clone());
    if NOT_YET.contains(&key) {
        return Diagnostic::error(
            place,
            format!("`{key}` is not in this version of hostmux yet"),
        )
        .label("known, but not yet served")
        .help("remove it to run this version");
    }
    let message = match key.trim() {
        "" => format!("an empty text is not a key of {of}"),
        _ => format!("`{key}` is not a key of {of}"),
    };
    let fault = Diagnostic::error(place, message).label("unknown key");
    if known == TLS && UNVERIFIED.contains(&key.to_lowercase().replace('-', "_").as_str()) {
        return fault.help(
            "certificates of endpoints are always verified: give the CA or the endpoint's own certificate with `ca`, or the name with `name`",
        );
    }
    if key.starts_with('/') && (known == SITE || known == POLICIES) {
        let fault = fault.label("looks like a route");
        return fault.help(format!(
            "routes stand under `routes` of a site:\nroutes:\n  {key}: …"
        ));
    }
    let names = match known {
        [one] => format!("key here is `{one}`"),
        _ => format!("keys here are {}", listed(known, "and")),
    };
    if let Some(meant) = meant(key, known) {
        return fault.help(format!("did you mean `{meant}`? The {names}"));
    }
    if let Some((home, _)) = HOMES.iter().find(|(_, keys)| keys.contains(&key)) {
        return fault.help(format!("`{key}` belongs to {home}; the {names}"));
    }
    if let Some(meant) = closest(key, NOT_YET) {
        return fault.help(format!(
            "`{meant}` is not in this version of hostmux yet; the {names}"
        ));
    }
    fault.help(format!("the {names}"))
}

/// A value that is none of those a key can have.
pub(super) fn not_a_value(
    text: &str,
    at: &Path,
    values: &[&str],
    meant: Option<&str>,
) -> Diagnostic {
    let names = listed(values, "or");
    let meant = meant
        .or_else(|| closest(text, values))
        .or_else(|| elsewhere::translate(text, values, elsewhere::VALUES));
    let help = match meant {
        Some(meant) => format!("did you mean `{meant}`? It can be {names}"),
        None => format!("it can be {names}"),
    };
    Diagnostic::error(
        Place::Value(at.clone()),
        format!("`{text}` is not a value of `{}`", at.name()),
    )
    .label("unknown value")
    .help(help)
}

/// The word that was probably meant.
pub(super) fn closest<'a>(word: &str, among: &[&'a str]) -> Option<&'a str> {
    const WORD_CHARS_MAX: usize = 40;
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let plain = |word: &str| word.to_lowercase().replace(['-', '_', ' '], "");
    let word = plain(word);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let near = |known: &&'a str| (strsim::osa_distance(&word, &plain(known)), *known);
    among
        .iter()
        .map(near)
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The key that was probably meant, misspelt or by another proxy's name.
pub(super) fn meant<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    closest(key, known).or_else(|| translated(key, known))
}

fn translated<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    elsewhere::translate(key, known, elsewhere::KEYS)
}

/// `a`, `b` and `c`, in backquotes.
pub(super) fn listed(words: &[&str], last: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((end, [])) => end.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let check = |word: &str, among: &[&'static str], want: Option<&str>| {
            assert_eq!(closest(word, among), want, "{word}");
        };
        check("upsteam", SITE, Some("upstream"));
        check("max-body", SITE, Some("max_body"));
        check("maxBody", SITE, Some("max_body"));
        check(
            "redirct",
            &["redirect", "serve", "refuse"],
            Some("redirect"),
        );
        check("site", TOP, Some("sites"));
        check("banana", SITE, None);
        check("x", SITE, None);
    }

    #[test]
    fn keys_of_other_proxies_are_translated() {
        assert_eq!(translated("proxy_pass", SITE), Some("upstream"));
        assert_eq!(translated("servers", UPSTREAM), Some("endpoints"));
        assert_eq!(translated("servers", TOP), Some("sites"));
        assert_eq!(translated("least-conn", UPSTREAM), Some("balance"));
        assert_eq!(translated("max_fails", UPSTREAM), Some("eject"));
        assert_eq!(translated("max_fails", HEALTH_CHECK), Some("down_after"));
        assert_eq!(translated("max_fails", EJECT), Some("after"));
        assert_eq!(translated("banana", TOP), None);
    }
}
