//! WebSocket (RFC 6455 §5.2): an endpoint that says back what it hears, and a
//! client over HTTP/1.1 or a stream of HTTP/2. Frames are short.

use super::backend::{Backend, Conn, answer, ok};
use super::client::Client;
use super::h2::{END_STREAM, Frames, Heard, Kind};
use super::proxy::Proxy;

/// A Close frame that says 1001, as a server sends it.
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// The same as a client sends it; 0 is a mask like any other.
const GOING_AWAY_MASKED: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// A client's WebSocket.
pub(crate) enum Chat {
    H1(Client),
    /// With what was received and not yet read.
    H2(Box<Frames>, Vec<u8>),
}

/// A text as a server sends it.
pub(crate) fn told(text: &str) -> Vec<u8> {
    [&[TEXT, text.len() as u8], text.as_bytes()].concat()
}

/// A text as a client sends it.
pub(crate) fn said(text: &str) -> Vec<u8> {
    [
        &[TEXT, 0x80 | text.len() as u8, 0, 0, 0, 0],
        text.as_bytes(),
    ]
    .concat()
}

impl Backend {
    /// Says back what it hears, and answers a Close frame, which must be a
    /// masked 1001, with its own. Its script is over once that is done.
    pub(crate) async fn websocket() -> Self {
        Self::script(|mut conn: Conn| async move {
            if !conn.switch().await {
                return;
            }
            while let Some(text) = conn.heard().await {
                conn.send(told(&text)).await;
            }
            conn.send(GOING_AWAY).await;
            conn.closed().await;
        })
        .await
    }
}

impl Conn {
    /// Answers a handshake; `false`: none came, but perhaps a health check.
    pub(crate) async fn switch(&mut self) -> bool {
        let Some(request) = self.request().await else {
            return false;
        };
        if request.field("upgrade").is_none() {
            self.send(ok(b"")).await;
            return false;
        }
        let head = "101 Switching Protocols\nupgrade: websocket\nconnection: Upgrade\nsec-websocket-accept: x";
        self.send(answer(head, "")).await;
        true
    }

    /// The next text; `None` is a Close frame of 1001.
    pub(crate) async fn heard(&mut self) -> Option<String> {
        let head = self.wire().exactly(2).await;
        assert_eq!(head.len(), 2, "a WebSocket ends with a Close frame");
        assert!(head[1] & 0x80 != 0, "what a client sends is masked");
        let mask = self.wire().exactly(4).await;
        let mut payload = self.wire().exactly(usize::from(head[1] & 0x7f)).await;
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        if head[0] == CLOSE {
            assert_eq!(payload, GOING_AWAY[2..]);
            return None;
        }
        Some(String::from_utf8(payload).unwrap())
    }
}

impl Chat {
    /// Over plain HTTP/1.1.
    pub(crate) async fn plain(proxy: &Proxy, host: &str, path: &str) -> Self {
        Self::over(proxy.plain().await, host, path).await
    }

    /// Over HTTP/1.1 and TLS.
    pub(crate) async fn tls(proxy: &Proxy, host: &str, path: &str) -> Self {
        Self::over(proxy.tls(host).await, host, path).await
    }

    async fn over(mut client: Client, host: &str, path: &str) -> Self {
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await;
        assert_eq!(client.head().await.unwrap().status, 101);
        Self::H1(client)
    }

    /// Over a stream of HTTP/2 (RFC 8441).
    pub(crate) async fn h2(proxy: &Proxy, host: &str, path: &str) -> Self {
        let mut frames = proxy.frames(host).await;
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
        ];
        frames.headers(1, &fields, 0).await;
        assert_eq!(frames.heard(1).await, Heard::Status(200));
        Self::H2(Box::new(frames), Vec::new())
    }

    /// One of each.
    pub(crate) async fn of_each(proxy: &Proxy, host: &str, path: &str) -> [Self; 3] {
        [
            Self::plain(proxy, host, path).await,
            Self::tls(proxy, host, path).await,
            Self::h2(proxy, host, path).await,
        ]
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::H1(client) => client.send(bytes).await,
            Self::H2(frames, _) => frames.send(Kind::Data, 0, 1, bytes).await,
        }
    }

    /// So many bytes; fewer at the end.
    pub(crate) async fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        match self {
            Self::H1(client) => client.wire().exactly(bytes).await,
            Self::H2(frames, received) => {
                while received.len() < bytes {
                    let Some(frame) = frames.next().await else {
                        break;
                    };
                    if frame.stream == 1 && frame.kind == Kind::Data as u8 {
                        received.extend(&frame.payload);
                        if frame.ends_stream() {
                            break;
                        }
                    }
                }
                let bytes = bytes.min(received.len());
                received.drain(..bytes).collect()
            }
        }
    }

    /// Says something and hears it back.
    pub(crate) async fn works(&mut self, text: &str) {
        self.send(&said(text)).await;
        assert_eq!(self.exactly(text.len() + 2).await, told(text));
    }

    /// Is told to go away, answers, and sees a clean end.
    pub(crate) async fn leaves(mut self) {
        assert_eq!(self.exactly(4).await, GOING_AWAY);
        self.send(&GOING_AWAY_MASKED).await;
        self.ends().await;
    }

    /// Nothing more comes but the end.
    pub(crate) async fn ends(self) {
        match self {
            Self::H1(mut client) => assert!(client.is_closed().await),
            Self::H2(mut frames, received) => {
                assert!(received.is_empty());
                loop {
                    let frame = frames.next_of(1).await;
                    assert_eq!((frame.kind, frame.payload.len()), (Kind::Data as u8, 0));
                    if frame.flags & END_STREAM != 0 {
                        return;
                    }
                }
            }
        }
    }
}
