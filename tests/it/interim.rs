//! Interim answers (1xx) on their way to the client, over HTTP/1 and HTTP/2.

use crate::harness::{Backend, Conn, END_STREAM, Kind, Proxy, get, ok};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

/// Gives hints, and answers once it is told that they came.
async fn hinting(hints: &'static str) -> (Backend, std::sync::Arc<tokio::sync::Semaphore>) {
    let seen = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = seen.clone();
    let backend = Backend::script(move |mut conn: Conn| {
        let gate = gate.clone();
        async move {
            while conn.request().await.is_some() {
                conn.send(hints).await;
                gate.acquire().await.unwrap().forget();
                conn.send(ok(b"hi")).await;
            }
        }
    })
    .await;
    (backend, seen)
}

#[tokio::test]
async fn early_hints_come_before_the_answer_over_h1() {
    let (backend, seen) = hinting(HINTS).await;
    let proxy = Proxy::before(backend.at());
    for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
        client.send(get("a.test", "/")).await;
        let hint = client.head().await.unwrap();
        assert_eq!(hint.status, 103);
        assert_eq!(hint.field("link").unwrap(), "</a.css>; rel=preload");
        seen.add_permits(1);
        let got = client.answer().await;
        assert_eq!((got.status, got.text().as_str()), (200, "hi"));
        assert_eq!(got.field("link"), None);
    }
}

#[tokio::test]
async fn early_hints_come_before_the_answer_over_h2() {
    let (backend, seen) = hinting(HINTS).await;
    let proxy = Proxy::before(backend.at());
    let mut h2 = proxy.h2("a.test").await;
    let request = http::Request::get("https://a.test/").body(()).unwrap();
    let (mut coming, _) = h2.requests.send_request(request, true).unwrap();
    let hint = crate::harness::within(std::future::poll_fn(|cx| coming.poll_informational(cx)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(hint.status(), 103);
    assert_eq!(hint.headers()["link"], "</a.css>; rel=preload");
    seen.add_permits(1);
    let got = crate::harness::taken(coming).await.unwrap();
    assert_eq!((got.status, got.text().as_str()), (200, "hi"));
}

/// RFC 9110 §15.2: no 1xx goes to a client of HTTP/1.0.
#[tokio::test]
async fn a_client_of_http_1_0_gets_no_hints() {
    let (backend, seen) = hinting(HINTS).await;
    seen.add_permits(1);
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.send("GET / HTTP/1.0\r\nhost: a.test\r\n\r\n").await;
    let got = client.answer().await;
    assert_eq!((got.status, got.interim.len()), (200, 0));
}

/// A 100 that nobody asked for was taken for the answer by other proxies.
#[tokio::test]
async fn a_100_that_nobody_asked_for_goes_no_further() {
    let (backend, seen) = hinting("HTTP/1.1 100 Continue\r\n\r\n").await;
    seen.add_permits(2);
    let proxy = Proxy::before(backend.at());
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!((got.status, got.interim.len()), (200, 0));
    let got = proxy.h2("a.test").await.get("a.test", "/").await;
    assert_eq!(got.status, 200);
}

/// Hints that a client does not take are dropped: an endpoint that sends them
/// without end fills no memory.
#[tokio::test]
async fn hints_without_end_are_dropped() {
    const HINTS_SENT: usize = 20_000;
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.request().await.unwrap();
        let many = HINTS.repeat(1000);
        for _ in 0..HINTS_SENT / 1000 {
            conn.send(&many).await;
        }
        conn.send(ok(b"hi")).await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.wire().take_little();
    client.send(get("a.test", "/")).await;
    backend.wait_for(|seen| seen.over == 1).await;
    let got = client.answer().await;
    assert_eq!((got.status, got.text().as_str()), (200, "hi"));
    assert!(got.interim.len() < HINTS_SENT);
}

#[tokio::test]
async fn a_body_over_h2_waits_for_the_endpoints_100() {
    let backend = Backend::continuing().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/"),
        ("expect", "100-continue"),
        ("content-length", "5"),
    ];
    frames.headers(1, &fields, 0).await;
    let interim = frames.next_of(1).await;
    assert!(interim.is_head() && !interim.ends_stream());
    frames.send(Kind::Data, END_STREAM, 1, b"hello").await;
    assert!(frames.next_of(1).await.is_head());
    assert_eq!(frames.next_of(1).await.payload, b"hello");
}
