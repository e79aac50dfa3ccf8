//! `listen` and `trusted_proxies`: addresses of our own and of those before us.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Check, Wrong, endpoint, words};
use crate::config::file::{self, Shape, Value};
use crate::config::{Listen, ListenAddress};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::upstream::Address;

const HTTPS: ListenAddress = ListenAddress::Port(443);
const HTTP: ListenAddress = ListenAddress::Port(80);
const KEYS: &str = "the keys `https`, `http` and `proxy_protocol_from`";
const WHAT: &str = "a port, `addr:port`, or a list of these";

impl Check<'_> {
    pub(super) fn listen(&mut self, written: &Shape<file::Listen>, at: &Path) -> Option<Listen> {
        let Some(written) = self.mapping(written, at, KEYS)? else {
            return Some(Listen {
                https: vec![HTTPS],
                http: vec![HTTP],
                proxy_protocol_from: Vec::new(),
            });
        };
        self.keys(&written.unknown, at, words::LISTEN, "`listen`");
        let https = self.listeners(&written.https, &at.key("https"), HTTPS);
        let http = if is_off(&written.http) {
            Vec::new()
        } else {
            self.listeners(&written.http, &at.key("http"), HTTP)
        };
        let right = |found: &[(Option<ListenAddress>, Path)]| -> Vec<(ListenAddress, Path)> {
            let right = found
                .iter()
                .filter_map(|(address, at)| address.map(|address| (address, at.clone())));
            right.collect()
        };
        self.overlaps(&right(&https), &right(&http));
        let all = |found: Vec<(Option<ListenAddress>, Path)>| {
            found
                .into_iter()
                .map(|(address, _)| address)
                .collect::<Option<Vec<_>>>()
        };
        let proxies = self.networks(&written.proxy_protocol_from, &at.key("proxy_protocol_from"));
        Some(Listen {
            https: all(https)?,
            http: all(http)?,
            proxy_protocol_from: proxies?,
        })
    }

    /// Each listener with its place, or the place of one that is wrong.
    fn listeners(
        &mut self,
        value: &Value,
        at: &Path,
        default: ListenAddress,
    ) -> Vec<(Option<ListenAddress>, Path)> {
        let list = match value {
            Value::Absent => return vec![(Some(default), at.clone())],
            Value::List(list) if list.is_empty() => {
                let mut fault = Diagnostic::error(
                    Place::Value(at.clone()),
                    format!("`{}` is an empty list", at.name()),
                )
                .label(format!("expected {WHAT}"));
                if at.name() == "http" {
                    fault = fault.help("`http: off` closes it");
                }
                self.add(fault);
                return vec![(None, at.clone())];
            }
            Value::List(list) => list.as_slice(),
            Value::Null
            | Value::Switch(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Mapping(_) => {
                return vec![(self.listener(value, at), at.clone())];
            }
        };
        let read = list.iter().enumerate().map(|(n, value)| {
            let at = at.at(n);
            (self.listener(value, &at), at)
        });
        read.collect()
    }

    fn listener(&mut self, value: &Value, at: &Path) -> Option<ListenAddress> {
        let text = self.text(value, at, WHAT)??;
        match address(&text, at.name()) {
            Ok(address) => Some(address),
            Err(wrong) => {
                self.add(wrong.at(Place::Value(at.clone())));
                None
            }
        }
    }

    /// Tells of listeners that cannot both be bound.
    fn overlaps(&mut self, https: &[(ListenAddress, Path)], http: &[(ListenAddress, Path)]) {
        // By port, since only listeners of one port can meet.
        let mut taken: HashMap<u16, Vec<&(ListenAddress, Path)>> = HashMap::new();
        for listener @ (address, at) in https.iter().chain(http) {
            let same_port = taken.entry(address.port()).or_default();
            let first = same_port
                .iter()
                .find(|(first, _)| address.port() != 0 && meet(*first, *address));
            if let Some((first, first_at)) = first {
                let message = if first == address {
                    format!("hostmux cannot listen on {address} twice")
                } else {
                    format!("hostmux cannot listen on {address} and on {first}")
                };
                // A default stands nowhere in the file.
                let (at, first_at) = match self.stands(at) {
                    true => (at, first_at),
                    false => (first_at, at),
                };
                let mut fault =
                    Diagnostic::error(Place::Value(at.clone()), message).label("again here");
                if self.stands(first_at) {
                    fault = fault.other(Place::Value(first_at.clone()), "first here");
                } else {
                    fault = fault
                        .label(format!("the default of `{}`", first_at.name()))
                        .help(format!("set `{}` to another port too", first_at.name()));
                }
                self.add(fault);
                continue;
            }
            same_port.push(listener);
        }
    }

    fn stands(&self, at: &Path) -> bool {
        self.places.has(at)
    }

    /// Which of our own listeners an endpoint is, if it is one.
    pub(super) fn own_listener(&self, endpoint: &Address) -> Option<(&'static str, ListenAddress)> {
        let listen = self.listen.as_ref()?;
        let own = |listener: &&ListenAddress| leads_to(endpoint, **listener);
        if let Some(listener) = listen.https.iter().find(own) {
            return Some(("https", *listener));
        }
        listen
            .http
            .iter()
            .find(own)
            .map(|listener| ("http", *listener))
    }

    pub(super) fn networks(&mut self, value: &Value, at: &Path) -> Option<Vec<IpNet>> {
        const WHAT: &str = "a network such as `10.0.0.0/8`, or an address";
        match value {
            Value::Absent => Some(Vec::new()),
            Value::List(list) => {
                let read = list
                    .iter()
                    .enumerate()
                    .map(|(n, value)| self.network(value, &at.at(n), WHAT));
                read.collect::<Vec<_>>().into_iter().collect()
            }
            Value::Null
            | Value::Switch(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Mapping(_) => self.network(value, at, WHAT).map(|network| vec![network]),
        }
    }

    fn network(&mut self, value: &Value, at: &Path, what: &str) -> Option<IpNet> {
        let text = self.text(value, at, what)??;
        let place = Place::Value(at.clone());
        let network = match network(&text) {
            Ok(network) => network,
            Err(wrong) => {
                self.add(wrong.at(place));
                return None;
            }
        };
        if network.prefix_len() == 0 {
            self.add(
                Diagnostic::warning(
                    place,
                    format!("`{text}` believes every client about its address"),
                )
                .label("all addresses there are")
                .help("name the networks of your own proxies"),
            );
        } else if network != network.trunc() {
            self.add(
                Diagnostic::warning(place, format!("`{text}` has bits beyond its prefix"))
                    .label(format!("read as `{}`", network.trunc()))
                    .help(format!(
                        "write `{}`, or `{}` for the one address",
                        network.trunc(),
                        network.addr()
                    )),
            );
        }
        Some(network.trunc())
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Switch(on) => !on,
        Value::Text(text) => text.eq_ignore_ascii_case("off"),
        Value::Absent | Value::Null | Value::Number(_) | Value::List(_) | Value::Mapping(_) => {
            false
        }
    }
}

fn address(text: &str, key: &str) -> Result<ListenAddress, Wrong> {
    if matches!(text.to_ascii_lowercase().as_str(), "off" | "false") {
        let fault = |message: &str| Wrong::new(message, format!("expected {WHAT}"));
        return Err(match key {
            "http" => fault("`off` cannot be one of several").help("write `http: off` to close it"),
            _ => fault("`https` cannot be off").help("only `http` can be `off`"),
        });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress::Address(address));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let bracketed = SocketAddr::new(ip, if key == "http" { 80 } else { 443 });
        return Err(
            Wrong::new(format!("`{text}` has no port"), "expected `:` and a port")
                .help(format!("write `\"{bracketed}\"`")),
        );
    }
    match endpoint::address(text) {
        Ok(Address::Port(port)) if !text.contains(':') => Ok(ListenAddress::Port(port)),
        Ok(Address::Port(port)) => Err(Wrong::new(
            format!("`{text}` is not an address to listen on"),
            "a name, and perhaps several addresses",
        )
        .help(format!("write `[\"127.0.0.1:{port}\", \"[::1]:{port}\"]`"))),
        Ok(Address::Socket(_) | Address::Unix(_)) => Err(not_an_address(text)),
        // A fault of the port is the same for both; other words would mislead.
        Err(wrong) if wrong.message.contains("port") && !text.contains("://") => Err(wrong),
        Err(_) => Err(not_an_address(text)),
    }
}

