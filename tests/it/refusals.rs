//! What is refused before any endpoint is asked: raw bytes over HTTP/1, frames over HTTP/2.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Backend, Client, Heard, Proxy, get};

/// A proxy before an endpoint that nobody should reach.
struct Door {
    backend: Backend,
    proxy: Proxy,
}

impl Door {
    async fn new() -> Self {
        let backend = Backend::echo().await;
        let proxy = Proxy::before(backend.at());
        Self { backend, proxy }
    }

    /// The request gets this status, plain and over TLS; the connection is
    /// closed behind it, and the endpoint sees nothing of it.
    async fn check(&self, request: &str, status: u16) {
        for client in [self.proxy.plain().await, self.proxy.tls("a.test").await] {
            self.check_on(client, request, status).await;
        }
        assert_eq!(
            self.backend.connections(),
            0,
            "the endpoint was reached by {request:?}"
        );
    }

    async fn check_on(&self, mut client: Client, request: &str, status: u16) {
        // Every char is one byte here, so that any byte can be sent.
        let mut bytes: Vec<u8> = request
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
        bytes.extend(get("a.test", "/smuggled").bytes());
        let answer = client.ask(bytes).await;
        assert_eq!(answer.status, status, "{request:?}");
        assert!(
            answer.whole && client.is_closed().await,
            "closed behind {request:?}"
        );
        assert_eq!(
            answer.field("connection").as_deref(),
            Some("close"),
            "{request:?}"
        );
        let told = (
            answer.field("proxy-status").is_some(),
            answer.field("x-request-id").is_some(),
        );
        assert_eq!(told, (true, true), "{request:?}");
    }

    /// The proxy goes on as if nothing had been.
    async fn is_unharmed(&self) {
        assert_eq!(
            self.proxy.plain().await.get("a.test", "/last").await.status,
            200
        );
        let targets: Vec<String> = self
            .backend
            .requests()
            .iter()
            .map(|request| request.target())
            .collect();
        assert_eq!(
            (targets, self.backend.connections()),
            (vec!["/last".to_owned()], 1)
        );
    }
}

fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n\r\n")
}

fn asking(target: &str) -> String {
    get("a.test", target)
}

#[tokio::test]
async fn a_request_names_one_host() {
    let door = Door::new().await;
    door.check("GET / HTTP/1.1\r\n\r\n", 400).await;
    door.check(
        "GET / HTTP/1.1\r\nhost: a.test\r\nhost: a.test\r\n\r\n",
        400,
    )
    .await;
    door.check(
        "GET / HTTP/1.1\r\nhost: a.test\r\nHost: b.test\r\n\r\n",
        400,
    )
    .await;
    for host in [
        "",
        "u@a.test",
        "u:p@a.test",
        "a.test/x",
        "a.test,b.test",
        "a.test b.test",
        "a\ttest",
        "a.test?x",
        "a.test#x",
        "a.test\\x",
        "http://a.test",
        "a.test:x",
        "a.test:99999",
        "a.test:80:80",
        "a..test",
        ".test",
        "[::1",
        "::1",
        "[::g]",
        "\u{e4}.test",
        "*.test",
    ] {
        door.check(&get(host, "/"), 400).await;
    }
    for host in ["a.test\u{1}", "a.test\0", "a.\u{7f}test", "a\rtest"] {
        door.check(&get(host, "/"), 400).await;
    }
    door.check("GET http://a.test/ HTTP/1.1\r\nhost: b.test\r\n\r\n", 400)
        .await;
    door.check(
        "GET http://a.test:81/ HTTP/1.1\r\nhost: a.test\r\n\r\n",
        400,
    )
    .await;
    door.check("GET http://a.test/ HTTP/1.1\r\n\r\n", 400).await;
    door.check("GET http://u@a.test/ HTTP/1.1\r\nhost: a.test\r\n\r\n", 400)
        .await;
    door.check(
        "GET http://u@a.test/ HTTP/1.1\r\nhost: u@a.test\r\n\r\n",
        400,
    )
    .await;
    door.check("GET http:///x HTTP/1.1\r\nhost: a.test\r\n\r\n", 400)
        .await;
    door.is_unharmed().await;
}

