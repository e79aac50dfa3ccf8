//! Clients that ask without reading, wait without taking, and go halfway.

use crate::harness::{Backend, Conn, END_STREAM, Heard, Kind, Proxy, answer, get, ok};

const FIELDS: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/"),
];

/// A 100 stood in the middle of the answer: the endpoint had answered at once,
/// and its reading of the body asked the client for it.
#[tokio::test]
async fn no_100_comes_behind_the_head_of_an_answer() {
    for head in [
        "200 OK\ncontent-length: 11",
        "200 OK\ntransfer-encoding: chunked",
    ] {
        let chunked = head.contains("chunked");
        let backend = Backend::script(move |mut conn: Conn| async move {
            conn.head().await.unwrap();
            conn.send(answer(head, "")).await;
            // The proxy has read the head by itself: the body comes later.
            tokio::task::yield_now().await;
            conn.send(if chunked {
                "b\r\nhello world\r\n0\r\n\r\n"
            } else {
                "hello world"
            })
            .await;
            conn.closed().await;
        })
        .await;
        let proxy = Proxy::before(backend.at());
        let mut client = proxy.plain().await;
        let request =
            "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        let got = client.ask(request).await;
        assert_eq!(
            (got.text().as_str(), got.interim.len(), got.whole),
            ("hello world", 0, true)
        );
        // Whether a body follows, nobody can know.
        assert_eq!(got.field("connection").as_deref(), Some("close"));
    }
}

/// One connection held its whole thread, and filled its memory.
#[tokio::test]
async fn a_client_that_asks_without_reading_keeps_nobody_waiting() {
    let proxy = Proxy::start(
        "sites: { a.test: { redirect: \"https://b.test{path}\", plain_http: serve } }",
    );
    let many = get("a.test", "/").repeat(2000);
    let mut askers = Vec::new();
    for _ in 0..8 {
        let mut asker = proxy.tls("a.test").await;
        asker.wire().take_little();
        askers.push(asker);
    }
    for _ in 0..20 {
        for asker in &mut askers {
            asker.wire().try_send_some(many.as_bytes()).await;
        }
        assert_eq!(
            proxy.tls("a.test").await.get("a.test", "/").await.status,
            308
        );
    }
}

/// The connection ended behind an answer that had promised otherwise: the rest
/// of the request was on its way.
#[tokio::test]
async fn the_rest_of_a_request_is_read_behind_an_early_answer() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.head().await.unwrap();
        conn.send(answer("405 Method Not Allowed\ncontent-length: 20000", ""))
            .await;
        conn.send(vec![b'x'; 20_000]).await;
        conn.closed().await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nx")
        .await;
    let got = client.answer().await;
    assert_eq!((got.status, got.field("connection")), (405, None));
    client.send(format!("y{}", get("a.test", "/next"))).await;
    assert_eq!(client.answer().await.status, 405);
}

/// It was a 499 in the log.
#[tokio::test]
async fn an_early_answer_without_a_body_is_whole() {
    for head in [
        "204 No Content",
        "304 Not Modified",
        "200 OK\ncontent-length: 0",
    ] {
        let backend = Backend::script(move |mut conn: Conn| async move {
            conn.head().await.unwrap();
            conn.send(answer(head, "")).await;
            conn.closed().await;
        })
        .await;
        let proxy = Proxy::before(backend.at());
        let mut client = proxy.plain().await;
        client
            .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhello")
            .await;
        let got = client.head().await.unwrap();
        assert_eq!(got.field("connection").as_deref(), Some("close"), "{head}");
        assert!(client.is_closed().await);
        let line = &proxy.logged(1).await[0];
        assert_eq!(
            (&line["status"], line.get("reason")),
            (&got.status.into(), None)
        );
    }
}

/// The endpoint's connection stayed: nobody looked at the stream any more.
#[tokio::test]
async fn a_half_closed_websocket_over_h2_ends_with_its_stream() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.request().await.unwrap();
        conn.send(answer(
            "101 Switching Protocols\nupgrade: websocket\nconnection: upgrade",
            "",
        ))
        .await;
        assert!(conn.wire().rest().await.is_empty());
        // It has seen the client's last, and says nothing itself.
        while conn.wire().try_send("x").await.is_ok() {}
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let mut fields = FIELDS.to_vec();
    fields[0].1 = "CONNECT";
    fields.push((":protocol", "websocket"));
    frames.headers(1, &fields, 0).await;
    assert_eq!(frames.heard(1).await, Heard::Status(200));
    frames.send(Kind::Data, END_STREAM, 1, b"").await;
    frames.send(Kind::Reset, 0, 1, &8u32.to_be_bytes()).await;
    proxy.logged(1).await;
}

/// An endpoint's hints queued without end for a client that does not read.
#[tokio::test]
async fn hints_over_h2_are_bounded() {
    let hint = format!(
        "HTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n",
        "a".repeat(8000)
    );
    let backend = Backend::script(move |mut conn: Conn| {
        let hint = hint.clone();
        async move {
            conn.request().await.unwrap();
            for _ in 0..100 {
                conn.send(&hint).await;
            }
            conn.send(ok(b"hi")).await;
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.headers(1, &FIELDS, END_STREAM).await;
    let mut heads = 0;
    loop {
        let frame = frames.next_of(1).await;
        heads += usize::from(frame.is_head());
        if frame.ends_stream() {
            break;
        }
    }
    assert!((2..10).contains(&heads), "{heads} heads");
}

/// Unicode's blanks were trimmed away, and the body read as chunks.
#[tokio::test]
async fn a_coding_with_an_odd_blank_is_refused() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let head = b"POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: \xc2\xa0chunked\r\n\r\n";
    let got = proxy
        .plain()
        .await
        .ask([&head[..], b"0\r\n\r\n"].concat())
        .await;
    assert_eq!((got.status, backend.connections()), (400, 0));
}
