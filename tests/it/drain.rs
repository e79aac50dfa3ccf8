//! Stopping: what runs is finished, what is idle is closed, nothing new begins.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use hostmux::server::Drain;
use http::Request;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Answer, Backend, Client, Conn, Heard, Kind, Proxy, answer, get, ok, taken};

const FIELDS: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/"),
];

/// An endpoint that answers when it is let to.
async fn gated() -> (Backend, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let backend = Backend::script(move |mut conn: Conn| {
        let gate = open.clone();
        async move {
            while conn.request().await.is_some() {
                gate.acquire().await.unwrap().forget();
                conn.send(ok(b"finished")).await;
            }
        }
    })
    .await;
    (backend, gate)
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let backend = Backend::echo().await;
    let mut proxy = Proxy::before(backend.at());
    let (mut fresh, mut used, mut tls) = (
        proxy.plain().await,
        proxy.plain().await,
        proxy.tls("a.test").await,
    );
    used.get("a.test", "/").await;
    tls.get("a.test", "/").await;
    let mut h2 = proxy.h2("a.test").await;
    h2.get("a.test", "/").await;
    let mut frames = proxy.frames("a.test").await;
    frames.ask(1, &FIELDS, None).await;
    assert_eq!(frames.heard(1).await, Heard::Status(200));

    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain());
    h2.closed().await.unwrap();
    while let Some(frame) = frames.next().await {
        if frame.kind == Kind::GoAway as u8 {
            assert_eq!(frame.payload[4..8], [0; 4]);
        }
    }
    assert!(fresh.is_closed().await && used.is_closed().await && tls.is_closed().await);
    assert_eq!(draining.join_next().await.unwrap().unwrap(), 0);
}

/// A request that was on its way met a closed connection, and one that may not
/// be sent twice had failed.
#[tokio::test]
async fn a_request_that_was_on_its_way_is_served_and_the_last() {
    let backend = Backend::echo().await;
    let mut proxy = Proxy::before(backend.at());
    let (fresh, mut used) = (proxy.plain().await, proxy.plain().await);
    let (fresh_tls, mut used_tls) = (proxy.tls("a.test").await, proxy.tls("a.test").await);
    for client in [&mut used, &mut used_tls] {
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain());
    proxy.refuses_connections().await;
    let post = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi";
    let mut clients = [fresh, used, fresh_tls, used_tls];
    for client in &mut clients {
        client.send(post).await;
    }
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.whole), (200, true));
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
        assert!(client.is_closed().await);
    }
    assert_eq!(draining.join_next().await.unwrap().unwrap(), 0);
}

/// RFC 9113 §6.8: what a client sends before it has heard that no more is taken.
#[tokio::test]
async fn a_stream_that_was_on_its_way_is_served() {
    let backend = Backend::echo().await;
    let mut proxy = Proxy::before(backend.at());
    let (mut fresh, mut used) = (proxy.frames("a.test").await, proxy.frames("a.test").await);
    used.ask(1, &FIELDS, None).await;
    assert_eq!(used.heard(1).await, Heard::Status(200));
    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain());
    proxy.refuses_connections().await;
    // Neither has read what came meanwhile, or answered it.
    for frames in [&mut fresh, &mut used] {
        frames.ask(3, &FIELDS, None).await;
    }
    for mut frames in [fresh, used] {
        assert_eq!(frames.heard(3).await, Heard::Status(200));
    }
    assert_eq!(draining.join_next().await.unwrap().unwrap(), 0);
}

/// What the kernel had accepted for us was reset with the socket.
#[tokio::test]
async fn who_came_before_the_end_of_accepting_is_served() {
    const CLIENTS: usize = 300;
    let backend = Backend::echo().await;
    let mut proxy = Proxy::before(backend.at());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        // Without a pause, so that many wait in the line.
        let mut stream = std::net::TcpStream::connect(proxy.http).unwrap();
        stream.write_all(get("a.test", "/").as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        clients.push(stream);
    }
    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain());
    for stream in clients {
        let mut client = Client::of(tokio::net::TcpStream::from_std(stream).unwrap());
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.whole), (200, true));
    }
    assert_eq!(draining.join_next().await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn requests_under_way_are_finished_and_their_connections_told() {
    let (backend, gate) = gated().await;
    let mut proxy = Proxy::before(backend.at());
    let (mut plain, mut tls) = (proxy.plain().await, proxy.tls("a.test").await);
    plain.send(get("a.test", "/")).await;
    tls.send(get("a.test", "/")).await;
    let mut h2 = proxy.h2("a.test").await;
    let request = Request::get("https://a.test/").body(()).unwrap();
    let coming = h2.requests.send_request(request, true).unwrap().0;
    backend.wait_for(|seen| seen.requests.len() == 3).await;

    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain());
    proxy.refuses_connections().await;
    gate.add_permits(3);
    for client in [&mut plain, &mut tls] {
        let answer = client.answer().await;
        assert_eq!((answer.text().as_str(), answer.whole), ("finished", true));
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
        assert!(client.is_closed().await);
    }
    let answer = taken(coming).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.whole), ("finished", true));
    h2.closed().await.unwrap();
    assert_eq!(draining.join_next().await.unwrap().unwrap(), 0);
}

