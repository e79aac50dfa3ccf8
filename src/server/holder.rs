//! Who listens on which port of this machine, where the system tells.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    pub pid: u32,
}

impl Holder {
    /// The folder it works in; `None` if we may not see it.
    pub fn folder(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (process {})", self.name, self.pid)
    }
}

/// A TCP socket that listens.
#[derive(Debug)]
pub struct Listening {
    pub address: SocketAddr,
    /// `None` if we may not see it.
    pub holder: Option<Holder>,
}

/// All TCP sockets of this machine that listen, by port.
pub fn listening() -> Vec<Listening> {
    let sockets = sockets();
    let mut holders = holders(&sockets);
    let mut all: Vec<Listening> = sockets
        .into_iter()
        .map(|socket| Listening {
            address: socket.address,
            holder: holders.remove(&socket.inode),
        })
        .collect();
    all.sort_by_key(|socket| (socket.address.port(), socket.address));
    all
}

/// The process that listens on a TCP port of this machine. `None` if nobody
/// does, or we may not see it.
pub fn of(port: u16) -> Option<Holder> {
    let mut sockets = sockets();
    sockets.retain(|socket| socket.address.port() == port);
    holders(&sockets).into_values().next()
}

/// Whether anybody listens on a TCP port of this machine. The system tells
/// everyone that, and not who it is.
pub fn is_held(port: u16) -> bool {
    sockets().iter().any(|socket| socket.address.port() == port)
}

/// One line of the system's table.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: SocketAddr,
    inode: u64,
}

fn sockets() -> Vec<Socket> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| rows(&table))
        .collect()
}

/// The sockets that listen, in a table of proc(5) `net/tcp`.
fn rows(table: &str) -> Vec<Socket> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        if *fields.get(3)? != LISTEN {
            return None;
        }
        Some(Socket {
            address: address(fields.get(1)?)?,
            inode: fields.get(9)?.parse().ok()?,
        })
    });
    rows.collect()
}

/// `0100007F:1F90`: words of four bytes as the machine has them, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<[u8; 4]> = ip
        .as_bytes()
        .chunks(8)
        .map(|word| {
            let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
            Some(word.to_ne_bytes())
        })
        .collect::<Option<_>>()?;
    let ip = match *words.as_slice() {
        [v4] => IpAddr::V4(Ipv4Addr::from(v4)),
        [_, _, _, _] => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The first process that has each of these sockets open, by inode.
fn holders(sockets: &[Socket]) -> HashMap<u64, Holder> {
    let mut wanted: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let mut found = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return found;
    };
    let mut pids: Vec<u32> = processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect();
    // A process before those that it made, which have its sockets too.
    pids.sort_unstable();
    for pid in pids {
        if wanted.is_empty() {
            break;
        }
        let process = PathBuf::from(format!("/proc/{pid}"));
        let mut held = open_sockets(&process);
        held.retain(|inode| wanted.remove(inode));
        if held.is_empty() {
            continue;
        }
        let name = fs::read(process.join("comm")).unwrap_or_default();
        let name = String::from_utf8_lossy(&name).trim().to_owned();
        found.extend(held.into_iter().map(|inode| {
            let name = name.clone();
            (inode, Holder { name, pid })
        }));
    }
    found
}

/// The inodes of a process's sockets, as far as we may see them.
fn open_sockets(process: &Path) -> Vec<u64> {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return Vec::new();
    };
    let sockets = descriptors.flatten().filter_map(|descriptor| {
        let target = fs::read_link(descriptor.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        inode.strip_suffix(']')?.parse().ok()
    });
    sockets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let holder = of(address.port()).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(holder.folder(), std::env::current_dir().ok());
        let all = listening();
        let found = all.iter().find(|socket| socket.address == address);
        assert_eq!(found.unwrap().holder.as_ref(), Some(&holder));
        assert!(is_held(address.port()));
        drop(socket);
        assert_eq!(of(address.port()), None);
        assert!(!is_held(address.port()));
    }

    #[test]
    fn only_sockets_that_listen_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:1F90 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
            2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 333 1\n\
            3: 0100007F 00000000:0000 0A 0:0 0:0 0 0 0 444 1\n\
            4: broken\n";
        // The words of the table are those of a little-endian machine.
        if cfg!(target_endian = "little") {
            let found: Vec<_> = rows(table)
                .into_iter()
                .map(|socket| (socket.address.to_string(), socket.inode))
                .collect();
            let want = [
                ("127.0.0.1:8080".to_owned(), 111),
                ("[::1]:80".to_owned(), 333),
            ];
            assert_eq!(found, want);
        }
    }
}
