//! Listening sockets that somebody else has opened: systemd, for a unit with a
//! socket unit (sd_listen_fds(3)), or the hostmux before this one
//! ([`super::handover`]).
//!
//! Such a socket outlives the process that accepts from it: who connects
//! while nobody does waits in its queue. What `listen` names and nobody handed
//! over is bound as ever, so that a service starts without its socket unit too.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::connection::Speaks;
use super::listener::{BindError, Listener};
use crate::config::{Listen, ListenAddress};

/// More sockets than one front door has a use for; a message of Unix sockets
/// has room for 253 (`SCM_MAX_FD`).
pub const SOCKETS_MAX: usize = 128;

/// The variables by which systemd hands sockets over: no child may believe them.
pub(super) const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Sockets that were handed over, before it is known what they are for.
pub struct Inherited {
    giver: Giver,
    sockets: Vec<Handed>,
    /// What was handed over and cannot be used.
    useless: Vec<String>,
}

/// Who has handed the sockets over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Giver {
    Systemd,
    Predecessor,
}

/// One of them.
#[derive(Debug)]
struct Handed {
    socket: TcpListener,
    address: SocketAddr,
    /// What it was to the process before.
    was: Option<(ListenAddress, Speaks)>,
}

impl Inherited {
    /// Takes what systemd has handed over, if it has. To be called before
    /// anything else is opened or a thread is started: descriptors are taken
    /// by their numbers, and the variables are removed.
    pub fn from_systemd() -> Self {
        let mut inherited = Self {
            giver: Giver::Systemd,
            sockets: Vec::new(),
            useless: Vec::new(),
        };
        // It believes the variables if LISTEN_PID is this process, and closes
        // all of them at an exec, even those that are of no use.
        let count = match sd_notify::listen_fds() {
            Ok(descriptors) => descriptors.len(),
            Err(error) => {
                inherited.useless.push(format!(
                    "LISTEN_FDS does not count the sockets that are there: {error}"
                ));
                return inherited;
            }
        };
        if count == 0 {
            return inherited;
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        for n in 0..count.min(handed.len()) {
            let name = names.next().filter(|name| !name.is_empty());
            let name = name.unwrap_or("unnamed");
            if n >= SOCKETS_MAX {
                let why = format!("{count} sockets are more than {SOCKETS_MAX}");
                inherited.useless.push(why);
                break;
            }
            let taken = handed.take_tcp_listener(n);
            if taken.is_err() {
                // Taken as what it is, it is closed.
                let _ = handed.take_unix_listener(n);
                let _ = handed.take_udp_socket(n);
                let _ = handed.take_unix_datagram(n);
            }
            let used = match taken {
                Ok(Some(socket)) => inherited.push(socket, None),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = used {
                let why = format!("number {} (`{name}`): {error}", n + 1);
                inherited.useless.push(why);
            }
        }
        inherited
    }

    /// Nothing. What the hostmux before this one hands over is added to it.
    pub fn none() -> Self {
        Self {
            giver: Giver::Predecessor,
            sockets: Vec::new(),
            useless: Vec::new(),
        }
    }

    /// One more, if it can be accepted from.
    pub(super) fn push(
        &mut self,
        socket: TcpListener,
        was: Option<(ListenAddress, Speaks)>,
    ) -> io::Result<()> {
        if !sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::other("the socket does not listen"));
        }
        let address = socket.local_addr()?;
        self.sockets.push(Handed {
            socket,
            address,
            was,
        });
        Ok(())
    }

    /// A listener for each address of `listen`: what was handed over, and
    /// bound what was not. Tells of all that cannot be bound.
    pub fn open(mut self, listen: &Listen) -> Result<Vec<Listener>, Vec<BindError>> {
        for why in self.useless.drain(..) {
            tracing::warn!(
                why,
                help = "a socket unit for hostmux has lines such as `ListenStream=443` and nothing else that listens",
                "what was handed over is not used"
            );
        }
        let https = listen.https.iter().map(|named| (*named, Speaks::Https));
        let http = listen.http.iter().map(|named| (*named, Speaks::Http));
        let wanted: Vec<(ListenAddress, Speaks)> = https.chain(http).collect();
        let mut had = self.allot(&wanted);
        let strangers: Vec<SocketAddr> = self.sockets.iter().map(|left| left.address).collect();
        self.dismiss();
        let (mut listeners, mut faults) = (Vec::new(), Vec::new());
        for ((named, speaks), handed) in wanted.into_iter().zip(&mut had) {
            let fault = |cause, help| BindError {
                address: named,
                cause,
                help,
            };
            if handed.is_empty() {
                match Listener::bind(named, speaks) {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => {
                        let help = match (self.giver, near(named, &strangers)) {
                            (Giver::Systemd, Some(address)) => mismatch(named, address),
                            (Giver::Predecessor, Some(address)) => format!(
                                "the hostmux that runs holds {address} until its end: this needs a restart, not an upgrade"
                            ),
                            (_, None) => error.help,
                        };
                        faults.push(fault(error.cause, help));
                    }
                }
            }
            for handed in handed.drain(..) {
                match Listener::adopt(handed.socket, named, speaks) {
                    Ok(listener) => {
                        tracing::debug!(address = %handed.address, giver = ?self.giver, "a socket was handed over");
                        listeners.push(listener);
                    }
                    Err(cause) => {
                        let help = "the socket was handed over, and is not as it should be: start without the socket unit";
                        faults.push(fault(cause, help.to_owned()));
                    }
                }
            }
        }
        match faults.is_empty() {
            true => Ok(listeners),
            false => Err(faults),
        }
    }

