//! What two processes of hostmux say to each other at an upgrade: a JSON
//! object a line over a pair of Unix sockets, descriptors beside the first one
//! (`SCM_RIGHTS`, unix(7)).
//!
//! ```text
//! old ──▶ new   Offer       protocol, version, what each descriptor is
//! old ◀── new   Answer      ready, or why not
//! old ──▶ new   Go          systemd knows of the new one
//! ```
//!
//! Either may be older than the other: a line begins with its `protocol`, and
//! what is not known in it is passed over.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::ListenAddress;
use crate::server::connection::Speaks;
use crate::server::control::Deed;
use crate::server::inherit::SOCKETS_MAX;

/// Raised when a process could misunderstand one of another version.
pub(super) const PROTOCOL: u32 = 1;
/// The longest line, in bytes: room for some thousand changes by hand.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Descriptors of one offer: those for clients, and the one for commands.
pub(super) const DESCRIPTORS_MAX: usize = SOCKETS_MAX + 1;
/// How long the other end may take to read a line.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// What the old process gives away.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) protocol: u32,
    pub(super) version: String,
    /// What the descriptors are, in their order.
    pub(super) sockets: Vec<Kind>,
    /// What was changed while the old process ran, and is in no file.
    #[serde(default)]
    pub(super) by_hand: Vec<Value>,
}

/// What one of the sockets is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Kind {
    /// `listen`: as the configuration names it, a port or an address.
    Https {
        listen: String,
    },
    Http {
        listen: String,
    },
    Control(Deed),
    /// What a newer one has.
    #[serde(other)]
    Unknown,
}

impl Kind {
    pub(super) fn clients(named: ListenAddress, speaks: Speaks) -> Self {
        let listen = match named {
            ListenAddress::Port(port) => port.to_string(),
            ListenAddress::Address(address) => address.to_string(),
        };
        match speaks {
            Speaks::Https => Self::Https { listen },
            Speaks::Http => Self::Http { listen },
        }
    }
}

/// The name of an address, as [`Kind::clients`] writes it.
pub(super) fn named(listen: &str) -> Option<ListenAddress> {
    let port = listen.parse().map(ListenAddress::Port);
    let address = || listen.parse().map(ListenAddress::Address);
    port.ok().or_else(|| address().ok())
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(super) enum Answer {
    Ready {
        version: String,
        pid: u32,
        /// What of the configuration is not served as it is written.
        #[serde(default)]
        degraded: Option<String>,
    },
    Failed {
        why: String,
    },
}

/// The last word of the old process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Go {
    pub(super) go: bool,
}

/// A message that came, with its descriptors.
pub(super) struct Received {
    line: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Received {
    pub(super) fn parsed<T: DeserializeOwned>(&self) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.line)?)
    }
}

/// Sends a message, and copies of descriptors.
pub(super) fn send(
    socket: &UnixStream,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "{} bytes are more than {LINE_BYTES_MAX}",
            line.len()
        )));
    }
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors.len()))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("there is no room for the descriptors"));
    }
    let slices = [IoSlice::new(&line)];
    let sent = rustix::net::sendmsg(socket, &slices, &mut beside, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&line[sent..])
}

/// The next message; waits for it until then.
pub(super) fn receive(socket: &UnixStream, until: Instant) -> io::Result<Received> {
    let mut received = Received {
        line: Vec::new(),
        descriptors: Vec::new(),
    };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut bytes = [0; READ_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = match rustix::net::recvmsg(socket, &mut slices, &mut beside, flags) {
            Ok(got) => got,
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                received.descriptors.extend(descriptors);
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("more descriptors came than are taken"));
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.line.extend_from_slice(&bytes[..got.bytes]);
        // Each side speaks only when the other has: nothing comes behind a line.
        if received.line.ends_with(b"\n") {
            return Ok(received);
        }
        if received.line.len() > LINE_BYTES_MAX {
            return Err(io::Error::other("the message has no end"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn an_offer_arrives_as_it_was_sent() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let offer = Offer {
            protocol: PROTOCOL,
            version: "1".to_owned(),
            sockets: vec![Kind::clients(ListenAddress::Port(0), Speaks::Http)],
            // Longer than what is read at once.
            by_hand: vec![Value::from("x".repeat(3 * READ_BYTES))],
        };
        send(&ours, &offer, &[socket.as_fd()]).unwrap();
        let mut received = receive(&theirs, soon()).unwrap();
        let parsed: Offer = received.parsed().unwrap();
        assert_eq!(parsed.by_hand, offer.by_hand);
        assert!(matches!(&parsed.sockets[..], [Kind::Http { listen }] if listen == "0"));
        let copy = TcpListener::from(received.descriptors.remove(0));
        assert_eq!(copy.local_addr().unwrap(), address);
        let flags = rustix::io::fcntl_getfd(&copy).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn what_does_not_come_whole_is_no_message() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let late = receive(&theirs, Instant::now() + Duration::from_millis(20)).err();
        assert_eq!(late.unwrap().kind(), io::ErrorKind::TimedOut);
        (&ours).write_all(b"{\"go\":").unwrap();
        drop(ours);
        let broken = receive(&theirs, soon()).err().unwrap();
        assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let huge = send(&ours, &"x".repeat(LINE_BYTES_MAX), &[]);
        assert!(huge.unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn what_a_newer_one_has_is_passed_over() {
        let text =
            r#"{"protocol": 2, "version": "9", "sockets": [{"kind": "quic", "x": 1}], "y": 2}"#;
        let offer: Offer = serde_json::from_str(text).unwrap();
        assert!(matches!(offer.sockets[..], [Kind::Unknown]));
        for (text, want) in [
            ("443", Some(ListenAddress::Port(443))),
            (
                "127.0.0.1:0",
                Some(ListenAddress::Address(([127, 0, 0, 1], 0).into())),
            ),
            ("x", None),
        ] {
            assert_eq!(named(text), want);
        }
    }
}
