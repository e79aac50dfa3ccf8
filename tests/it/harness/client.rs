//! A client of HTTP/1 that sends what it is told to.

use std::net::SocketAddr;
use std::path::Path;

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::wire::{Answer, Message, Stream, Wire, handle};
use super::within;

/// A connection to the proxy, plain or TLS.
pub(crate) struct Client(Wire);

/// A GET as most clients send it.
pub(crate) fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

impl Client {
    pub(crate) fn new(stream: impl Stream + 'static, socket: socket2::Socket) -> Self {
        Self(Wire::new(stream, socket))
    }

    /// A plain connection to an address.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        Self::of(stream)
    }

    /// A plain connection that stands.
    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let socket = handle(&stream);
        Self::new(stream, socket)
    }

    /// A connection to a Unix socket.
    pub(crate) async fn connect_unix(path: &Path) -> Self {
        let stream = within(UnixStream::connect(path)).await.unwrap();
        let socket = handle(&stream);
        Self::new(stream, socket)
    }

    /// A TLS connection whose handshake is done.
    pub(crate) fn of_tls(stream: TlsStream<TcpStream>) -> Self {
        let socket = handle(stream.get_ref().0);
        Self::new(stream, socket)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes).await;
    }

    /// The socket, for what is not HTTP.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.0
    }

    pub(crate) fn into_wire(self) -> Wire {
        self.0
    }

    /// Sends a request and takes its answer.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let to_head = request.as_ref().starts_with(b"HEAD ");
        self.send(request).await;
        self.answer_of(to_head).await
    }

    pub(crate) async fn get(&mut self, host: &str, target: &str) -> Answer {
        self.ask(get(host, target)).await
    }

    /// The next answer, with the interim ones before it.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_of(false).await
    }

    async fn answer_of(&mut self, to_head: bool) -> Answer {
        let mut interim = Vec::new();
        loop {
            let mut answer = self.head().await.expect("an answer comes");
            if (100..200).contains(&answer.status) && answer.status != 101 {
                interim.push(answer.status);
                continue;
            }
            answer.interim = interim;
            if to_head || matches!(answer.status, 101 | 204 | 304) {
                answer.whole = true;
                return answer;
            }
            self.body(&mut answer).await;
            return answer;
        }
    }

    /// The head of the next answer; `None` if the connection ended without one.
    pub(crate) async fn head(&mut self) -> Option<Answer> {
        let head = self.0.up_to(b"\r\n\r\n").await?;
        let message = Message {
            head,
            ..Message::default()
        };
        let line = message.first_line();
        let mut words = line.splitn(3, ' ');
        let version = words.next().unwrap();
        assert!(version == "HTTP/1.1" || version == "HTTP/1.0", "{line}");
        Some(Answer {
            status: words.next().unwrap().parse().unwrap(),
            fields: message.fields(),
            ..Answer::default()
        })
    }

    /// The body behind a head.
    pub(crate) async fn body(&mut self, answer: &mut Answer) {
        if answer.field("transfer-encoding").is_some() {
            answer.whole = self.0.chunks(&mut answer.body, &mut answer.trailers).await;
        } else if let Some(length) = answer.field("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.0.exactly(length).await;
            answer.whole = answer.body.len() == length;
        } else {
            answer.body = self.0.rest().await;
            answer.whole = true;
        }
    }

    /// Waits for the proxy to close; nothing more may come before that.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.0.rest().await.is_empty()
    }
}