/// A stream above the last that GOAWAY names was not served: it is safe to send again.
#[tokio::test]
async fn a_connection_of_h2_takes_no_new_stream() {
    let (backend, gate) = gated().await;
    let mut proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.ask(1, &FIELDS, None).await;
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain());
    // RFC 9113 §6.8: first that the end is near, then what is served yet.
    for last in [[127, 255, 255, 255], [0, 0, 0, 1]] {
        let farewell = frames.next().await.unwrap();
        assert_eq!(farewell.kind, Kind::GoAway as u8);
        assert_eq!(farewell.payload[..8], [last, [0; 4]].concat());
    }
    frames.ask(3, &FIELDS, None).await;
    gate.add_permits(2);
    assert_eq!(frames.heard(1).await, Heard::Status(200));
    assert_eq!(frames.heard(3).await, Heard::Closed);
    assert_eq!(draining.join_next().await.unwrap().unwrap(), 0);
    assert_eq!(backend.requests().len(), 1);
}

/// A browser on a laptop that sleeps answers no PING, and held every stop for
/// the whole of the drain.
#[tokio::test]
async fn an_idle_client_of_h2_that_says_nothing_does_not_hold_the_drain() {
    let backend = Backend::echo().await;
    let mut proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    frames.ask(1, &FIELDS, None).await;
    assert_eq!(frames.heard(1).await, Heard::Status(200));
    assert_eq!(proxy.drain().await, 0);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_and_counted() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await;
        conn.closed().await;
    })
    .await;
    let mut proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    let mut answer = client.head().await.unwrap();
    assert_eq!(
        proxy.drain_as(Drain::Stop, Duration::from_millis(50)).await,
        1
    );
    client.body(&mut answer).await;
    assert_eq!((answer.whole, answer.text().as_str()), (false, "hello"));
    backend.wait_for(|seen| seen.over == 1).await;
}

/// An answer that has no end, and no length.
async fn pouring(kind: &'static str) -> Backend {
    Backend::script(move |mut conn: Conn| async move {
        conn.request().await;
        let head = format!("200 OK\ncontent-type: {kind}\ntransfer-encoding: chunked");
        conn.send(answer(&head, "5\r\nhello\r\n")).await;
        conn.closed().await;
    })
    .await
}

/// It held every stop for the whole of the drain.
#[tokio::test]
async fn a_stream_of_events_is_ended_at_a_stop() {
    let backend = pouring("text/event-stream").await;
    let mut proxy = Proxy::before(backend.at());
    let (mut plain, mut tls) = (proxy.plain().await, proxy.tls("a.test").await);
    let mut answers = Vec::new();
    for client in [&mut plain, &mut tls] {
        client.send(get("a.test", "/")).await;
        answers.push(client.head().await.unwrap());
    }
    let mut frames = proxy.frames("a.test").await;
    frames.ask(1, &FIELDS, None).await;
    assert_eq!(frames.heard(1).await, Heard::Status(200));
    assert_eq!(proxy.drain().await, 0);
    for (client, mut answer) in [plain, tls].into_iter().zip(answers) {
        client_body(client, &mut answer).await;
        assert_eq!((answer.text().as_str(), answer.whole), ("hello", true));
    }
    assert_eq!(frames.next_of(1).await.payload, b"hello");
    assert!(frames.next_of(1).await.ends_stream());
    backend.wait_for(|seen| seen.over == 3).await;
    for line in proxy.logged(3).await {
        assert_eq!((&line["status"], line.get("reason")), (&200.into(), None));
    }
}

async fn client_body(mut client: Client, answer: &mut Answer) {
    client.body(answer).await;
    assert!(client.is_closed().await);
}

/// One that answers a POST has an end of its own.
#[tokio::test]
async fn what_ends_by_itself_is_waited_for_in_whatever_form() {
    let (backend, gate) = gated().await;
    let events = pouring("text/event-stream").await;
    let mut proxy = Proxy::with(&format!(
        "routes:\n  /: {}\n  /events: {}",
        backend.at(),
        events.at()
    ));
    let (mut client, mut listener) = (proxy.plain().await, proxy.plain().await);
    client.send(get("a.test", "/")).await;
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    listener.send(get("a.test", "/events")).await;
    let mut heard = listener.head().await.unwrap();
    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain());
    proxy.refuses_connections().await;
    gate.add_permits(1);
    assert_eq!(client.answer().await.text(), "finished");
    listener.body(&mut heard).await;
    assert!(heard.whole);
    assert_eq!(draining.join_next().await.unwrap().unwrap(), 0);

    let mut proxy = Proxy::before(events.at());
    let mut client = proxy.plain().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n")
        .await;
    let mut heard = client.head().await.unwrap();
    let cut = proxy.drain_as(Drain::Stop, Duration::from_millis(50)).await;
    client.body(&mut heard).await;
    assert_eq!((cut, heard.whole), (1, false));
}
