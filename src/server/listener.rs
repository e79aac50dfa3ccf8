//! Listening sockets: bound, explained where they cannot be, accepted from.
//!
//! One socket an address, no `SO_REUSEPORT`: nothing waits in a queue that is
//! closed behind it, and the socket can be inherited whole ([`super::inherit`]).
//! One thread accepts and hands each connection to the thread with the fewest.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::connection::Speaks;
use super::noise::Noise;
use super::worker::{Accepted, Census, Job};
use crate::config::ListenAddress;
use crate::proxy::Proxy;

/// How many connections may wait to be accepted; the kernel has a bound of its own.
const BACKLOG: i32 = 4096;
/// How many are accepted before others get a turn.
const ACCEPTED_AT_ONCE: usize = 64;
/// How long nothing is accepted after the limit of connections or descriptors was met.
const PAUSE: Duration = Duration::from_millis(100);
/// After so much silence TCP asks whether the client is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A bound socket. It is closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Listener {
    socket: Arc<TcpListener>,
    speaks: Speaks,
    named: ListenAddress,
}

/// Why an address could not be bound, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}\n  = help: {help}")]
pub struct BindError {
    pub address: ListenAddress,
    pub cause: io::Error,
    pub help: String,
}

impl Listener {
    /// Binds an address. A bare port is bound on all addresses, IPv6 and IPv4.
    pub fn bind(address: ListenAddress, speaks: Speaks) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Address(address) => bind(address, true),
            ListenAddress::Port(port) => match bind((Ipv6Addr::UNSPECIFIED, port).into(), false) {
                // A machine without IPv6.
                Err(error)
                    if error.raw_os_error()
                        == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
                        || error.kind() == io::ErrorKind::AddrNotAvailable =>
                {
                    bind((Ipv4Addr::UNSPECIFIED, port).into(), false)
                }
                other => other,
            },
        };
        match bound {
            Ok(socket) => Ok(Self {
                socket: Arc::new(socket),
                speaks,
                named: address,
            }),
            Err(cause) => Err(BindError {
                address,
                help: help(address.port(), &cause),
                cause,
            }),
        }
    }

    /// Takes a socket over that listens already. `named`: as the
    /// configuration names it.
    pub(super) fn adopt(
        socket: TcpListener,
        named: ListenAddress,
        speaks: Speaks,
    ) -> io::Result<Self> {
        let known = SockRef::from(&socket);
        prepare(&known)?;
        // A socket that listens gets another length of its queue by this.
        known.listen(BACKLOG)?;
        Ok(Self {
            socket: Arc::new(socket),
            speaks,
            named,
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// As the configuration names it: the port may be 0 there.
    pub(super) fn named(&self) -> ListenAddress {
        self.named
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `only_v6`: an IPv6 socket takes no IPv4 clients.
fn bind(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What a listening socket needs, whoever has opened it.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 4),
    )
}

fn help(port: u16, cause: &io::Error) -> String {
    let kind = cause.kind();
    if kind == io::ErrorKind::AddrInUse {
        return match super::holder::of(port) {
            Some(holder) => {
                format!("{holder} holds port {port}: stop it, or set another port under `listen`")
            }
            None => format!(
                "another program holds port {port}: `ss -ltnp 'sport = :{port}'` as root names it"
            ),
        };
    }
    if kind == io::ErrorKind::PermissionDenied && port < 1024 {
        return format!(
            "ports below 1024 need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd \
             unit, `sudo setcap cap_net_bind_service=+ep $(command -v hostmux)`, or a port from \
             1024 up instead of {port}",
        );
    }
    if kind == io::ErrorKind::AddrNotAvailable {
        return "this machine has no such address: see `ip addr`".to_owned();
    }
    "see `listen` in sites.yaml".to_owned()
}

/// What becomes of connections that wait to be accepted when accepting stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// They are accepted yet: with the socket they would be reset.
    Taken,
    /// Whoever shares the socket accepts them.
    Left,
}

/// Accepts until it is stopped; it has let go of the socket then, or when it is dropped.
pub(super) async fn accept(
    listener: Listener,
    proxy: Arc<Proxy>,
    census: Arc<Census>,
    workers: Vec<UnboundedSender<Job>>,
    noise: Arc<Noise>,
    stopped: oneshot::Receiver<Queue>,
) {
    let Listener { socket, speaks, .. } = listener;
    // Deprecated in favour of an unsafe twin, for types that may change their
    // descriptor; a TcpListener never does.
    #[expect(deprecated)]
    let socket = match AsyncFd::new(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "cannot wait for connections"),
    };
    let door = Door {
        speaks,
        proxy,
        census,
        workers,
        noise,
    };
    let queue = tokio::select! {
        queue = stopped => queue,
        () = door.accept(&socket) => return,
    };
    if queue == Ok(Queue::Taken) {
        door.accept_queued(socket.get_ref());
    }
}

