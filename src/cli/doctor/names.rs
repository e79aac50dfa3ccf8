//! Where the names of sites lead: to this machine, or elsewhere, or nowhere.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use super::each::{TIME_MAX, each};
use super::finding::{Check, Finding};
use crate::config::{Config, Listen, ListenAddress};
use crate::host::{HostName, HostPattern};
use crate::upstream::discovery::NameService;
use crate::upstream::discovery::once::{Asking, Led};

const CHECK: Check = Check::Names;

/// How many names are looked up; of more sites only the first.
pub const NAMES_MAX: usize = 256;
/// How long one may take, with both families and all tries.
const TIMEOUT: Duration = Duration::from_secs(6);
/// A label that no site has: what a wildcard is asked with.
pub const MADE_UP: &str = "hostmux-doctor";
/// An address of nobody (RFC 5737).
const NOBODYS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A name of a site, and where it leads.
#[derive(Debug)]
pub struct Lookup {
    /// As `sites.yaml` has it.
    pub pattern: HostPattern,
    /// What was asked for: the name, or one that the wildcard holds.
    pub asked: String,
    pub led: Leads,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Leads {
    /// `.localhost` (RFC 6761 §6.3): nobody is asked.
    Here,
    Asked(Led),
}

/// What was looked up.
#[derive(Debug)]
pub struct Lookups {
    pub lookups: Vec<Lookup>,
    /// How many more there are.
    pub left: usize,
    /// How many were given up.
    pub late: usize,
}

/// Looks all names up at once. Needs a place where local tasks can be spawned.
pub async fn gather(config: &Config, service: NameService) -> Lookups {
    let asking = Rc::new(Asking::new(service));
    let hosts: Vec<HostPattern> = config
        .sites
        .iter()
        .flat_map(|site| site.hosts.clone())
        .collect();
    let left = hosts.len().saturating_sub(NAMES_MAX);
    let hosts = hosts.into_iter().take(NAMES_MAX);
    let lookups = hosts.map(|pattern| {
        let asking = asking.clone();
        async move {
            let asked = asked_for(&pattern);
            let led = lead(&asking, &asked).await;
            Lookup {
                pattern,
                asked,
                led,
            }
        }
    });
    let done = each(lookups.collect(), TIME_MAX).await;
    Lookups {
        lookups: done.given,
        left,
        late: done.late,
    }
}

async fn lead(asking: &Asking, name: &str) -> Leads {
    if name == "localhost" || name.ends_with(".localhost") {
        return Leads::Here;
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Leads::Asked(Led::To(vec![address]));
    }
    let Ok(host) = HostName::parse(name) else {
        return Leads::Asked(Led::Nowhere("it is longer than a name can be".to_owned()));
    };
    let led = tokio::time::timeout(TIMEOUT, asking.addresses(&host)).await;
    Leads::Asked(led.unwrap_or_else(|_| Led::Unknown(format!("no answer within {TIMEOUT:?}"))))
}

/// The name itself; for a wildcard one that it holds.
pub(super) fn asked_for(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Wildcard(parent) => format!("{MADE_UP}.{parent}"),
    }
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Loopback,
    Ours,
    Anothers,
    /// The system lets everyone bind any address, so that it cannot be asked.
    Unknown,
}

/// Asks the system whose an address is: only a machine's own can be bound.
/// Nothing is sent.
pub(super) fn whose(address: IpAddr) -> Whose {
    let is_ours = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    let address = address.to_canonical();
    if address.is_loopback() {
        Whose::Loopback
    } else if is_ours(NOBODYS) {
        Whose::Unknown
    } else if is_ours(address) {
        Whose::Ours
    } else {
        Whose::Anothers
    }
}

/// `whose`: whose an address is.
pub fn judge(lookup: &Lookup, listen: &Listen, whose: &dyn Fn(IpAddr) -> Whose) -> Finding {
    let (pattern, asked) = (&lookup.pattern, lookup.asked.as_str());
    let name = match pattern {
        HostPattern::Exact(_) => asked.to_owned(),
        HostPattern::Wildcard(_) => format!("{pattern} (asked for {asked})"),
    };
    let addresses = match &lookup.led {
        Leads::Here => {
            let what =
                format!("{name} is this machine for browsers and curl, and nobody has to be asked");
            return Finding::ok(CHECK, what);
        }
        Leads::Asked(Led::To(addresses)) => addresses,
        Leads::Asked(Led::Nowhere(why)) => {
            return Finding::warning(CHECK, format!("{name} leads nowhere: {why}"))
                .why("no browser that asks as this machine does can find the site")
                .fix(record(pattern))
                .fix(table(asked));
        }
        Leads::Asked(Led::Unknown(why)) => {
            return Finding::warning(CHECK, format!("{name} could not be looked up: {why}"))
                .why("whether browsers can find the site is not known")
                .fix(format!(
                    "`getent ahosts {asked}`, and the servers in /etc/resolv.conf"
                ));
        }
    };
    let of = |wanted: Whose| -> Vec<IpAddr> {
        let of = addresses
            .iter()
            .filter(|address| whose(**address) == wanted);
        of.copied().collect()
    };
    let (others, unknown) = (of(Whose::Anothers), of(Whose::Unknown));
    if !others.is_empty() {
        return elsewhere(
            &name,
            pattern,
            asked,
            &others,
            others.len() == addresses.len(),
        );
    }
    let deaf: Vec<IpAddr> = addresses
        .iter()
        .filter(|address| !listens(listen, **address))
        .copied()
        .collect();
    if !deaf.is_empty() && deaf.len() == addresses.len() {
        let what = format!(
            "{name} leads to {}, where `listen` has no address",
            told(&deaf)
        );
        return Finding::warning(CHECK, what)
            .why("the name leads to this machine, and hostmux listens on others of its addresses")
            .fix("a bare port under `listen`, which is all addresses, or this address there")
            .fix(record(pattern));
    }
    let what = format!("{name} leads to {}", told(addresses));
    if !unknown.is_empty() {
        return Finding::note(
            CHECK,
            format!("{what}; whose address that is, the system does not tell"),
        )
        .why("net.ipv4.ip_nonlocal_bind lets every address be bound")
        .fix("`ip addr` shows this machine's addresses");
    }
    match of(Whose::Loopback).len() == addresses.len() {
        true => Finding::ok(CHECK, format!("{what}: from this machine alone")),
        false => Finding::ok(CHECK, format!("{what}, this machine")),
    }
}

