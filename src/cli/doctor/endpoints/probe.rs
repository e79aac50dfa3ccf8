//! Asking one endpoint: a connection, TLS where it is meant, one GET.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{AlertDescription, Error as TlsError};

use super::answer::{self, Answer, Bytes};
use crate::upstream::place::Address;
use crate::upstream::protocol::Protocol;

/// How long a connection, a handshake and an answer may take, each.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer is read, in bytes: Django tells its reason within the
/// first 8 KiB of 60.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// What a client of HTTP/2 begins with, and an empty SETTINGS (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// How much of what is no HTTP is shown, in bytes.
const SHOWN_BYTES: usize = 32;

/// A question: the GET that a visitor of the site would cause.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The path that the endpoint would see.
    pub(super) path: String,
    /// The `Host` that it would see.
    pub(super) host: String,
    /// The `Host` that the client sent.
    pub(super) public: String,
}

/// What an endpoint turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nobody listens; perhaps somebody does at the other loopback address.
    Refused {
        beside: Option<SocketAddr>,
    },
    /// No connection, for another reason.
    Unreachable(String),
    /// This user may not connect to the socket.
    Denied,
    /// It took the request and said nothing for so long.
    Silent,
    /// It closed without an answer.
    Closed,
    Answered(Answer),
    /// It speaks HTTP/2, as it should; a GET was not tried.
    Http2,
    /// It speaks TLS where it should not.
    TlsUnasked,
    /// It speaks HTTP/1 where it should speak TLS.
    NoTls,
    /// It speaks HTTP/2 where HTTP/1 was meant.
    Http2Unasked,
    /// It speaks HTTP/1 where HTTP/2 was meant.
    NoHttp2,
    /// Its first bytes, which are no HTTP.
    Foreign(String),
    /// It speaks TLS, and is not believed or does not agree.
    Distrusted(String),
}

/// On which of the two addresses of a port somebody listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

trait Wire: AsyncRead + AsyncWrite + Unpin {}
impl<W: AsyncRead + AsyncWrite + Unpin> Wire for W {}

/// Tries both addresses of a port. Nothing is sent.
pub(super) async fn families(port: u16) -> Families {
    let [v4, v6] = both(port).map(|address| async move { tcp(address).await.is_ok() });
    let (v4, v6) = tokio::join!(v4, v6);
    Families { v4, v6 }
}

fn both(port: u16) -> [SocketAddr; 2] {
    [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ]
}

/// Asks. `tls`: how TLS would be spoken to it, to know it where it is not meant.
pub(super) async fn ask(
    address: &Address,
    protocol: &Protocol,
    tls: Option<&Protocol>,
    question: &Question,
) -> Heard {
    let wire = match connect(address).await {
        Ok(wire) => wire,
        Err(error) => return unconnected(address, &error).await,
    };
    match protocol {
        Protocol::Http1 => match exchange(wire, question.text().as_bytes()).await {
            Said::Nothing => closed(address, tls).await,
            Said::Silence => Heard::Silent,
            Said::Bytes(bytes) => match answer::read(&bytes) {
                Bytes::None => closed(address, tls).await,
                Bytes::Http1(answer) => Heard::Answered(answer),
                Bytes::Http2 => Heard::Http2Unasked,
                Bytes::Tls => Heard::TlsUnasked,
                Bytes::Foreign => Heard::Foreign(shown(&bytes)),
            },
        },
        Protocol::H2c => match exchange(wire, HTTP2_PREFACE).await {
            Said::Nothing => closed(address, tls).await,
            Said::Silence => Heard::Silent,
            Said::Bytes(bytes) => match answer::read(&bytes) {
                Bytes::None => closed(address, tls).await,
                Bytes::Http1(_) => Heard::NoHttp2,
                Bytes::Http2 => Heard::Http2,
                Bytes::Tls => Heard::TlsUnasked,
                Bytes::Foreign => Heard::Foreign(shown(&bytes)),
            },
        },
        Protocol::Tls { .. } => match secured(wire, protocol).await {
            Ok(wire) => match exchange(wire, question.text().as_bytes()).await {
                Said::Nothing => Heard::Closed,
                Said::Silence => Heard::Silent,
                Said::Bytes(bytes) => match answer::read(&bytes) {
                    Bytes::None => Heard::Closed,
                    Bytes::Http1(answer) => Heard::Answered(answer),
                    Bytes::Http2 => Heard::Http2,
                    Bytes::Tls | Bytes::Foreign => Heard::Foreign(shown(&bytes)),
                },
            },
            Err(Handshake::Http2Alone) => Heard::Http2,
            Err(Handshake::Distrusted(why)) => Heard::Distrusted(why),
            // To many servers of plain HTTP a handshake is half a request.
            Err(Handshake::Silent) => plain(address, question, Heard::Silent).await,
            Err(Handshake::NoTls(why)) => plain(address, question, Heard::Distrusted(why)).await,
        },
    }
}

