//! The ports of `listen`: whether hostmux can have them, and who has them else.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use super::finding::{Check, Finding};
use super::service::Life;
use crate::config::{Listen, ListenAddress};
use crate::server::holder::{self, Holder, Listening};

const CHECK: Check = Check::Ports;
/// Below this port a right is needed, where the system does not say otherwise.
const UNPRIVILEGED_PORT_START: u16 = 1024;
/// Programs that systemd starts under their own name.
const SERVICES: [&str; 7] = [
    "apache2", "caddy", "haproxy", "httpd", "lighttpd", "nginx", "traefik",
];

/// An address of `listen`, and what was found there.
#[derive(Debug)]
pub struct Port {
    pub address: ListenAddress,
    /// `https` or `http`.
    pub key: &'static str,
    pub state: State,
}

/// What became of trying to have it.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Free,
    /// By someone whom we may not see: `None`.
    Held(Option<Holder>),
    /// Nobody has it, and this user may not.
    Denied {
        /// The first port that needs no right.
        free_from: u16,
    },
    /// This machine has not this address.
    Elsewhere,
    Failed(String),
}

/// Tries each address. Nothing listens for it: who starts meanwhile is not kept
/// from the port.
pub(super) fn gather(listen: &Listen) -> Vec<Port> {
    let https = listen.https.iter().map(|address| (*address, "https"));
    let http = listen.http.iter().map(|address| (*address, "http"));
    let port = |(address, key)| Port {
        address,
        key,
        state: state(address),
    };
    https.chain(http).map(port).collect()
}

fn state(address: ListenAddress) -> State {
    match attempt(address) {
        Ok(()) => State::Free,
        Err(Errno::ADDRINUSE) => State::Held(in_the_way(address).and_then(|it| it.holder)),
        // The right is asked for first: the port may be held as well.
        Err(Errno::ACCESS | Errno::PERM) => match in_the_way(address) {
            Some(socket) => State::Held(socket.holder),
            None => State::Denied {
                free_from: fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                    .unwrap_or(UNPRIVILEGED_PORT_START),
            },
        },
        Err(Errno::ADDRNOTAVAIL) => State::Elsewhere,
        Err(error) => State::Failed(error.to_string()),
    }
}

/// Who listens where this address would, of all that listen on its port; one
/// whose process is known comes first.
fn in_the_way(address: ListenAddress) -> Option<Listening> {
    let mut all = holder::listening();
    all.retain(|socket| match address {
        ListenAddress::Port(port) => socket.address.port() == port,
        ListenAddress::Address(own) => {
            let ip = socket.address.ip().to_canonical();
            socket.address.port() == own.port() && (ip == own.ip() || ip.is_unspecified())
        }
    });
    let known = all.iter().position(|socket| socket.holder.is_some());
    (!all.is_empty()).then(|| all.swap_remove(known.unwrap_or(0)))
}

/// As a listener is bound (`server::listener`).
fn attempt(address: ListenAddress) -> Result<(), Errno> {
    match address {
        ListenAddress::Address(address) => attempt_at(address, true),
        ListenAddress::Port(port) => {
            match attempt_at((Ipv6Addr::UNSPECIFIED, port).into(), false) {
                // A machine without IPv6.
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                    attempt_at((Ipv4Addr::UNSPECIFIED, port).into(), false)
                }
                other => other,
            }
        }
    }
}

fn attempt_at(address: SocketAddr, only_v6: bool) -> Result<(), Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_v6)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)
}

/// `life`: whether a hostmux runs here, and whether a service would start one.
pub(super) fn judge(port: &Port, life: &Life) -> Finding {
    let number = port.address.port();
    let name = format!("{} ({})", port.address, port.key);
    match &port.state {
        State::Free => match life.pid {
            Some(pid) if life.serves_this => Finding::note(
                CHECK,
                format!("{name} is free: hostmux (process {pid}) does not listen there"),
            )
            .why("`listen` waits for a restart or an upgrade")
            .fix("`hostmux upgrade`, which nobody notices")
            .fix("`sudo systemctl restart hostmux`, or stop it and start it anew"),
            Some(_) | None => Finding::ok(CHECK, format!("{name} is free")),
        },
        State::Held(Some(holder)) => held(&name, port, holder, life),
        State::Held(None) => match life.pid {
            Some(pid) => Finding::note(
                CHECK,
                format!("{name} is held, probably by hostmux (process {pid})"),
            )
            .why("another user's process: this user may not see whose port it is")
            .fix("`sudo hostmux doctor`"),
            None => Finding::error(CHECK, format!("{name} is held by another user's program"))
                .why("hostmux does not start while somebody else listens there")
                .fix(format!(
                    "`sudo ss -ltnp 'sport = :{number}'` names it: stop it"
                ))
                .fix(another_port(port)),
        },
        State::Denied { .. } if life.unit => {
            Finding::note(CHECK, format!("{name} is free, and this user may not listen there"))
                .why("hostmux.service has the right by its unit, and needs none of this user")
                .fix("`sudo hostmux doctor` tries it")
        }
        State::Denied { free_from } => Finding::error(
            CHECK,
            format!("{name} is free, and needs a right that this user has not"),
        )
        .why(format!(
            "ports below {free_from} are for root and CAP_NET_BIND_SERVICE: `hostmux run` would not start"
        ))
        .fix("`sudo setcap cap_net_bind_service=+ep \"$(command -v hostmux)\"`")
        .fix("AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit")
        .fix(another_port(port)),
        State::Elsewhere => {
            Finding::error(CHECK, format!("{name} is no address of this machine"))
                .why("hostmux does not start where it cannot listen on all that `listen` names")
                .fix("`ip addr` shows the addresses; a bare port is all of them")
        }
        State::Failed(why) => {
            Finding::error(CHECK, format!("{name} cannot be had: {why}"))
                .why("hostmux does not start where it cannot listen on all that `listen` names")
                .fix("see `listen` in sites.yaml")
        }
    }
}