#[tokio::test]
async fn a_request_of_http_1_0_names_one_host_too() {
    let door = Door::new().await;
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n",
    ] {
        door.check_on(door.proxy.plain().await, request, 400).await;
    }
    door.is_unharmed().await;
}

#[tokio::test]
async fn a_body_is_framed_in_one_way() {
    let door = Door::new().await;
    let check = async |fields: &str, status| door.check(&with(fields), status).await;
    check("transfer-encoding: gzip, chunked", 501).await;
    check("transfer-encoding: chunked, chunked", 400).await;
    check("transfer-encoding: x, chunked", 400).await;
    check("transfer-encoding: , chunked", 400).await;
    check(
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        400,
    )
    .await;
    check(
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        400,
    )
    .await;
    check("transfer-encoding: gzip\r\nTransfer-Encoding: chunked", 400).await;
    for coding in ["gzip", "chunked, gzip", "deflate"] {
        check(&format!("transfer-encoding: {coding}"), 501).await;
    }
    for coding in [
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "\u{b}chunked",
        "chunked,",
        "",
        "chunked\r\ntransfer-encoding: identity",
    ] {
        check(&format!("transfer-encoding: {coding}"), 400).await;
    }
    for length in [
        "5\r\ncontent-length: 6",
        "5, 5",
        "+5",
        "-5",
        "0x5",
        "5 5",
        "",
        "5a",
        "1e1",
        "99999999999999999999",
    ] {
        check(&format!("content-length: {length}"), 400).await;
    }
    check("content-length: 18446744073709551615", 400).await;
    door.is_unharmed().await;
}

#[tokio::test]
async fn a_coding_on_http_1_0_is_refused() {
    let door = Door::new().await;
    let request = "POST / HTTP/1.0\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    door.check(request, 400).await;
    door.is_unharmed().await;
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused() {
    let door = Door::new().await;
    for fields in [
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 3",
        "content-length: 3\r\ntransfer-encoding: chunked\r\ncontent-length: 4",
    ] {
        door.check(&with(fields), 400).await;
    }
    door.is_unharmed().await;
}

#[tokio::test]
async fn control_characters_are_refused_wherever_they_stand() {
    let door = Door::new().await;
    for odd in ["\0", "\r", "\n", "\t", "\u{7f}", " "] {
        door.check(&asking(&format!("/a{odd}b")), 400).await;
    }
    for odd in ["\0", "\r", "\u{1}", "\u{7f}"] {
        door.check(&with(&format!("x: a{odd}b")), 400).await;
        door.check(&with(&format!("x{odd}: a")), 400).await;
    }
    for lines in [
        "x : a",
        "x: a\r\n folded",
        " x: a",
        "no colon",
        ": a",
        "x: a\nb",
    ] {
        door.check(&with(lines), 400).await;
    }
    door.check("GET / HTTP/1.1\r\nhost : a.test\r\n\r\n", 400)
        .await;
    door.check("GET / HTTP/1.1\r\n x: y\r\nhost: a.test\r\n\r\n", 400)
        .await;
    door.is_unharmed().await;
}

/// RFC 9112 §2.2 lets a bare line feed end a line; two readers of one head
/// have read it in two ways for that.
#[tokio::test]
async fn lines_that_end_in_a_bare_line_feed_are_refused() {
    let door = Door::new().await;
    door.check("GET / HTTP/1.1\nhost: a.test\nx: a\n\n", 400)
        .await;
    door.check("GET / HTTP/1.1\r\nhost: a.test\nx: a\r\n\r\n", 400)
        .await;
    door.is_unharmed().await;
}

#[tokio::test]
async fn a_request_line_is_a_request_line() {
    let door = Door::new().await;
    for line in [
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / http/1.1",
        "GET /",
        "G@T / HTTP/1.1",
        "GET / HTTP/1.1\r",
        "/ HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET /a?\"<> HTTP/1.1",
        "\u{16}\u{3}\u{1}\u{2}",
    ] {
        door.check(&format!("{line}\r\nhost: a.test\r\n\r\n"), 400)
            .await;
    }
    for target in [
        "a.test",
        "a.test:80",
        "*",
        "x",
        "/a\\b",
        "/a%00b",
        "/%00",
        "/a\\",
        "/a%00?x",
    ] {
        door.check(&asking(target), 400).await;
    }
    door.is_unharmed().await;
}

#[tokio::test]
async fn another_version_of_http_is_505() {
    let door = Door::new().await;
    for request in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/3.0\r\nhost: a.test\r\n\r\n",
    ] {
        door.check(request, 505).await;
    }
    door.is_unharmed().await;
}

