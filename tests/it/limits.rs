//! Bounds that a hostile or a slow client meets.

use crate::harness::{Backend, Conn, END_STREAM, Heard, Kind, Proxy, frame, get, headers};

const FIELDS: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/"),
];
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn the_bounds_of_h2_are_announced() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let settings = frames.receive().await.unwrap();
    assert_eq!(settings.kind, Kind::Settings as u8);
    let said = |id: u16| {
        let mut settings = settings.payload.chunks(6);
        let found = settings.find(|setting| setting[..2] == id.to_be_bytes())?;
        Some(u32::from_be_bytes(found[2..6].try_into().unwrap()))
    };
    // RFC 9113 §6.5.2: streams, window, frame, header list; RFC 8441 §3: extended CONNECT.
    assert_eq!(
        [3, 4, 5, 6].map(said),
        [
            Some(250),
            Some(256 * 1024),
            Some(16 * 1024),
            Some(32 * 1024)
        ]
    );
    assert_eq!(said(8), Some(1));
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_one_by_one() {
    let backend = Backend::stalling().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let bytes: Vec<u8> = (0..251)
        .flat_map(|n| headers(2 * n + 1, &FIELDS, 1))
        .collect();
    frames.send_bytes(&bytes).await;
    const REFUSED_STREAM: u32 = 7;
    assert_eq!(frames.heard(501).await, Heard::Reset(REFUSED_STREAM));
    backend.wait_for(|seen| seen.requests.len() == 250).await;
}

/// CVE-2023-44487: requests that are reset at once cost the client nothing.
#[tokio::test]
async fn a_flood_of_requests_that_are_reset_ends_the_connection() {
    let backend = Backend::stalling().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let cancel = 8u32.to_be_bytes();
    let flood: Vec<u8> = (0..2000)
        .flat_map(|n| {
            [
                headers(2 * n + 1, &FIELDS, 1),
                frame(Kind::Reset, 0, 2 * n + 1, &cancel),
            ]
            .concat()
        })
        .collect();
    frames.send_bytes(&flood).await;
    assert_eq!(frames.heard(1).await, Heard::GoAway(ENHANCE_YOUR_CALM));
    assert_eq!(frames.heard(1).await, Heard::Closed);
}

/// CVE-2024-27316: a header that never ends.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.send(Kind::Headers, 1, 1, &[]).await;
    let piece = vec![0; 1000];
    let flood: Vec<u8> = (0..2000)
        .flat_map(|_| frame(Kind::Continuation, 0, 1, &piece))
        .collect();
    frames.send_bytes(&flood).await;
    assert!(matches!(frames.heard(1).await, Heard::GoAway(_)));
    assert_eq!(
        (frames.heard(1).await, backend.connections()),
        (Heard::Closed, 0)
    );
}

#[tokio::test]
async fn what_is_not_h2_ends_the_connection() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let (no_data, no_window) = (
        frame(Kind::Data, 1, 1, b"x"),
        frame(Kind::WindowUpdate, 0, 0, &[0; 4]),
    );
    let even = headers(2, &FIELDS, 1);
    let table = frame(Kind::Headers, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0x7f]);
    for bytes in [
        no_data,
        no_window,
        even,
        table,
        get("a.test", "/").into_bytes(),
    ] {
        let mut frames = proxy.frames("a.test").await;
        frames.send_bytes(&bytes).await;
        let heard = frames.heard(1).await;
        assert!(
            matches!(heard, Heard::GoAway(1..) | Heard::Closed),
            "{heard:?} for {bytes:?}"
        );
    }
    assert_eq!(backend.connections(), 0);
}

/// A client that reads slowly gets all, in both protocols.
#[tokio::test]
async fn a_slow_reader_gets_all() {
    const BYTES: usize = 8 << 20;
    let body: Vec<u8> = (0..BYTES).map(|n| (n / 255) as u8).collect();
    let chunked = {
        let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(100_000) {
            out.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        [out, b"0\r\n\r\n".to_vec()].concat()
    };
    for answer in [crate::harness::ok(&body), chunked] {
        let backend = Backend::answering(answer).await;
        let proxy = Proxy::before(backend.at());
        for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
            // So that everything on the way is full all the time.
            client.wire().take_little();
            let got = client.get("a.test", "/").await;
            assert!(got.whole && got.body == body);
        }
        let mut h2 = proxy.h2("a.test").await;
        let got = h2.get("a.test", "/").await;
        assert!(got.whole && got.body == body);
    }
}

/// What a client sends and the endpoint does not read is not collected here.
#[tokio::test]
async fn an_endpoint_that_does_not_read_holds_its_client_back() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000000000\r\n\r\n")
        .await;
    const MORE_THAN_SOCKETS_HOLD: usize = 64 << 20;
    let sent = client.wire().send_until_stuck(MORE_THAN_SOCKETS_HOLD).await;
    assert!(sent < MORE_THAN_SOCKETS_HOLD, "{sent} bytes were taken");
}

/// The endpoint was told of a whole, empty request, whose stream was then
/// reset for the bytes it had not announced.
#[tokio::test]
async fn a_length_of_none_with_a_body_over_h2_reaches_no_endpoint() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let fields = [FIELDS.as_slice(), &[("content-length", "0")]].concat();
    frames.headers(1, &fields, 0).await;
    frames.send(Kind::Data, END_STREAM, 1, b"hello").await;
    assert_eq!(frames.heard(1).await, Heard::Reset(1));
    frames.headers(3, &fields, 0).await;
    frames.send(Kind::Data, END_STREAM, 3, b"").await;
    assert_eq!(frames.heard(3).await, Heard::Status(200));
    assert_eq!(backend.requests().len(), 1);
}

/// curl takes a reset behind a whole answer for a failure.
#[tokio::test]
async fn an_early_answer_over_h2_is_not_followed_by_a_reset_while_the_body_comes() {
    let backend = Backend::echo().await;
    let proxy = Proxy::with(&format!("upstream: {}\nmax_body: 4B", backend.at()));
    let mut frames = proxy.frames("a.test").await;
    frames.headers(1, &FIELDS, 0).await;
    frames.send(Kind::Data, 0, 1, b"hello").await;
    assert_eq!(frames.heard(1).await, Heard::Status(413));
    while !frames.next_of(1).await.ends_stream() {}
    frames.send(Kind::Data, END_STREAM, 1, b"world").await;
    frames.headers(3, &FIELDS, END_STREAM).await;
    // Nothing was said of the first stream meanwhile.
    assert_eq!(frames.next().await.unwrap().stream, 3);
}
