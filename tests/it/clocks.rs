//! The long waits, by the real clock: all at once, so that they take their
//! 75 seconds once.

use std::time::{Duration, Instant};

use hostmux::rt::clock::TICK;

use crate::harness::{Backend, Conn, END_STREAM, Heard, Kind, Proxy, get};

const FIELDS: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/"),
];
const PING: u8 = 6;
const CANCEL: u32 = 8;

#[tokio::test]
async fn whoever_is_waited_for_too_long_is_let_go() {
    tokio::join!(
        a_body_that_pauses_is_408(),
        a_body_over_h2_that_pauses_is_408(),
        a_client_that_takes_nothing_is_cut(),
        a_stream_that_takes_nothing_is_reset_beside_one_that_waits(),
        a_silent_client_of_h2_is_asked_and_then_let_go(),
        an_idle_connection_is_closed(),
    );
}

/// It took no less than this, but for a tick: waits begin at the time of the
/// last one.
fn took(since: Instant, seconds: u64) {
    let took = since.elapsed();
    assert!(took + TICK >= Duration::from_secs(seconds), "{took:?}");
}

async fn a_body_that_pauses_is_408() {
    let backend = Backend::stalling().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    let since = Instant::now();
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 9\r\n\r\nhello")
        .await;
    let got = client.answer().await;
    took(since, 60);
    assert_eq!((got.status, got.whole), (408, true));
    assert!(client.is_closed().await);
    let line = &proxy.logged(1).await[0];
    assert_eq!(line["reason"], "connection_read_timeout");
}

async fn a_body_over_h2_that_pauses_is_408() {
    let backend = Backend::stalling().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let since = Instant::now();
    frames.headers(1, &FIELDS, 0).await;
    frames.send(Kind::Data, 0, 1, b"hello").await;
    assert_eq!(frames.heard(1).await, Heard::Status(408));
    took(since, 60);
}

/// An answer without end, or none for `/waits`.
async fn pouring() -> Backend {
    Backend::script(|mut conn: Conn| async move {
        if conn.request().await.unwrap().target() == "/waits" {
            return conn.closed().await;
        }
        conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
        let bytes = vec![0; 1024 * 1024];
        while conn.wire().try_send(&bytes).await.is_ok() {}
    })
    .await
}

async fn a_client_that_takes_nothing_is_cut() {
    let backend = pouring().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.wire().take_little();
    let since = Instant::now();
    client.send(get("a.test", "/")).await;
    backend.wait_for(|seen| seen.over == 1).await;
    took(since, 60);
}

/// Its neighbour, which waits for the endpoint, kept it alive.
async fn a_stream_that_takes_nothing_is_reset_beside_one_that_waits() {
    let backend = pouring().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    frames.send(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    frames.headers(1, &FIELDS, END_STREAM).await;
    let mut waits = FIELDS;
    waits[3].1 = "/waits";
    frames.headers(3, &waits, END_STREAM).await;
    let since = Instant::now();
    assert_eq!(frames.heard(1).await, Heard::Status(200));
    assert_eq!(frames.heard(1).await, Heard::Reset(CANCEL));
    took(since, 60);
    backend.wait_for(|seen| seen.over == 1).await;
}

/// RFC 9113 §6.7: asked after 20 s, let go after 20 more.
async fn a_silent_client_of_h2_is_asked_and_then_let_go() {
    let backend = Backend::stalling().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let since = Instant::now();
    frames.headers(1, &FIELDS, END_STREAM).await;
    loop {
        let frame = frames.receive().await.expect("a PING comes");
        if frame.kind == PING {
            break;
        }
    }
    took(since, 20);
    while frames.receive().await.is_some() {}
    took(since, 40);
    assert_eq!(proxy.logged(1).await[0]["status"], 499);
}

async fn an_idle_connection_is_closed() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    let since = Instant::now();
    assert!(client.is_closed().await);
    took(since, 75);
}