#[tokio::test]
async fn methods_for_tunnels_and_traces_are_405() {
    let door = Door::new().await;
    door.check(
        "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n",
        405,
    )
    .await;
    door.check("CONNECT / HTTP/1.1\r\nhost: a.test\r\n\r\n", 405)
        .await;
    door.check("TRACE / HTTP/1.1\r\nhost: a.test\r\n\r\n", 405)
        .await;
    let answer = door
        .proxy
        .plain()
        .await
        .ask("TRACE / HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    assert_eq!(
        answer.field("allow").unwrap(),
        "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    );
    door.is_unharmed().await;
}

#[tokio::test]
async fn what_is_too_long_is_414_or_431() {
    let door = Door::new().await;
    let target = |bytes: usize| asking(&format!("/{}", "a".repeat(bytes)));
    door.check(&target(16 * 1024), 414).await;
    door.check(&target(65_536), 414).await;
    door.check(&with(&format!("x: {}", "y".repeat(32 * 1024))), 431)
        .await;
    door.check(&with(&["x: y"; 100].join("\r\n")), 431).await;
    let line = format!("x: {}", "y".repeat(8 * 1024));
    door.check(&with(&[line.as_str(); 4].join("\r\n")), 431)
        .await;
    door.is_unharmed().await;
}

#[tokio::test]
async fn what_is_just_short_enough_is_served() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    for request in [
        asking(&format!("/{}", "a".repeat(16 * 1024 - 1))),
        with(&["x: y"; 99].join("\r\n")),
        with(&format!("x: {}", "y".repeat(32 * 1024 - 20))),
    ] {
        assert_eq!(proxy.plain().await.ask(request).await.status, 200);
    }
}

#[tokio::test]
async fn an_expectation_that_nobody_knows_is_417() {
    let door = Door::new().await;
    door.check(&with("expect: tea\r\ncontent-length: 2"), 417)
        .await;
    door.check(&with("expect: 100-continue, tea\r\ncontent-length: 2"), 417)
        .await;
    door.check(
        &with("expect: 100-continue\r\nexpect: tea\r\ncontent-length: 2"),
        417,
    )
    .await;
    door.is_unharmed().await;
}

#[tokio::test]
async fn a_body_over_max_body_is_413() {
    let backend = Backend::echo().await;
    let proxy = Proxy::with(&format!("upstream: {}\nmax_body: 10B", backend.at()));
    let door = Door { backend, proxy };
    door.check(&with("content-length: 11"), 413).await;
    let ten = with("content-length: 10") + "0123456789";
    assert_eq!(door.proxy.plain().await.ask(ten).await.status, 200);
}

