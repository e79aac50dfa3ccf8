//! One connection to an endpoint.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rustix::net::RecvFlags;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::body::BoxError;
use crate::rt::buffers;
use crate::rt::clock::Wait;
use crate::upstream::protocol::Protocol;
use crate::upstream::{Address, Endpoint};

/// How long an idle connection is kept where the endpoint does not say: less
/// than the 5 s after which many servers close.
const KEEP: Duration = Duration::from_secs(4);
/// The longest that an endpoint's own word is believed.
const KEEP_MAX: Duration = Duration::from_secs(75);
/// How much earlier than the endpoint we let go.
const KEEP_MARGIN: Duration = Duration::from_secs(1);

/// After so much silence TCP asks whether a far endpoint is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is offered to an endpoint that chooses (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Any,
    /// HTTP/1.1 alone: for what HTTP/2 does not carry to an endpoint.
    Http1,
}

/// A connection, and what was received and not yet read.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    pub(super) received: BytesMut,
    pub(super) endpoint: Arc<Endpoint>,
    reused: bool,
    answered: bool,
    /// Nothing follows the exchange that it carries.
    last: bool,
    keep: Option<Duration>,
    /// Since when it lies in the pool.
    idle_since: Option<Instant>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("refused the connection")]
    Refused(#[source] io::Error),
    #[error("did not accept a connection within {0:?}")]
    TimedOut(Duration),
    #[error("could not be reached")]
    Unreachable(#[source] io::Error),
    /// Our own descriptors or ports are used up: no fault of the endpoint's.
    #[error("no connection could be opened")]
    Exhausted(#[source] io::Error),
    #[error("showed a certificate that cannot be believed")]
    Certificate(#[source] rustls::Error),
    #[error("broke off the TLS handshake")]
    Handshake(#[source] BoxError),
    #[error("does not speak HTTP/2")]
    NotHttp2(#[source] BoxError),
    #[error("speaks HTTP/2 alone, which carries no upgrade")]
    NoUpgrade,
    #[error("took no further stream within {0:?}")]
    Busy(Duration),
}

impl Wire {
    /// Opens a connection within the endpoint's `connect_timeout`, a handshake counted in.
    pub async fn connect(
        endpoint: &Arc<Endpoint>,
        offer: Offer,
    ) -> Result<Box<Self>, ConnectError> {
        within(endpoint, Self::open(endpoint, offer)).await
    }

    /// Opens a connection; the caller minds the time.
    pub(super) async fn open(
        endpoint: &Arc<Endpoint>,
        offer: Offer,
    ) -> Result<Box<Self>, ConnectError> {
        let mut stream = Stream::connect(endpoint).await?;
        if let Protocol::Tls { .. } = &endpoint.protocol {
            stream = Box::pin(stream.secure(endpoint, offer)).await?;
        }
        // Boxed once: each exchange hands it on several times.
        Ok(Box::new(Self {
            stream,
            received: BytesMut::new(),
            endpoint: endpoint.clone(),
            reused: false,
            answered: false,
            last: false,
            keep: None,
            idle_since: None,
        }))
    }

    /// Whether the endpoint chose HTTP/2.
    pub(super) fn chose_http2(&self) -> bool {
        match &self.stream {
            Stream::Tcp(_) | Stream::Unix(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Whether it has served an exchange before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether a byte of this exchange's answer has come.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// It is closed behind its next exchange, whatever the endpoint says.
    pub(super) fn set_last(&mut self) {
        self.last = true;
    }

    /// What the answer's head says about the time after it.
    pub(super) fn keeps(&mut self, keep_alive: bool, keep_for: Option<Duration>) {
        let keep = keep_for.map_or(KEEP, |told| told.saturating_sub(KEEP_MARGIN).min(KEEP_MAX));
        self.keep = (keep_alive && !self.last && !keep.is_zero()).then_some(keep);
    }

    /// Whether it may lie idle: kept by both sides, and nothing unasked behind the answer.
    pub(super) fn may_idle(&self) -> bool {
        self.keep.is_some() && self.received.is_empty()
    }

    pub(super) fn lay_down(&mut self, now: Instant) {
        self.reused = true;
        self.answered = false;
        self.idle_since = Some(now);
    }

    /// Whether it has lain too long, or the endpoint closed it or spoke unasked.
    pub(super) fn is_stale(&mut self, now: Instant) -> bool {
        let lain = self
            .idle_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.keep.is_none_or(|keep| lain >= keep) || (self.has_news() && self.has_ended())
    }

    /// Whether the socket has become readable, as far as the runtime has heard: no system call.
    fn has_news(&self) -> bool {
        // Without a budget the runtime says nothing; the kernel is asked then.
        if !tokio::task::coop::has_budget_remaining() {
            return true;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(&mut cx).is_ready(),
            Stream::Unix(stream) => stream.poll_read_ready(&mut cx).is_ready(),
            Stream::Tls(stream) => stream.get_ref().0.poll_read_ready(&mut cx).is_ready(),
        }
    }

    /// Asks the kernel whether anything came: EOF, a reset, or unasked bytes.
    pub(super) fn has_ended(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = match &mut self.stream {
            Stream::Tcp(stream) => rustix::net::recv(&*stream, &mut byte, flags),
            Stream::Unix(stream) => rustix::net::recv(&*stream, &mut byte, flags),
            Stream::Tls(stream) => {
                match rustix::net::recv(stream.get_ref().0, &mut byte, flags) {
                    Ok((1.., _)) => {}
                    Err(rustix::io::Errno::AGAIN) => return false,
                    Ok(_) | Err(_) => return true,
                }
                // A session ticket may lie there, which is no news: TLS must look.
                let mut cx = Context::from_waker(std::task::Waker::noop());
                let mut into = ReadBuf::new(&mut byte);
                return Pin::new(stream).poll_read(&mut cx, &mut into).is_ready();
            }
        };
        !matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// Gives memory back that an idle connection does not need.
    pub(super) fn shed(&mut self) {
        self.received = BytesMut::new();
    }

    /// Receives up to `bytes_max` more; 0 is the end.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        if self.received.capacity() - self.received.len() < bytes_max {
            self.received.reserve(bytes_max);
        }
        let mut room = (&mut self.received).limit(bytes_max);
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => std::pin::pin!(stream.read_buf(&mut room)).poll(cx),
            Stream::Unix(stream) => std::pin::pin!(stream.read_buf(&mut room)).poll(cx),
            Stream::Tls(stream) => {
                flush(stream, cx);
                std::pin::pin!(stream.read_buf(&mut room)).poll(cx)
            }
        };
        if let Poll::Ready(Ok(1..)) = polled {
            self.answered = true;
        }
        polled
    }

    /// Receives up to `bytes_max` bytes of a body, past `received`; empty is the end.
    ///
    /// Into a buffer of the thread's: nothing is held while nothing comes.
    pub(super) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<io::Result<Bytes>> {
        buffers::poll_receive(cx, Pin::new(self), bytes_max)
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (&mut self.stream, slices) {
            (Stream::Tcp(stream), [only]) => Pin::new(stream).poll_write(cx, only),
            (Stream::Unix(stream), [only]) => Pin::new(stream).poll_write(cx, only),
            (Stream::Tls(stream), several) => Pin::new(stream).poll_write_vectored(cx, several),
            (Stream::Tcp(stream), several) => Pin::new(stream).poll_write_vectored(cx, several),
            (Stream::Unix(stream), several) => Pin::new(stream).poll_write_vectored(cx, several),
        }
    }

    /// What was received behind a 101 and belongs to the tunnel.
    pub fn take_received(&mut self) -> BytesMut {
        std::mem::take(&mut self.received)
    }
}

/// A tunnel reads and writes the connection as it is.
impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, into),
            Stream::Tls(stream) => {
                flush(stream, cx);
                Pin::new(stream).poll_read(cx, into)
            }
        }
    }
}

/// Sends on what was sealed and did not leave yet, so that whoever waits for
/// an answer has really asked. That it fails is seen by reading.
fn flush(stream: &mut TlsStream<TcpStream>, cx: &mut Context<'_>) {
    let _ = Pin::new(stream).poll_flush(cx);
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Stream {
    async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        match &endpoint.address {
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            Address::Socket(address) => Self::connect_tcp(*address).await,
            Address::Port(port) => {
                let [first, second] = endpoint.loopbacks(*port);
                let error = match Self::connect_tcp(first).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => error,
                };
                match Self::connect_tcp(second).await {
                    Ok(stream) => {
                        endpoint.worked(second);
                        Ok(stream)
                    }
                    // A machine without IPv6 says so; the other family's word counts.
                    Err(_) => Err(error),
                }
            }
        }
    }

    /// The handshake.
    async fn secure(self, endpoint: &Endpoint, offer: Offer) -> Result<Self, ConnectError> {
        let (Protocol::Tls { trust, name }, Self::Tcp(stream)) = (&endpoint.protocol, self) else {
            return Err(ConnectError::Unreachable(io::ErrorKind::Unsupported.into()));
        };
        let config = match offer {
            Offer::Any => &trust.any,
            Offer::Http1 => &trust.http1,
        };
        let connecting = TlsConnector::from(config.clone()).connect(name.clone(), stream);
        match connecting.await {
            Ok(stream) => Ok(Self::Tls(Box::new(stream))),
            Err(error) => Err(handshake_error(error, offer)),
        }
    }

    async fn connect_tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if !address.ip().is_loopback() {
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        }
        Ok(Self::Tcp(stream))
    }
}