fn not_an_address(text: &str) -> Wrong {
    Wrong::new(
        format!("`{text}` is not an address to listen on"),
        format!("expected {WHAT}"),
    )
    .help("write a port such as `443`, or an address of this machine such as `127.0.0.1:443`")
}

/// Whether two listeners of one port cannot both be bound. The two wildcard
/// addresses can: that of IPv6 is bound for IPv6 alone.
fn meet(one: ListenAddress, two: ListenAddress) -> bool {
    match (one, two) {
        (ListenAddress::Port(_), _) | (_, ListenAddress::Port(_)) => true,
        (ListenAddress::Address(one), ListenAddress::Address(two)) => {
            one.ip() == two.ip()
                || one.is_ipv4() == two.is_ipv4()
                    && (one.ip().is_unspecified() || two.ip().is_unspecified())
        }
    }
}

/// Whether a connection to an endpoint would reach a listener, as far as that
/// is known without asking the system for its addresses.
fn leads_to(endpoint: &Address, listener: ListenAddress) -> bool {
    let (port, ip) = match endpoint {
        Address::Port(port) => (*port, None),
        Address::Socket(address) => (address.port(), Some(address.ip())),
        Address::Unix(_) => return false,
    };
    if port != listener.port() {
        return false;
    }
    let this_machine = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    match listener {
        ListenAddress::Port(_) => ip.is_none_or(this_machine),
        ListenAddress::Address(own) if own.ip().is_unspecified() => {
            ip.is_none_or(|ip| this_machine(ip) && ip.is_ipv4() == own.is_ipv4())
        }
        ListenAddress::Address(own) => match ip {
            Some(ip) => ip == own.ip() || ip.is_unspecified() && own.ip().is_loopback(),
            None => own.ip().is_loopback(),
        },
    }
}