/// Where accepted connections go.
struct Door {
    speaks: Speaks,
    proxy: Arc<Proxy>,
    census: Arc<Census>,
    workers: Vec<UnboundedSender<Job>>,
    noise: Arc<Noise>,
}

impl Door {
    /// Accepts for as long as it is polled.
    async fn accept(&self, socket: &AsyncFd<impl AsFd + AsRawFd>) {
        let mut told_full = false;
        loop {
            if !self.census.is_full() {
                told_full = false;
            } else {
                if !std::mem::replace(&mut told_full, true) {
                    tracing::error!(
                        connections = self.census.count(),
                        "the limit of connections is reached: more wait (LimitNOFILE)"
                    );
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let Ok(mut ready) = socket.readable().await else {
                return;
            };
            for _ in 0..ACCEPTED_AT_ONCE {
                match accept_one(socket.get_ref()) {
                    Ok((socket, address)) => self.hand_on(socket, address),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) if is_exhausted(&error) => {
                        if !std::mem::replace(&mut told_full, true) {
                            tracing::error!(%error, "connections cannot be accepted: more wait (LimitNOFILE)");
                        }
                        tokio::time::sleep(PAUSE).await;
                        break;
                    }
                    // The client was gone before it was accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    // What the network has to say of a connection, or a firewall's no:
                    // if it stays, it must not spin.
                    Err(error) => {
                        tracing::debug!(%error, "a connection was not accepted");
                        tokio::time::sleep(PAUSE).await;
                        break;
                    }
                }
                if self.census.is_full() {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Accepts what waits, and nothing that comes later than so many.
    fn accept_queued(&self, socket: &impl AsFd) {
        for _ in 0..BACKLOG {
            match accept_one(socket) {
                Ok((socket, address)) => self.hand_on(socket, address),
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
            if self.census.is_full() {
                return;
            }
        }
    }

    fn hand_on(&self, socket: std::net::TcpStream, address: SocketAddr) {
        let counted = counted(&self.proxy, address.ip());
        let Some((worker, place)) = self.census.place(counted) else {
            return self.noise.refused();
        };
        // A worker that is gone has drained: the connection ends with it.
        let _ = self.workers[worker].send(Job::Serve(Accepted {
            socket,
            address,
            speaks: self.speaks,
            place,
        }));
    }
}

/// The address whose connections are counted together; `None` where one
/// address stands for many clients: this machine's own, and listed proxies.
fn counted(proxy: &Proxy, address: IpAddr) -> Option<IpAddr> {
    let snapshot = proxy.live().current();
    let mut shared = snapshot.proxy_protocol_from.iter();
    let is_shared = address.is_loopback() || shared.any(|network| network.contains(&address));
    (!is_shared).then_some(address)
}

fn accept_one(socket: &impl AsFd) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (accepted, address) = rustix::net::acceptfrom_with(socket, flags)?;
    let address = address
        .and_then(|address| SocketAddr::try_from(address).ok())
        .ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((accepted.into(), canonical(address)))
}

/// An IPv4 client of a dual-stack socket is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}