/// A body that comes as it comes is counted: the endpoint sees its beginning,
/// and never an end.
#[tokio::test]
async fn a_body_that_grows_over_max_body_or_breaks_never_ends_at_the_endpoint() {
    let backend = Backend::echo().await;
    let proxy = Proxy::with(&format!("upstream: {}\nmax_body: 10B", backend.at()));
    let bodies = [
        ("6\r\n012345\r\n5\r\n01234\r\n0\r\n\r\n", 413),
        ("2\nhi\n0\n\n", 400),
        ("2\r\nhi!\r\n0\r\n\r\n", 400),
        ("0x2\r\nhi\r\n0\r\n\r\n", 400),
        ("2;a\nb\r\nhi\r\n0\r\n\r\n", 400),
        ("-1\r\nhi\r\n0\r\n\r\n", 400),
        ("\r\n2\r\nhi\r\n0\r\n\r\n", 400),
        ("fffffffffffffffff\r\nhi\r\n0\r\n\r\n", 400),
        ("2\r\nhi\r\n0\r\nx\0y: z\r\n\r\n", 400),
        ("2\r\nhi\r\n0\r\nx: y\nz: a\r\n\r\n", 400),
    ];
    for (n, (body, status)) in bodies.into_iter().enumerate() {
        let mut client = proxy.plain().await;
        let request = with("transfer-encoding: chunked") + body + &get("a.test", "/smuggled");
        let answer = client.ask(request).await;
        assert_eq!((answer.status, answer.whole), (status, true), "{body:?}");
        assert!(client.is_closed().await, "{body:?}");
        backend.wait_for(|seen| seen.over == n + 1).await;
        assert!(backend.requests().is_empty(), "{body:?}");
    }
}

/// Takes its ten seconds: the clock is the real one.
#[tokio::test]
async fn a_head_that_does_not_come_is_408() {
    let door = Door::new().await;
    let check = async |mut client: Client| {
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\nx: ").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.whole), (408, true));
        assert!(client.is_closed().await);
    };
    let mut relays = JoinSet::new();
    tokio::join!(
        check(door.proxy.plain().await),
        check(door.proxy.tls("a.test").await),
        check(held_back(&door.proxy, &mut relays).await),
    );
    door.is_unharmed().await;
}

/// A TLS connection whose end of the handshake arrives together with the
/// first bytes of the request: their head had no clock.
async fn held_back(proxy: &Proxy, relays: &mut JoinSet<()>) -> Client {
    const HELLO_BYTES_LEAST: usize = 200;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let socket = TcpStream::connect(proxy.https).await.unwrap();
    let handle = socket2::SockRef::from(&socket).try_clone().unwrap();
    let (mut down, mut up) = socket.into_split();
    let (mut from, mut to) = tokio::io::split(far);
    relays.spawn(async move {
        let forward = async {
            let mut bytes = vec![0; 64 * 1024];
            let hello = from.read(&mut bytes).await.unwrap();
            assert!(hello > HELLO_BYTES_LEAST);
            up.write_all(&bytes[..hello]).await.unwrap();
            let mut held = Vec::new();
            // The end of the handshake is less than this, with the request it is more.
            while held.len() < 100 && from.read_buf(&mut held).await.unwrap() > 0 {}
            up.write_all(&held).await.unwrap();
        };
        let _ = tokio::join!(forward, tokio::io::copy(&mut down, &mut to));
    });
    let connector = tokio_rustls::TlsConnector::from(Arc::new(proxy.client_config(&["http/1.1"])));
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    Client::new(connector.connect(name, near).await.unwrap(), handle)
}

/// A request of HTTP/2, by its fields.
type Fields = Vec<(&'static str, &'static str)>;

const PROTOCOL_ERROR: u32 = 1;

fn base() -> Fields {
    vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/"),
    ]
}

/// The base with another value, or (for `None`) without the field.
fn but(name: &'static str, value: Option<&'static str>) -> Fields {
    let mut fields = base();
    let at = fields.iter().position(|field| field.0 == name).unwrap();
    match value {
        Some(value) => fields[at].1 = value,
        None => drop(fields.remove(at)),
    }
    fields
}

fn and(more: &[(&'static str, &'static str)]) -> Fields {
    [base(), more.to_vec()].concat()
}