fn network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let fault = |label: String| Wrong::new(format!("`{text}` is not a network"), label);
    let (address, bits) = text
        .split_once('/')
        .map_or((text, None), |(a, b)| (a, Some(b)));
    match (address.parse::<IpAddr>(), bits) {
        (Ok(ip), Some(bits)) => {
            let most = if ip.is_ipv4() { 32 } else { 128 };
            Err(fault(format!(
                "`{bits}` is not a prefix length: 0 to {most}"
            )))
        }
        (_, _) => Err(fault(format!("`{address}` is not an IP address")).help(
            "write a network such as `10.0.0.0/8` or `fd00::/8`, or an address such as `10.0.0.7`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(text: &str) -> ListenAddress {
        address(text, "https").unwrap()
    }

    #[test]
    fn listeners_that_meet() {
        let check = |one: &str, two: &str, want: bool| {
            assert_eq!(meet(listener(one), listener(two)), want, "{one} {two}");
            assert_eq!(meet(listener(two), listener(one)), want, "{two} {one}");
        };
        check("443", "443", true);
        check("443", "127.0.0.1:443", true);
        check("0.0.0.0:443", "127.0.0.1:443", true);
        check("0.0.0.0:443", "[::]:443", false);
        check("[::]:443", "[::1]:443", true);
        check("127.0.0.1:443", "127.0.0.2:443", false);
    }

    #[test]
    fn endpoints_that_are_ourselves() {
        let check = |endpoint: &str, own: &str, want: bool| {
            let endpoint = endpoint::address(endpoint).unwrap();
            assert_eq!(leads_to(&endpoint, listener(own)), want, "{endpoint} {own}");
        };
        check("443", "443", true);
        check("444", "443", false);
        check("127.0.0.1:443", "443", true);
        check("[::1]:443", "443", true);
        check("10.0.0.7:443", "443", false);
        check("10.0.0.7:443", "10.0.0.7:443", true);
        check("443", "10.0.0.7:443", false);
        check("443", "127.0.0.1:443", true);
        check("443", "0.0.0.0:443", true);
        check("[::1]:443", "0.0.0.0:443", false);
        check("127.0.0.2:443", "127.0.0.1:443", false);
        check("unix:/x", "443", false);
    }

    #[test]
    fn what_is_no_address_to_listen_on_says_why() {
        let check = |text: &str, want: &str| {
            let wrong = address(text, "https").unwrap_err();
            let all = format!(
                "{} / {} / {}",
                wrong.message,
                wrong.label,
                wrong.help.unwrap_or_default()
            );
            assert!(all.contains(want), "{text}: {all}");
        };
        check("off", "only `http`");
        check("4O3", "did you mean `403`?");
        check("70000", "ports go from 1 to 65535");
        check("127.0.0.1", "write `\"127.0.0.1:443\"`");
        check("::1", "write `\"[::1]:443\"`");
        check(
            "localhost:443",
            "write `[\"127.0.0.1:443\", \"[::1]:443\"]`",
        );
        check("example.com:443", "not an address to listen on");
        check("unix:/x", "not an address to listen on");
        check("http://443", "a name");
    }

    #[test]
    fn networks_are_read() {
        assert_eq!(network("10.0.0.7").unwrap().to_string(), "10.0.0.7/32");
        assert_eq!(network("fd00::/8").unwrap().to_string(), "fd00::/8");
        for text in ["10.0.0.0/33", "10.0.0", "banana", "", "10.0.0.0/x"] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