/// Polls until it is ready, or the endpoint's `connect_timeout` is over.
pub(super) async fn within<T>(
    endpoint: &Endpoint,
    connecting: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let mut wait = Wait::of(endpoint.connect_timeout);
    let mut connecting = std::pin::pin!(connecting);
    std::future::poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(connected) => Poll::Ready(connected),
        Poll::Pending if Pin::new(&mut wait).poll(cx).is_ready() => {
            Poll::Ready(Err(ConnectError::TimedOut(endpoint.connect_timeout)))
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Nothing of the request was sent: what is wrong is the endpoint's TLS.
fn handshake_error(error: io::Error, offer: Offer) -> ConnectError {
    use rustls::{AlertDescription, Error};
    let Some(cause) = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<Error>())
    else {
        let failed = ConnectError::from(error);
        // It hung up without a word of TLS.
        return if let ConnectError::Unreachable(error) = failed {
            ConnectError::Handshake(error.into())
        } else {
            failed
        };
    };
    if let Error::InvalidCertificate(_) | Error::NoCertificatesPresented = cause {
        return ConnectError::Certificate(cause.clone());
    }
    let refused = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    if offer == Offer::Http1 && *cause == refused {
        return ConnectError::NoUpgrade;
    }
    ConnectError::Handshake(cause.clone().into())
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(&error) {
            Some(
                Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM,
            ) => Self::Exhausted(error),
            // A Unix socket that is not there yet is a server that is not up yet.
            Some(Errno::CONNREFUSED | Errno::NOENT | Errno::CONNRESET) => Self::Refused(error),
            _ => Self::Unreachable(error),
        }
    }
}
