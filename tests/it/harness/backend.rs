//! An endpoint that does as it is told, byte by byte, and remembers what it got.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;
use super::h2::Frames;
use super::wire::{Message, Wire, handle};
use super::within;

/// An endpoint. Dropped, it and its connections are closed.
pub(crate) struct Backend {
    at: String,
    seen: watch::Receiver<Seen>,
    _tasks: JoinSet<()>,
    _directory: Option<tempfile::TempDir>,
}

/// What came to an endpoint.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    /// Connections whose script has ended.
    pub(crate) over: usize,
    pub(crate) requests: Vec<Message>,
}

/// A connection in the hands of a script. Dropped, it is closed.
pub(crate) struct Conn {
    wire: Wire,
    seen: Arc<watch::Sender<Seen>>,
}

impl Backend {
    /// Answers with what it received, head and body, for as long as it is asked.
    pub(crate) async fn echo() -> Self {
        Self::script(Conn::echo).await
    }

    /// Answers every request with these bytes.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Vec<u8> = answer.into();
        Self::script(move |mut conn| {
            let answer = answer.clone();
            async move {
                while conn.request().await.is_some() {
                    conn.send(&answer).await;
                }
            }
        })
        .await
    }

    /// One for each text, which it answers with, at 127.0.0.1, 127.0.0.2 and so
    /// on, all at one port.
    pub(crate) async fn neighbours(texts: &[&'static str]) -> Vec<Self> {
        let listeners = loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut listeners = vec![first];
            for n in 2..=texts.len() {
                match TcpListener::bind(format!("127.0.0.{n}:{port}")).await {
                    Ok(listener) => listeners.push(listener),
                    Err(_) => break, // somebody else has it
                }
            }
            if listeners.len() == texts.len() {
                break listeners;
            }
        };
        let texts = texts.iter().copied();
        let saying = |text: &'static str| {
            move |mut conn: Conn| async move {
                while conn.request().await.is_some() {
                    conn.send(ok(text.as_bytes())).await;
                }
            }
        };
        let both = listeners.into_iter().zip(texts);
        both.map(|(listener, text)| Self::listening(listener, saying(text)))
            .collect()
    }

    /// Answers one request of each connection with these bytes, and closes.
    pub(crate) async fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Vec<u8> = answer.into();
        Self::script(move |mut conn| {
            let answer = answer.clone();
            async move {
                conn.request().await;
                conn.send(&answer).await;
            }
        })
        .await
    }

    /// Asks for the body with a 100, and answers with it.
    pub(crate) async fn continuing() -> Self {
        Self::script(|mut conn: Conn| async move {
            let mut request = conn.head().await.unwrap();
            assert_eq!(request.field("expect").unwrap(), "100-continue");
            conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert!(conn.body(&mut request).await);
            conn.send(ok(&request.body)).await;
        })
        .await
    }

    /// Takes requests and never answers.
    pub(crate) async fn stalling() -> Self {
        Self::script(|mut conn| async move { while conn.request().await.is_some() {} }).await
    }

    /// Refuses connections until it is told to come up.
    pub(crate) fn refusing() -> Refusing {
        Refusing::new()
    }

    /// Does with each connection what the script says.
    pub(crate) async fn script<F>(script: impl Fn(Conn) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::listening(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// An echo that listens on `::1` alone.
    pub(crate) async fn echo_v6() -> Self {
        Self::listening(TcpListener::bind("[::1]:0").await.unwrap(), Conn::echo)
    }

    /// An echo behind TLS that offers these protocols.
    pub(crate) async fn echo_tls(certificates: &Certificates, alpn: &[&str]) -> Self {
        Self::secured(certificates, alpn, Conn::echo).await
    }

    /// Answers one request of each connection over TLS, and closes.
    pub(crate) async fn once_tls(certificates: &Certificates) -> Self {
        Self::script_tls(certificates, |mut conn| async move {
            conn.request().await;
            conn.send(ok(b"")).await;
        })
        .await
    }

    /// Does with each TLS connection what the script says.
    pub(crate) async fn script_tls<F>(
        certificates: &Certificates,
        script: impl Fn(Conn) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::secured(certificates, &["http/1.1"], script).await
    }

    /// The same, and HTTP/2 is chosen wherever it is offered.
    pub(crate) async fn choosing_h2<F>(
        certificates: &Certificates,
        script: impl Fn(Conn) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::secured(certificates, &["h2", "http/1.1"], script).await
    }

    async fn secured<F>(
        certificates: &Certificates,
        alpn: &[&str],
        script: impl Fn(Conn) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().port().to_string();
        let listener = Listener::Tls(listener, certificates.acceptor(alpn));
        Self::run(at, listener, script)
    }

    /// An echo behind a Unix socket.
    pub(crate) fn echo_unix() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("endpoint.sock");
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        let mut backend = Self::run(format!("unix:{}", path.display()), listener, Conn::echo);
        backend._directory = Some(directory);
        backend
    }

    fn listening<F>(listener: TcpListener, script: impl Fn(Conn) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let at = listener.local_addr().unwrap().port().to_string();
        Self::run(at, Listener::Tcp(listener), script)
    }

    fn run<F>(at: String, listener: Listener, script: impl Fn(Conn) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, seen) = watch::channel(Seen::default());
        let sender = Arc::new(sender);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let wire = listener.accept().await;
                sender.send_modify(|seen| seen.connections += 1);
                let seen = sender.clone();
                let running = script(Conn {
                    wire,
                    seen: seen.clone(),
                });
                connections.spawn(async move {
                    running.await;
                    seen.send_modify(|seen| seen.over += 1);
                });
            }
        });
        Self {
            at,
            seen,
            _tasks: tasks,
            _directory: None,
        }
    }

    /// The endpoint as `sites.yaml` names it: a port, or `unix:PATH`.
    pub(crate) fn at(&self) -> &str {
        &self.at
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.borrow().connections
    }

    /// Everything that was asked so far.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.seen.borrow().requests.clone()
    }

    /// The last thing that was asked.
    pub(crate) fn last(&self) -> Message {
        self.requests().pop().expect("the endpoint was asked")
    }

    /// Waits until what came is as it should be.
    pub(crate) async fn wait_for(&self, holds: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        within(seen.wait_for(holds)).await.unwrap();
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    Tls(TcpListener, TlsAcceptor),
}

