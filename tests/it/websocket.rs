//! `Upgrade`: WebSockets pass, all other tokens are dropped and the request is served.

use crate::harness::{Backend, Client, Conn, END_STREAM, Heard, Kind, Proxy, answer, get, ok};

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn switched() -> Vec<u8> {
    answer(
        "101 Switching Protocols\nupgrade: websocket\nconnection: Upgrade\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "",
    )
}

/// Says hello right behind its 101, then sends everything back; says bye when
/// the client has said its last.
async fn chat() -> Backend {
    Backend::script(|mut conn: Conn| async move {
        let request = conn.request().await.unwrap();
        assert_eq!(request.field("upgrade").unwrap(), "websocket");
        assert_eq!(request.field("connection").unwrap(), "upgrade");
        assert_eq!(
            request.field("sec-websocket-key").unwrap(),
            "dGhlIHNhbXBsZSBub25jZQ=="
        );
        conn.send([switched(), b"hello;".to_vec()].concat()).await;
        loop {
            let word = conn.wire().up_to(b";").await;
            match word {
                Some(word) => conn.send(word).await,
                None => break,
            }
        }
        conn.send("bye").await;
    })
    .await
}

async fn clients(proxy: &Proxy) -> [Client; 2] {
    [proxy.plain().await, proxy.tls("a.test").await]
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let backend = chat().await;
    let proxy = Proxy::before(backend.at());
    for mut client in clients(&proxy).await {
        // The client's first word comes right behind its handshake.
        client.send(format!("{HANDSHAKE}early;")).await;
        let got = client.head().await.unwrap();
        assert_eq!(got.status, 101);
        assert_eq!(
            (
                got.field("upgrade").unwrap(),
                got.field("connection").unwrap()
            ),
            ("websocket".into(), "upgrade".into())
        );
        assert_eq!(
            got.field("sec-websocket-accept").unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(client.wire().exactly(12).await, b"hello;early;");
        for word in ["one;", "two;"] {
            client.send(word).await;
            assert_eq!(client.wire().exactly(4).await, word.as_bytes());
        }
        // The client's end passes, and what comes after it the other way, too.
        client.wire().end().await;
        assert_eq!(client.wire().rest().await, b"bye");
    }
    backend.wait_for(|seen| seen.over == 2).await;
    for line in proxy.logged(2).await {
        assert_eq!(
            (&line["status"], &line["bytes_in"], &line["bytes_out"]),
            (&101.into(), &14.into(), &23.into())
        );
        assert_eq!(line.get("reason"), None);
    }
}

#[tokio::test]
async fn a_websocket_carries_what_is_large() {
    let backend = chat().await;
    let proxy = Proxy::before(backend.at());
    let word = [vec![b'x'; 3 << 20], vec![b';']].concat();
    for mut client in clients(&proxy).await {
        client.send(HANDSHAKE).await;
        client.wire().up_to(b"hello;").await.unwrap();
        client.send(&word).await;
        assert!(client.wire().exactly(word.len()).await == word);
    }
}

#[tokio::test]
async fn the_endpoints_end_passes_while_the_client_goes_on() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
        conn.send([switched(), b"bye".to_vec()].concat()).await;
        conn.wire().end().await;
        let word = conn.wire().up_to(b";").await.unwrap();
        assert_eq!(word, b"after;");
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.send(HANDSHAKE).await;
    client.head().await.unwrap();
    assert_eq!(client.wire().rest().await, b"bye");
    client.send("after;").await;
    client.wire().end().await;
    backend.wait_for(|seen| seen.over == 1).await;
    proxy.logged(1).await;
}

#[tokio::test]
async fn a_side_that_breaks_ends_the_other() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
        conn.send(switched()).await;
        if conn.wire().up_to(b"break;").await.is_some() {
            conn.reset();
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    for mut client in clients(&proxy).await {
        client.send(HANDSHAKE).await;
        client.head().await.unwrap();
        client.send("break;").await;
        assert!(client.is_closed().await);
    }
    let mut client = proxy.plain().await;
    client.send(HANDSHAKE).await;
    client.head().await.unwrap();
    client.into_wire().reset();
    backend.wait_for(|seen| seen.over == 3).await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_switch_answers_as_ever() {
    let backend = Backend::answering(answer(
        "426 Upgrade Required\nupgrade: other\ncontent-length: 2",
        "no",
    ))
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for _ in 0..2 {
        let got = client.ask(HANDSHAKE).await;
        assert_eq!(
            (got.status, got.text().as_str(), got.field("upgrade")),
            (426, "no", None)
        );
    }
}

/// `curl --http2 http://…` asks for h2c, on which a Node server with `ws` breaks.
#[tokio::test]
async fn other_upgrades_are_dropped_and_the_request_is_served() {
    let backend = Backend::answering(ok(b"served")).await;
    let proxy = Proxy::before(backend.at());
    for lines in [
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
        "connection: upgrade\r\nupgrade: TLS/1.0",
        // Without its `Connection` option it is no request to switch (RFC 9110 §7.8).
        "upgrade: websocket",
    ] {
        let mut client = proxy.plain().await;
        let request = get("a.test", "/").replace("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"));
        assert_eq!(client.ask(request).await.text(), "served", "{lines}");
        let seen = backend.last();
        let passed = ["upgrade", "connection", "http2-settings"].map(|name| seen.field(name));
        assert_eq!(passed, [None, None, None], "{lines}");
        assert_eq!(
            client.get("a.test", "/").await.text(),
            "served",
            "the connection goes on"
        );
    }
}