impl Door {
    /// The stream is refused like this, the endpoint sees nothing of it, and
    /// unless the connection ended, it serves the next request.
    async fn check_frames(&self, fields: &[(&str, &str)], body: Option<&[u8]>, want: Heard) {
        let mut frames = self.proxy.frames("a.test").await;
        frames.ask(1, fields, body).await;
        assert_eq!(frames.heard(1).await, want, "{fields:?}");
        if let Heard::GoAway(_) = want {
            assert_eq!(frames.heard(1).await, Heard::Closed);
            return;
        }
        let before = self.backend.requests().len();
        frames.ask(3, &but(":path", Some("/next")), None).await;
        assert_eq!(
            frames.heard(3).await,
            Heard::Status(200),
            "after {fields:?}"
        );
        let [next] = <[_; 1]>::try_from(self.backend.requests().split_off(before)).unwrap();
        assert_eq!(next.target(), "/next", "after {fields:?}");
    }
}

#[tokio::test]
async fn frames_of_one_host() {
    let door = Door::new().await;
    let check = async |fields: Fields, want| door.check_frames(&fields, None, want).await;
    check(and(&[("host", "b.test")]), Heard::Status(400)).await;
    check(and(&[("host", "a.test:443")]), Heard::Status(400)).await;
    check(
        and(&[("host", "a.test"), ("host", "a.test")]),
        Heard::Status(400),
    )
    .await;
    check(but(":authority", None), Heard::Status(400)).await;
    for authority in [
        "u@a.test",
        "a.test,b.test",
        "a..test",
        "a.test:99999",
        "a.test:x",
    ] {
        check(but(":authority", Some(authority)), Heard::Status(400)).await;
    }
    for authority in ["", "a.test/x", "a.test b", "a.test\u{1}", "a.test\r\nx: y"] {
        check(
            but(":authority", Some(authority)),
            Heard::Reset(PROTOCOL_ERROR),
        )
        .await;
    }
    check(
        and(&[(":authority", "a.test")]),
        Heard::Reset(PROTOCOL_ERROR),
    )
    .await;
    let mut hosts = but(":authority", None);
    hosts.extend([("host", "a.test"), ("host", "a.test")]);
    check(hosts, Heard::Status(400)).await;
}

#[tokio::test]
async fn frames_of_one_length() {
    let door = Door::new().await;
    for lengths in [
        &["5", "6"][..],
        &["5, 5"],
        &["+5"],
        &["-5"],
        &["0x5"],
        &["99999999999999999999"],
    ] {
        let mut fields = but(":method", Some("POST"));
        fields.extend(lengths.iter().map(|length| ("content-length", *length)));
        door.check_frames(&fields, Some(b"hello"), Heard::Reset(PROTOCOL_ERROR))
            .await;
    }
    let post = |length: &'static str| {
        let mut fields = but(":method", Some("POST"));
        fields.push(("content-length", length));
        fields
    };
    door.check_frames(&post("5"), None, Heard::Reset(PROTOCOL_ERROR))
        .await;
    // (With a body it is a race between this and the library's reset.)
    door.check_frames(&post(""), None, Heard::Status(400)).await;
    // These are seen to be wrong only when the body has come.
    door.check_frames(&post("6"), Some(b"hello"), Heard::Reset(PROTOCOL_ERROR))
        .await;
    door.check_frames(&post("4"), Some(b"hello"), Heard::Reset(PROTOCOL_ERROR))
        .await;
}