impl Listener {
    /// The next connection; one whose handshake fails is none.
    async fn accept(&self) -> Wire {
        match self {
            Self::Tls(listener, acceptor) => loop {
                let (stream, _) = listener.accept().await.unwrap();
                let socket = handle(&stream);
                if let Ok(stream) = acceptor.accept(stream).await {
                    return Wire::new(stream, socket);
                }
            },
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let socket = handle(&stream);
                Wire::new(stream, socket)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await.unwrap();
                let socket = handle(&stream);
                Wire::new(stream, socket)
            }
        }
    }
}

impl Conn {
    async fn echo(mut self) {
        while let Some(request) = self.request().await {
            let mut body = request.head.clone();
            body.extend(&request.body);
            self.send(ok(&body)).await;
        }
    }

    /// The next request, whole; `None` if the connection ended before.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let mut request = self.head().await?;
        let whole = self.body(&mut request).await;
        whole.then(|| {
            self.seen
                .send_modify(|seen| seen.requests.push(request.clone()));
            request
        })
    }

    /// The next request's head, which is not remembered.
    pub(crate) async fn head(&mut self) -> Option<Message> {
        let head = self.wire.up_to(b"\r\n\r\n").await?;
        let request = Message {
            head,
            ..Message::default()
        };
        let both = request.field("content-length").is_some()
            && request.field("transfer-encoding").is_some();
        assert!(!both, "an endpoint must never see a length in two ways");
        Some(request)
    }

    /// Reads the body of a request; whether it came whole.
    pub(crate) async fn body(&mut self, request: &mut Message) -> bool {
        if request.field("transfer-encoding").is_some() {
            return self
                .wire
                .chunks(&mut request.body, &mut request.trailers)
                .await;
        }
        let length = request
            .field("content-length")
            .map_or(0, |length| length.parse().unwrap());
        request.body = self.wire.exactly(length).await;
        request.body.len() == length
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes).await;
    }

    /// The socket, for what is not HTTP.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// The server's side of HTTP/2, frame by frame.
    pub(crate) async fn frames(self) -> Frames {
        Frames::accept(self.wire).await
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        self.wire.reset();
    }

    /// Waits for the proxy to close.
    pub(crate) async fn closed(&mut self) {
        self.wire.rest().await;
    }
}

/// A whole answer with a body.
pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}

/// A head with these lines, `\n` for CRLF, and a body behind it.
pub(crate) fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes()
}

/// A port that refuses connections and that nobody else can take.
pub(crate) struct Refusing {
    v4: Socket,
    _v6: Socket,
    port: u16,
}

impl Refusing {
    fn new() -> Self {
        loop {
            let v4 = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            v4.bind(
                &"127.0.0.1:0"
                    .parse::<std::net::SocketAddr>()
                    .unwrap()
                    .into(),
            )
            .unwrap();
            let port = v4.local_addr().unwrap().as_socket().unwrap().port();
            let v6 = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            let address = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
            if v6.bind(&address.into()).is_ok() {
                return Self { v4, _v6: v6, port };
            }
        }
    }

    pub(crate) fn at(&self) -> String {
        self.port.to_string()
    }

    /// Begins to listen.
    pub(crate) fn come_up(self) -> Backend {
        self.come_up_with(Conn::echo)
    }

    /// Begins to listen, and does with each connection what the script says.
    pub(crate) fn come_up_with<F>(self, script: impl Fn(Conn) -> F + Send + 'static) -> Backend
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.v4.listen(16).unwrap();
        self.v4.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(self.v4.into()).unwrap();
        Backend::listening(listener, script)
    }
}