fn elsewhere(
    name: &str,
    pattern: &HostPattern,
    asked: &str,
    others: &[IpAddr],
    all: bool,
) -> Finding {
    let (also, are) = match (all, others.len()) {
        (true, 1) => ("", "which is no address of this machine"),
        (true, _) => ("", "which are no addresses of this machine"),
        (false, 1) => (" also", "which is no address of this machine"),
        (false, _) => (" also", "which are no addresses of this machine"),
    };
    Finding::warning(CHECK, format!("{name}{also} leads to {}, {are}", told(others)))
        .why("right where a router or a load balancer there passes the ports on to this machine; else these clients never come here")
        .fix(record(pattern))
        .fix(table(asked))
}

fn record(pattern: &HostPattern) -> String {
    format!("an A or AAAA record for {pattern} with an address of this machine")
}

fn table(asked: &str) -> String {
    format!("for this machine alone: `echo '127.0.0.1 {asked}' | sudo tee -a /etc/hosts`")
}

fn told(addresses: &[IpAddr]) -> String {
    let told: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    told.join(" and ")
}

/// Whether a listener takes what comes to an address.
fn listens(listen: &Listen, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let mut all = listen.https.iter().chain(&listen.http);
    all.any(|listener| match listener {
        ListenAddress::Port(_) => true,
        ListenAddress::Address(at) => {
            let at = at.ip().to_canonical();
            at == address || at.is_unspecified() && at.is_ipv4() == address.is_ipv4()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn an_address_is_ours_or_not() {
        assert_eq!(whose(IpAddr::from([127, 0, 0, 53])), Whose::Loopback);
        assert_ne!(whose(NOBODYS), Whose::Ours);
    }

    #[test]
    fn a_name_is_judged_by_where_it_leads() {
        let check = |host: &str, at: &str, led: Led, want: Severity, words: &str| {
            let pattern = HostPattern::parse(host).unwrap();
            let lookup = Lookup {
                asked: asked_for(&pattern),
                pattern,
                led: Leads::Asked(led),
            };
            let at = match at {
                "" => ListenAddress::Port(443),
                at => ListenAddress::Address(at.parse().unwrap()),
            };
            let listen = Listen {
                https: vec![at],
                http: Vec::new(),
                proxy_protocol_from: Vec::new(),
            };
            let whose = |address: IpAddr| match address.to_string().as_str() {
                "127.0.0.1" | "::1" => Whose::Loopback,
                "10.0.0.1" => Whose::Ours,
                "10.0.0.9" => Whose::Unknown,
                _ => Whose::Anothers,
            };
            let found = judge(&lookup, &listen, &whose);
            let all = format!("{found:?}");
            assert_eq!(found.severity, want, "{all}");
            assert!(all.contains(words), "{all}");
        };
        let to = |ips: &[&str]| Led::To(ips.iter().map(|ip| ip.parse().unwrap()).collect());
        use Severity::{Note, Ok, Warning};
        check(
            "a.test",
            "",
            to(&["127.0.0.1", "::1"]),
            Ok,
            "this machine alone",
        );
        check("a.test", "", to(&["10.0.0.1"]), Ok, "leads to 10.0.0.1");
        check(
            "a.test",
            "",
            to(&["203.0.113.7"]),
            Warning,
            "leads to 203.0.113.7, which is no address of this machine",
        );
        check(
            "a.test",
            "",
            to(&["10.0.0.1", "203.0.113.7"]),
            Warning,
            "a.test also leads to 203.0.113.7",
        );
        check("a.test", "", to(&["10.0.0.9"]), Note, "ip_nonlocal_bind");
        check(
            "a.test",
            "127.0.0.1:8443",
            to(&["10.0.0.1"]),
            Warning,
            "where `listen` has no address",
        );
        check("a.test", "0.0.0.0:443", to(&["10.0.0.1"]), Ok, "leads to");
        check(
            "a.test",
            "",
            Led::Nowhere("gone".to_owned()),
            Warning,
            "echo '127.0.0.1 a.test'",
        );
        check(
            "a.test",
            "",
            Led::Unknown("slow".to_owned()),
            Warning,
            "getent ahosts a.test",
        );
        check(
            "*.p.test",
            "",
            to(&["203.0.113.7"]),
            Warning,
            "record for *.p.test",
        );
    }
}