    /// What each of the wanted gets; a bare port may have a socket for IPv6
    /// and one for IPv4. What nobody wants stays.
    fn allot(&mut self, wanted: &[(ListenAddress, Speaks)]) -> Vec<Vec<Handed>> {
        let mut had: Vec<Vec<Handed>> = wanted.iter().map(|_| Vec::new()).collect();
        // First what it was before: of two ports that the system chose, only
        // this tells which is which.
        for (wanted, had) in wanted.iter().zip(&mut had) {
            had.extend(
                self.sockets
                    .extract_if(.., |handed| handed.was == Some(*wanted)),
            );
        }
        for ((named, _), had) in wanted.iter().zip(&mut had) {
            if had.is_empty() {
                had.extend(
                    self.sockets
                        .extract_if(.., |handed| is_at(*named, handed.address)),
                );
            }
        }
        had
    }

    /// Closes what nobody wants, so that it is in nobody's way.
    fn dismiss(&mut self) {
        for left in self.sockets.drain(..) {
            let address = left.address;
            match self.giver {
                Giver::Predecessor => {
                    tracing::info!(%address, "no longer listened on: `listen` does not name it");
                }
                Giver::Systemd => tracing::warn!(
                    %address,
                    help = format!(
                        "name {} under `listen` in sites.yaml, or take its ListenStream= out of the socket unit",
                        written(address)
                    ),
                    "a socket was handed over that `listen` does not name: nobody accepts from it"
                ),
            }
        }
    }
}

/// Whether a socket on this address is what a name in `listen` means.
fn is_at(named: ListenAddress, address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    match named {
        ListenAddress::Port(port) => address.port() == port && ip.is_unspecified(),
        ListenAddress::Address(named) => {
            (named.ip().to_canonical(), named.port()) == (ip, address.port())
        }
    }
}

/// One that has the port, and not the address.
fn near(named: ListenAddress, strangers: &[SocketAddr]) -> Option<SocketAddr> {
    let mut strangers = strangers.iter().copied();
    strangers.find(|address| address.port() == named.port())
}

fn mismatch(named: ListenAddress, address: SocketAddr) -> String {
    let stream = match named {
        ListenAddress::Port(port) => port.to_string(),
        ListenAddress::Address(address) => address.to_string(),
    };
    format!(
        "systemd holds {address} for hostmux: write {} under `listen`, or ListenStream={stream} in the socket unit",
        written(address)
    )
}

/// As it is written in sites.yaml.
fn written(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("`{}`", address.port()),
        false => format!("`\"{address}\"`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_by_its_address() {
        let check = |named: &str, address: &str, want: bool| {
            let parsed = match named.parse() {
                Ok(port) => ListenAddress::Port(port),
                Err(_) => ListenAddress::Address(named.parse().unwrap()),
            };
            let address = address.parse().unwrap();
            assert_eq!(is_at(parsed, address), want, "{named} {address}");
        };
        check("443", "[::]:443", true);
        check("443", "0.0.0.0:443", true);
        check("443", "127.0.0.1:443", false);
        check("443", "[::]:444", false);
        check("127.0.0.1:443", "127.0.0.1:443", true);
        check("127.0.0.1:443", "[::ffff:127.0.0.1]:443", true);
        check("127.0.0.1:443", "0.0.0.0:443", false);
        check("[::1]:443", "127.0.0.1:443", false);
    }

    #[test]
    fn what_was_before_comes_before_what_it_is_now() {
        let free = ListenAddress::Address(([127, 0, 0, 1], 0).into());
        let mut inherited = Inherited::none();
        let mut push = |was| {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            inherited.push(socket, was).unwrap();
            address
        };
        let http = push(Some((free, Speaks::Http)));
        let https = push(Some((free, Speaks::Https)));
        let moved = push(Some((ListenAddress::Port(1), Speaks::Http)));
        push(Some((free, Speaks::Http)));
        let listen = Listen {
            https: vec![free, ListenAddress::Address(moved)],
            http: vec![free],
            proxy_protocol_from: Vec::new(),
        };
        let listeners = inherited.open(&listen).unwrap();
        let addresses: Vec<SocketAddr> = listeners
            .iter()
            .map(|listener| listener.address().unwrap())
            .collect();
        assert_eq!(addresses[..3], [https, moved, http]);
        assert_eq!(listeners[1].speaks(), Speaks::Https);
    }

    #[test]
    fn what_does_not_listen_is_not_taken() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let refused = Inherited::none().push(socket.unwrap().into(), None);
        assert!(refused.unwrap_err().to_string().contains("does not listen"));
    }
}
