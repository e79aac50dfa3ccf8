//! Where a request comes from, and how endpoints are told
//! (`X-Forwarded-*`, RFC 7239 `Forwarded`).
//!
//! A client's own word counts for nothing unless it connects from one of
//! `trusted_proxies`; then the chain is read from the right, up to the first
//! address that is not trusted.

use std::io::Write;
use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::path::PathPrefix;

/// Who asks, over what, as endpoints are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub client: IpAddr,
    /// The addresses from the client to the one that connected.
    pub chain: Option<String>,
    pub secure: bool,
    /// What a trusted proxy says the client asked for.
    pub host: Option<String>,
    /// What a trusted proxy says was taken off the path before us.
    pub prefix: Option<String>,
    /// The fields of a trusted proxy are passed on; all others are dropped.
    pub trusted: bool,
}

impl Origin {
    /// The origin of a request that came from `peer`.
    pub fn of(peer: IpAddr, secure: bool, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let believed = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
        if trusted.is_empty() || !believed(&peer) {
            return Self {
                client: peer,
                chain: None,
                secure,
                host: None,
                prefix: None,
                trusted: false,
            };
        }
        let chain = chain(headers);
        // From the right up to the first that is not trusted; what stands left of
        // it, or of what is no address, is a stranger's word.
        let mut from = chain.len();
        for (at, address) in chain.iter().enumerate().rev() {
            let Some(address) = address else { break };
            from = at;
            if !believed(address) {
                break;
            }
        }
        let known = &chain[from..];
        let client = known.first().copied().flatten().unwrap_or(peer);
        let mut text = String::new();
        for address in known.iter().flatten() {
            text.push_str(&address.to_string());
            text.push_str(", ");
        }
        text.push_str(&peer.to_string());
        let last = |name: &str| {
            let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
            Some(value.rsplit(',').next().unwrap_or(value).trim().to_owned())
        };
        Self {
            client,
            chain: Some(text),
            secure: last("x-forwarded-proto")
                .map_or(secure, |proto| proto.eq_ignore_ascii_case("https")),
            host: last("x-forwarded-host")
                .filter(|host| crate::host::Authority::parse(host).is_ok()),
            prefix: prefix(headers),
            trusted: true,
        }
    }