impl Question {
    /// As hostmux would put it.
    fn text(&self) -> String {
        let Self { path, host, public } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hostmux-doctor\r\n\
             Accept: text/html, */*\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: {public}\r\nConnection: close\r\n\r\n"
        )
    }
}

async fn connect(address: &Address) -> io::Result<Box<dyn Wire>> {
    Ok(match address {
        Address::Port(port) => {
            let [v4, v6] = both(*port);
            match tcp(v4).await {
                Ok(wire) => Box::new(wire),
                Err(_) => Box::new(tcp(v6).await?),
            }
        }
        Address::Socket(address) => Box::new(tcp(*address).await?),
        Address::Unix(path) => Box::new(within(UnixStream::connect(path)).await?),
    })
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    within(TcpStream::connect(address)).await
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let silence = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing for {TIMEOUT:?}"));
    timeout(TIMEOUT, what)
        .await
        .unwrap_or_else(|_| Err(silence()))
}

async fn unconnected(address: &Address, error: &io::Error) -> Heard {
    let kind = error.kind();
    if kind == io::ErrorKind::ConnectionRefused || kind == io::ErrorKind::NotFound {
        let beside = beside(address).await;
        return Heard::Refused { beside };
    }
    if kind == io::ErrorKind::PermissionDenied {
        return Heard::Denied;
    }
    Heard::Unreachable(error.to_string())
}

/// Who listens on the other loopback address.
async fn beside(address: &Address) -> Option<SocketAddr> {
    let Address::Socket(address) = address else {
        return None;
    };
    if !address.ip().is_loopback() {
        return None;
    }
    let [v4, v6] = both(address.port());
    let other = if address.is_ipv4() { v6 } else { v4 };
    tcp(other).await.ok().map(|_| other)
}

enum Said {
    /// Nothing came, and it closed.
    Nothing,
    /// Nothing came in time.
    Silence,
    Bytes(Vec<u8>),
}

/// Sends, and reads until the answer is whole, too long or too late: what has
/// come by then counts.
async fn exchange(mut wire: impl Wire, request: &[u8]) -> Said {
    let mut bytes = Vec::new();
    let asked = async {
        // That it takes no more says nothing: it may have answered already.
        let _ = wire.write_all(request).await;
        let _ = wire.flush().await;
        let mut wire = wire.take(ANSWER_BYTES_MAX);
        while let Ok(1..) = wire.read_buf(&mut bytes).await {
            if answer::is_whole(&bytes) || answer::read(&bytes) == Bytes::Http2 {
                break;
            }
        }
    };
    let in_time = timeout(TIMEOUT, asked).await.is_ok();
    match (bytes.is_empty(), in_time) {
        (true, true) => Said::Nothing,
        (true, false) => Said::Silence,
        (false, _) => Said::Bytes(bytes),
    }
}

enum Handshake {
    Silent,
    /// It takes no HTTP/1.1 by ALPN.
    Http2Alone,
    Distrusted(String),
    NoTls(String),
}

async fn secured(wire: Box<dyn Wire>, protocol: &Protocol) -> Result<impl Wire + use<>, Handshake> {
    let Protocol::Tls { trust, name } = protocol else {
        return Err(Handshake::NoTls("no TLS is meant".to_owned()));
    };
    let connector = TlsConnector::from(trust.http1.clone());
    let handshake = connector.connect(name.clone(), wire);
    let error = match timeout(TIMEOUT, handshake).await {
        Err(_) => return Err(Handshake::Silent),
        Ok(Ok(secured)) => return Ok(secured),
        Ok(Err(error)) => error,
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    Err(match inner {
        Some(TlsError::InvalidCertificate(_)) => Handshake::Distrusted(error.to_string()),
        Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            Handshake::Http2Alone
        }
        // An alert is TLS, whatever it says.
        Some(TlsError::AlertReceived(_) | TlsError::PeerIncompatible(_)) => {
            Handshake::Distrusted(error.to_string())
        }
        Some(_) | None => Handshake::NoTls(error.to_string()),
    })
}

/// It said nothing to a plain request: perhaps it wants TLS.
async fn closed(address: &Address, tls: Option<&Protocol>) -> Heard {
    let Some(tls) = tls else {
        return Heard::Closed;
    };
    let Ok(wire) = connect(address).await else {
        return Heard::Closed;
    };
    match secured(wire, tls).await {
        Ok(_) | Err(Handshake::Distrusted(_) | Handshake::Http2Alone) => Heard::TlsUnasked,
        Err(Handshake::Silent | Handshake::NoTls(_)) => Heard::Closed,
    }
}

/// It made nothing of a handshake: perhaps it speaks plain HTTP.
async fn plain(address: &Address, question: &Question, otherwise: Heard) -> Heard {
    let Ok(wire) = connect(address).await else {
        return otherwise;
    };
    match exchange(wire, question.text().as_bytes()).await {
        Said::Bytes(bytes) => match answer::read(&bytes) {
            Bytes::Http1(_) => Heard::NoTls,
            Bytes::Foreign => Heard::Foreign(shown(&bytes)),
            Bytes::None | Bytes::Http2 | Bytes::Tls => otherwise,
        },
        Said::Nothing | Said::Silence => otherwise,
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN_BYTES)]
        .escape_ascii()
        .to_string()
}
