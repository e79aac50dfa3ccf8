//! The keys there are, and what was probably meant by one there is not.

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
    "wait_for_endpoint",
    "connect_timeout",
    "response_timeout",
    "tls",
];
pub(super) const ENDPOINT: &[&str] = &["address", "tls"];
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
    "balance",
    "sticky",
    "health_check",
    "eject",
    "weight",
    "backup",
    "max_connections",
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
    ("`tls` of an endpoint", TLS),
];

/// What other proxies call our keys.
const ELSEWHERE: &[(&str, &[&str])] = &[
    (
        "upstream",
        &[
            "backend",
            "backends",
            "port",
            "ports",
            "proxy",
            "proxy_pass",
            "reverse_proxy",
            "server",
            "service",
            "target",
            "to",
            "url",
        ],
    ),
    (
        "endpoints",
        &["addresses", "backends", "ports", "servers", "targets"],
    ),
    (
        "sites",
        &[
            "domains",
            "hosts",
            "servers",
            "services",
            "virtual_hosts",
            "vhosts",
        ],
    ),
    (
        "fallback",
        &["catch_all", "default", "default_server", "default_site"],
    ),
    ("certificate", &["cert", "ssl", "ssl_certificate"]),
    (
        "routes",
        &["handle", "location", "locations", "paths", "prefixes"],
    ),
    (
        "strip_prefix",
        &[
            "handle_path",
            "strip_path",
            "stripprefix",
            "uri_strip_prefix",
        ],
    ),
    (
        "chain",
        &["cert", "certificate", "crt", "file", "fullchain"],
    ),
    ("key", &["private_key"]),
    (
        "ca",
        &[
            "ca_cert",
            "ca_file",
            "cacert",
            "cafile",
            "cert",
            "certificate",
            "root_ca",
            "roots",
            "ssl_trusted_certificate",
            "trusted_ca",
        ],
    ),
    (
        "name",
        &["host", "proxy_ssl_name", "server_name", "servername", "sni"],
    ),
    ("directory", &["dir", "folder", "path"]),
    ("https", &["port", "ssl", "tls"]),
    ("proxy_protocol_from", &["accept_proxy", "proxy_protocol"]),
    (
        "response_timeout",
        &["proxy_read_timeout", "read_timeout", "timeout"],
    ),
    (
        "max_body",
        &["body_limit", "client_max_body_size", "max_body_size"],
    ),
    ("plain_http", &["force_https", "http", "https_redirect"]),
    ("max_age", &["age", "for"]),
    (
        "address",
        &[
            "endpoint", "host", "port", "server", "target", "upstream", "url",
        ],
    ),
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
    let help = match meant.or_else(|| closest(text, values)) {
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
    let key = key.to_lowercase().replace('-', "_");
    let ours = |name: &str| {
        ELSEWHERE
            .iter()
            .any(|(ours, theirs)| *ours == name && theirs.contains(&key.as_str()))
    };
    known.iter().copied().find(|name| ours(name))
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
        assert_eq!(translated("banana", TOP), None);
    }
}