fn held(name: &str, port: &Port, holder: &Holder, life: &Life) -> Finding {
    let number = port.address.port();
    if life.pid == Some(holder.pid) || holder.name == "hostmux" {
        let what = format!("{name} is held by hostmux itself (process {})", holder.pid);
        return Finding::ok(CHECK, what);
    }
    if holder.pid == 1 && holder.name == "systemd" {
        return Finding::note(CHECK, format!("{name} is held by systemd"))
            .why("as it should be if hostmux.socket is what holds it: hostmux gets it from there")
            .fix("`systemctl list-sockets` shows which unit holds it");
    }
    let stop = match SERVICES.contains(&holder.name.as_str()) {
        true => format!("`sudo systemctl disable --now {}`", holder.name),
        false => format!(
            "stop process {0} (`ps -fp {0}` shows what it is)",
            holder.pid
        ),
    };
    Finding::error(CHECK, format!("{name} is held by {holder}"))
        .why(format!(
            "hostmux does not start while another program listens on {number}"
        ))
        .fix(stop)
        .fix(another_port(port))
}

/// The same address with another port: what listens on loopback alone stays there.
fn another_port(port: &Port) -> String {
    let other = match (port.key, port.address.port()) {
        ("https", 8443) => 9443,
        ("https", _) => 8443,
        (_, 8080) => 8081,
        (_, _) => 8080,
    };
    let (is, other) = match port.address {
        ListenAddress::Port(held) => (held.to_string(), other.to_string()),
        ListenAddress::Address(held) => {
            let other = SocketAddr::new(held.ip(), other);
            (format!("\"{held}\""), format!("\"{other}\""))
        }
    };
    let key = port.key;
    format!("another port under `listen` in sites.yaml: such as `{key}: {other}` for `{key}: {is}`")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn who_holds_a_port_decides() {
        let check = |state: State, life: &Life, severity: Severity, words: &str| {
            let port = Port {
                address: ListenAddress::Port(443),
                key: "https",
                state,
            };
            let finding = judge(&port, life);
            let all = format!("{finding:?}");
            assert_eq!(finding.severity, severity, "{all}");
            assert!(all.contains(words), "{all}");
        };
        let by = |name: &str, pid| {
            let name = name.to_owned();
            State::Held(Some(Holder { name, pid }))
        };
        let nobody = Life::default();
        let ours = Life {
            pid: Some(7),
            ..Life::default()
        };
        let unit = Life {
            unit: true,
            ..Life::default()
        };
        check(State::Free, &nobody, Severity::Ok, "is free");
        check(by("tokio-rt", 7), &ours, Severity::Ok, "hostmux itself");
        check(by("systemd", 1), &nobody, Severity::Note, "hostmux.socket");
        check(
            by("nginx", 9),
            &nobody,
            Severity::Error,
            "systemctl disable --now nginx",
        );
        check(by("python3", 9), &ours, Severity::Error, "ps -fp 9");
        check(State::Held(None), &ours, Severity::Note, "process 7");
        check(State::Held(None), &nobody, Severity::Error, "ss -ltnp");
        let denied = || State::Denied { free_from: 1024 };
        check(denied(), &nobody, Severity::Error, "setcap");
        check(denied(), &unit, Severity::Note, "hostmux.service");
        check(State::Elsewhere, &nobody, Severity::Error, "ip addr");
        check(
            State::Failed("odd".to_owned()),
            &nobody,
            Severity::Error,
            "odd",
        );
    }
}