    /// Writes the fields that tell an endpoint, as HTTP/1 lines.
    pub fn write(&self, host: &str, out: &mut Vec<u8>) {
        let host = self.host.as_deref().unwrap_or(host);
        let (proto, default_port) = if self.secure {
            ("https", "443")
        } else {
            ("http", "80")
        };
        let port = port_of(host).unwrap_or(default_port);
        let chain = self.chain.as_deref();
        // Writing into a Vec does not fail.
        let _ = match chain {
            Some(chain) => write!(out, "x-forwarded-for: {chain}\r\n"),
            None => write!(out, "x-forwarded-for: {}\r\n", self.client),
        };
        let _ = write!(out, "x-real-ip: {}\r\n", self.client);
        for part in [
            "x-forwarded-proto: ",
            proto,
            "\r\nx-forwarded-host: ",
            host,
            "\r\nx-forwarded-port: ",
            port,
            "\r\nforwarded: ",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        match chain {
            Some(chain) => {
                for (n, address) in chain.split(", ").enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    let _ = write!(out, "{comma}for={}", node(address));
                }
            }
            None => {
                let _ = match self.client {
                    IpAddr::V4(address) => write!(out, "for={address}"),
                    IpAddr::V6(address) => write!(out, "for=\"[{address}]\""),
                };
            }
        }
        // RFC 7239 §4: a value with a colon is quoted.
        let quote = if host.contains(':') { "\"" } else { "" };
        for part in [";host=", quote, host, quote, ";proto=", proto, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// RFC 7239 §6: an IPv6 address stands in brackets and quotes.
fn node(address: &str) -> String {
    if address.contains(':') {
        format!("\"[{address}]\"")
    } else {
        address.to_owned()
    }
}

fn port_of(host: &str) -> Option<&str> {
    let after = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let port = host[after..]
        .strip_prefix(':')
        .or_else(|| host[after..].split_once(':').map(|(_, port)| port))?;
    (!port.is_empty()).then_some(port)
}

/// All `X-Forwarded-Prefix` lines as one prefix: each proxy on the way may have
/// added its own. `None`, too, if one of them is none.
fn prefix(headers: &HeaderMap) -> Option<String> {
    let mut whole = String::new();
    for value in headers.get_all("x-forwarded-prefix") {
        for text in value.to_str().ok()?.split(',') {
            let prefix = PathPrefix::parse(text.trim_matches([' ', '\t'])).ok()?;
            if !prefix.is_root() {
                whole.push_str(prefix.as_str());
            }
        }
    }
    (!whole.is_empty()).then_some(whole)
}

/// The addresses of all `X-Forwarded-For` lines; `None` for what is no address.
fn chain(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|text| {
            // What is no text is no address, and hides none beside it. OWS alone
            // is trimmed (RFC 9110 §5.6.3).
            let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
            let bare = text
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .map_or(text, |(inner, _)| inner);
            bare.parse()
                .ok()
                .or_else(|| text.rsplit_once(':')?.0.parse().ok())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, fields: &[(&'static str, &str)], trusted: &[&str]) -> Origin {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Origin::of(peer.parse().unwrap(), true, &headers, &trusted)
    }

    #[test]
    fn a_chain_is_believed_from_the_right_and_only_from_a_trusted_peer() {
        let check = |peer: &str, lines: &[&str], trusted: &[&str], want: &str| {
            let fields: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            assert_eq!(
                origin(peer, &fields, trusted).client.to_string(),
                want,
                "{peer} {lines:?}"
            );
        };
        check("9.9.9.9", &["1.1.1.1"], &[], "9.9.9.9");
        check("9.9.9.9", &["1.1.1.1"], &["10.0.0.0/8"], "9.9.9.9");
        check("10.0.0.1", &["1.1.1.1"], &["10.0.0.0/8"], "1.1.1.1");
        check(
            "10.0.0.1",
            &["6.6.6.6, 1.1.1.1, 10.0.0.2"],
            &["10.0.0.0/8"],
            "1.1.1.1",
        );
        check(
            "10.0.0.1",
            &["6.6.6.6", "1.1.1.1"],
            &["10.0.0.0/8"],
            "1.1.1.1",
        );
        check(
            "10.0.0.1",
            &["10.0.0.3, 10.0.0.2"],
            &["10.0.0.0/8"],
            "10.0.0.3",
        );
        check("10.0.0.1", &["6.6.6.6, junk"], &["10.0.0.0/8"], "10.0.0.1");
        check("10.0.0.1", &[], &["10.0.0.0/8"], "10.0.0.1");
        check(
            "10.0.0.1",
            &["[2001:db8::1]:99"],
            &["10.0.0.0/8"],
            "2001:db8::1",
        );
        // A client can put any byte in front of what a trusted proxy adds.
        check("10.0.0.1", &["\u{e9}, 1.1.1.1"], &["10.0.0.0/8"], "1.1.1.1");
        check("10.0.0.1", &["1.1.1.1:99"], &["10.0.0.0/8"], "1.1.1.1");
    }

    /// The peer's own address stood in what a stranger had said, and all behind
    /// it was passed on.
    #[test]
    fn a_strangers_chain_is_not_passed_on() {
        let check = |forwarded: &str, want: &str| {
            let fields = [("x-forwarded-for", forwarded)];
            let origin = origin("10.0.0.1", &fields, &["10.0.0.0/8"]);
            assert_eq!(origin.chain.as_deref(), Some(want), "{forwarded}");
        };
        check("10.0.0.1, 203.0.113.7, unknown", "10.0.0.1");
        check("9.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1, 10.0.0.2, 10.0.0.1");
        check("1.1.1.1, \u{a0}10.0.0.2", "10.0.0.1");
        check("", "10.0.0.1");
    }

    #[test]
    fn a_trusted_proxys_prefix_is_believed_where_it_is_one() {
        let check = |lines: &[&str], trusted: &[&str], want: Option<&str>| {
            let fields: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-prefix", *line))
                .collect();
            let origin = origin("10.0.0.1", &fields, trusted);
            assert_eq!(origin.prefix.as_deref(), want, "{lines:?}");
        };
        check(&["/a"], &[], None);
        check(&["/a"], &["10.0.0.0/8"], Some("/a"));
        check(&["/a/", "/b, /c"], &["10.0.0.0/8"], Some("/a/b/c"));
        check(&["/"], &["10.0.0.0/8"], None);
        check(&["//evil.test"], &["10.0.0.0/8"], None);
        check(&["/a", "b"], &["10.0.0.0/8"], None);
    }

    #[test]
    fn endpoints_are_told_in_every_common_way() {
        let check = |origin: &Origin, host: &str, want: &str| {
            let mut out = Vec::new();
            origin.write(host, &mut out);
            assert_eq!(String::from_utf8(out).unwrap().replace("\r\n", "|"), want);
        };
        check(
            &origin(
                "9.9.9.9",
                &[
                    ("x-forwarded-for", "6.6.6.6"),
                    ("x-forwarded-proto", "http"),
                ],
                &[],
            ),
            "a.com:8443",
            "x-forwarded-for: 9.9.9.9|x-real-ip: 9.9.9.9|x-forwarded-proto: https|x-forwarded-host: a.com:8443|\
             x-forwarded-port: 8443|forwarded: for=9.9.9.9;host=\"a.com:8443\";proto=https|",
        );
        check(
            &origin("2001:db8::1", &[], &[]),
            "a.com",
            "x-forwarded-for: 2001:db8::1|x-real-ip: 2001:db8::1|x-forwarded-proto: https|x-forwarded-host: a.com|\
             x-forwarded-port: 443|forwarded: for=\"[2001:db8::1]\";host=a.com;proto=https|",
        );
        check(
            &origin(
                "10.0.0.1",
                &[
                    ("x-forwarded-for", "2001:db8::1"),
                    ("x-forwarded-proto", "http"),
                    ("x-forwarded-host", "b.com"),
                ],
                &["10.0.0.0/8"],
            ),
            "a.com",
            "x-forwarded-for: 2001:db8::1, 10.0.0.1|x-real-ip: 2001:db8::1|x-forwarded-proto: http|\
             x-forwarded-host: b.com|x-forwarded-port: 80|\
             forwarded: for=\"[2001:db8::1]\", for=10.0.0.1;host=b.com;proto=http|",
        );
    }
}