#[tokio::test]
async fn of_several_upgrades_the_websocket_passes() {
    let backend = Backend::answering(ok(b"served")).await;
    let proxy = Proxy::before(backend.at());
    for tokens in ["h2c, websocket", "WebSocket\r\nupgrade: h2c"] {
        let request = HANDSHAKE.replace("upgrade: websocket", &format!("upgrade: {tokens}"));
        assert_eq!(proxy.plain().await.ask(request).await.text(), "served");
        assert_eq!(backend.last().field("upgrade").unwrap(), "websocket");
    }
}

#[tokio::test]
async fn an_upgrade_of_another_method_or_with_a_body_is_served_without() {
    let backend = Backend::answering(ok(b"served")).await;
    let proxy = Proxy::before(backend.at());
    for request in [
        HANDSHAKE
            .replacen("GET", "POST", 1)
            .replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\nhi"),
        HANDSHAKE.replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\nhi"),
        HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        assert_eq!(proxy.plain().await.ask(&request).await.text(), "served");
        assert_eq!(backend.last().field("upgrade"), None, "{request}");
    }
}

/// Over HTTP/2 the handshake is an extended CONNECT (RFC 8441), which becomes
/// the one that endpoints know.
#[tokio::test]
async fn a_websocket_passes_over_a_stream_of_h2() {
    let backend = Backend::script(|mut conn: Conn| async move {
        let request = conn.request().await.unwrap();
        assert_eq!(request.first_line(), "GET /chat HTTP/1.1");
        assert_eq!(request.field("upgrade").unwrap(), "websocket");
        assert_eq!(request.field("sec-websocket-version").unwrap(), "13");
        assert_eq!(request.field("sec-websocket-key").unwrap().len(), 24);
        conn.send([switched(), b"hello;".to_vec()].concat()).await;
        while let Some(word) = conn.wire().up_to(b";").await {
            conn.send(word).await;
        }
        conn.send("bye").await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.headers(1, &CONNECT, 0).await;
    frames.send(Kind::Data, 0, 1, b"early;").await;
    let head = frames.next_of(1).await;
    assert!(head.is_head() && !head.ends_stream());
    let mut got = Vec::new();
    while got.len() < 12 {
        got.extend(frames.next_of(1).await.payload);
    }
    assert_eq!(got, b"hello;early;");
    // The client's end passes, and what comes after it the other way, too.
    frames.send(Kind::Data, END_STREAM, 1, b"").await;
    assert_eq!(frames.next_of(1).await.payload, b"bye");
    assert!(frames.next_of(1).await.ends_stream());
    backend.wait_for(|seen| seen.over == 1).await;
    let line = &proxy.logged(1).await[0];
    assert_eq!(
        (&line["status"], &line["bytes_in"], &line["bytes_out"]),
        (&101.into(), &6.into(), &15.into())
    );
}

const CONNECT: [(&str, &str); 5] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/chat"),
];

/// A 200 would be a handshake accepted to the client.
#[tokio::test]
async fn an_endpoint_that_does_not_switch_is_502_over_h2() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.headers(1, &CONNECT, 0).await;
    assert_eq!(frames.heard(1).await, Heard::Status(502));
    let line = &proxy.logged(1).await[0];
    assert_eq!(line["reason"], "http_upgrade_failed");
}

/// What an endpoint refuses, it refuses itself.
#[tokio::test]
async fn a_refusal_of_the_endpoints_passes_over_h2() {
    let backend = Backend::answering(answer("403 Forbidden\ncontent-length: 0", "")).await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.headers(1, &CONNECT, 0).await;
    assert_eq!(frames.heard(1).await, Heard::Status(403));
}

/// The endpoint's connection lived on behind a stream that was gone.
#[tokio::test]
async fn a_stream_that_is_reset_ends_its_websocket() {
    let backend = chat_of_any_key().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.headers(1, &CONNECT, 0).await;
    assert_eq!(frames.heard(1).await, Heard::Status(200));
    frames.send(Kind::Reset, 0, 1, &8u32.to_be_bytes()).await;
    backend.wait_for(|seen| seen.over == 1).await;
}

async fn chat_of_any_key() -> Backend {
    Backend::script(|mut conn: Conn| async move {
        conn.request().await.unwrap();
        conn.send(switched()).await;
        conn.closed().await;
    })
    .await
}