#[tokio::test]
async fn frames_without_fields_of_a_connection() {
    let door = Door::new().await;
    for field in [
        ("connection", "close"),
        ("keep-alive", "5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        door.check_frames(&and(&[field]), None, Heard::Reset(PROTOCOL_ERROR))
            .await;
    }
    door.check_frames(
        &and(&[("X-Upper", "1")]),
        None,
        Heard::GoAway(PROTOCOL_ERROR),
    )
    .await;
}

#[tokio::test]
async fn frames_with_well_formed_fields() {
    let door = Door::new().await;
    for field in [
        ("x", "a\0b"),
        ("x", "a\rb"),
        ("x", "a\nb"),
        ("x", "a\r\ny: b"),
        ("x:y", "a"),
        ("x y", "a"),
        ("x\r\ny", "a"),
        ("x\0", "a"),
        ("", "a"),
        (":unknown", "a"),
        (":method ", "GET"),
    ] {
        door.check_frames(&and(&[field]), None, Heard::GoAway(PROTOCOL_ERROR))
            .await;
    }
    for method in ["", "GET / HTTP/1.1\r\nx:", "G T"] {
        door.check_frames(
            &but(":method", Some(method)),
            None,
            Heard::GoAway(PROTOCOL_ERROR),
        )
        .await;
    }
    for name in [":method", ":scheme", ":path"] {
        door.check_frames(&but(name, None), None, Heard::Reset(PROTOCOL_ERROR))
            .await;
    }
    for twice in [
        (":method", "GET"),
        (":path", "/"),
        (":scheme", "https"),
        (":status", "200"),
    ] {
        door.check_frames(&and(&[twice]), None, Heard::Reset(PROTOCOL_ERROR))
            .await;
    }
    let mut late = vec![("x", "y")];
    late.extend(base());
    door.check_frames(&late, None, Heard::Reset(PROTOCOL_ERROR))
        .await;
}

#[tokio::test]
async fn frames_with_a_target_that_all_read_alike() {
    let door = Door::new().await;
    for path in ["/a\\b", "/a%00b", "*"] {
        door.check_frames(&but(":path", Some(path)), None, Heard::Status(400))
            .await;
    }
    for path in [
        "",
        "x",
        "http://b.test/x",
        "/a b",
        "/a\0b",
        "/ HTTP/1.1\r\nx: y",
        "/a\tb",
    ] {
        door.check_frames(
            &but(":path", Some(path)),
            None,
            Heard::Reset(PROTOCOL_ERROR),
        )
        .await;
    }
    door.check_frames(
        &but(":path", Some("/\u{e4}")),
        None,
        Heard::GoAway(PROTOCOL_ERROR),
    )
    .await;
    door.check_frames(
        &but(":scheme", Some("https://x")),
        None,
        Heard::Reset(PROTOCOL_ERROR),
    )
    .await;
}

#[tokio::test]
async fn frames_of_refused_methods_expectations_and_sizes() {
    let door = Door::new().await;
    let connect = [(":method", "CONNECT"), (":authority", "a.test:443")];
    door.check_frames(&connect, None, Heard::Status(405)).await;
    door.check_frames(&but(":method", Some("TRACE")), None, Heard::Status(405))
        .await;
    door.check_frames(&and(&[("expect", "tea")]), None, Heard::Status(417))
        .await;
    // RFC 8441: for WebSocket alone.
    let extended = [
        vec![(":method", "CONNECT"), (":protocol", "connect-udp")],
        base()[1..].to_vec(),
    ]
    .concat();
    door.check_frames(&extended, None, Heard::Status(405)).await;
    let target = format!("/{}", "a".repeat(16 * 1024));
    let mut long: Vec<(&str, &str)> = base();
    long[3].1 = &target;
    door.check_frames(&long, None, Heard::Status(414)).await;
    let value = "y".repeat(9 * 1024);
    let large = [base(), vec![("x", value.as_str()); 4]].concat();
    door.check_frames(&large, None, Heard::Status(431)).await;
    let huge = "y".repeat(33 * 1024);
    door.check_frames(
        &[base(), vec![("x", huge.as_str())]].concat(),
        None,
        Heard::Status(431),
    )
    .await;
    door.check_frames(&and(&[("x", "y"); 101]), None, Heard::Status(431))
        .await;
}

#[tokio::test]
async fn frames_over_max_body_are_413() {
    let backend = Backend::echo().await;
    let proxy = Proxy::with(&format!("upstream: {}\nmax_body: 10B", backend.at()));
    let mut frames = proxy.frames("a.test").await;
    let mut post = but(":method", Some("POST"));
    frames.ask(1, &post, Some(&[b'x'; 11])).await;
    assert_eq!(frames.heard(1).await, Heard::Status(413));
    backend.wait_for(|seen| seen.over == 1).await;
    post.push(("content-length", "11"));
    frames.ask(3, &post, Some(&[b'x'; 11])).await;
    assert_eq!(frames.heard(3).await, Heard::Status(413));
    assert_eq!((backend.requests().len(), backend.connections()), (0, 1));
}
