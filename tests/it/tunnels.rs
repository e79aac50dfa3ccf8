//! How a WebSocket ends that neither side has ended: with 1001, "going away",
//! for both of them, at the end of a drain.

use std::time::Duration;

use hostmux::server::Drain;
use tokio::task::JoinSet;

use crate::harness::{Backend, Chat, Conn, GOING_AWAY, Proxy, ok, said, told};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
/// Over at once.
const SHORT: Duration = Duration::from_millis(20);

fn draining(proxy: &mut Proxy, why: Drain, timeout: Duration) -> JoinSet<usize> {
    let mut draining = JoinSet::new();
    draining.spawn(proxy.drain_as(why, timeout));
    draining
}

async fn left(mut draining: JoinSet<usize>) -> usize {
    draining.join_next().await.unwrap().unwrap()
}

/// A stop waited 30 s for it, and cut it.
#[tokio::test]
async fn at_a_stop_it_is_told_to_come_back() {
    let backend = Backend::websocket().await;
    let mut proxy = Proxy::before(backend.at());
    let mut chats = Chat::of_each(&proxy, "a.test", "/").await;
    for chat in &mut chats {
        chat.works("hello").await;
    }
    let draining = draining(&mut proxy, Drain::Stop, LONG);
    for chat in chats {
        chat.leaves().await;
    }
    assert_eq!(left(draining).await, 0);
    backend.wait_for(|seen| seen.over == 3).await;
    for line in proxy.logged(3).await {
        let told = (&line["bytes_in"], &line["bytes_out"], line.get("reason"));
        assert_eq!(told, (&11.into(), &7.into(), None));
    }
}

/// Nobody else could serve it meanwhile.
#[tokio::test]
async fn at_a_stop_it_lives_until_all_else_has_ended() {
    let chats = Backend::websocket().await;
    let slow = Backend::script(|mut conn: Conn| async move {
        let mut request = conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
            .await;
        // The rest of its answer behind the rest of the request.
        conn.body(&mut request).await;
        conn.send("hello").await;
    })
    .await;
    let mut proxy = Proxy::with(&format!(
        "routes:\n  /: {}\n  /slow: {}",
        chats.at(),
        slow.at()
    ));
    let mut open = Chat::of_each(&proxy, "a.test", "/").await;
    let mut download = proxy.plain().await;
    download
        .send("POST /slow HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\n\r\n")
        .await;
    let mut answer = download.head().await.unwrap();
    let draining = draining(&mut proxy, Drain::Stop, LONG);
    proxy.refuses_connections().await;
    for chat in &mut open {
        chat.works("still here").await;
    }
    download.send("x").await;
    download.body(&mut answer).await;
    assert!(answer.whole);
    for chat in open {
        chat.leaves().await;
    }
    assert_eq!(left(draining).await, 0);
}

#[tokio::test]
async fn at_an_upgrade_it_lives_until_the_end_of_the_drain() {
    let backend = Backend::websocket().await;
    let mut proxy = Proxy::before(backend.at());
    let mut chats = Chat::of_each(&proxy, "a.test", "/").await;
    let draining = draining(&mut proxy, Drain::Upgrade, LONG);
    proxy.refuses_connections().await;
    for chat in &mut chats {
        chat.works("still here").await;
    }
    // Once they end by themselves, so does the drain.
    drop(chats);
    assert_eq!(left(draining).await, 0);

    let mut proxy = Proxy::before(backend.at());
    let chats = Chat::of_each(&proxy, "a.test", "/").await;
    let draining = self::draining(&mut proxy, Drain::Upgrade, SHORT);
    for chat in chats {
        chat.leaves().await;
    }
    assert_eq!(left(draining).await, 0);
    backend.wait_for(|seen| seen.over == 3).await;
}

/// A Close frame in the middle of another would be a part of it.
#[tokio::test]
async fn a_frame_under_way_is_finished_first() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.switch().await;
        conn.send(&told("hello")[..3]).await;
        // The client's own frame is finished, too, before the proxy's.
        assert_eq!(conn.heard().await.as_deref(), Some("go on"));
        conn.send(&told("hello")[3..]).await;
        assert_eq!(conn.heard().await, None);
        conn.send(GOING_AWAY).await;
        conn.closed().await;
    })
    .await;
    let mut proxy = Proxy::before(backend.at());
    let mut chats = Chat::of_each(&proxy, "a.test", "/").await;
    for chat in &mut chats {
        assert_eq!(chat.exactly(3).await, told("hello")[..3]);
        chat.send(&said("go on")[..7]).await;
    }
    let draining = draining(&mut proxy, Drain::Stop, LONG);
    proxy.refuses_connections().await;
    for chat in &mut chats {
        chat.send(&said("go on")[7..]).await;
    }
    for mut chat in chats {
        assert_eq!(chat.exactly(4).await, told("hello")[3..]);
        chat.leaves().await;
    }
    assert_eq!(left(draining).await, 0);
    backend.wait_for(|seen| seen.over == 3).await;
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_cut_without_a_close_frame() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.switch().await;
        conn.send(&told("hello")[..3]).await;
        assert_eq!(conn.heard().await, None);
        conn.closed().await;
    })
    .await;
    let mut proxy = Proxy::before(backend.at());
    let mut chats = Chat::of_each(&proxy, "a.test", "/").await;
    for chat in &mut chats {
        assert_eq!(chat.exactly(3).await, told("hello")[..3]);
    }
    assert_eq!(proxy.drain_as(Drain::Stop, LONG).await, 0);
    for chat in chats {
        chat.ends().await;
    }
    backend.wait_for(|seen| seen.over == 3).await;
}

/// Who answers nothing is waited for no longer than for a goodbye.
#[tokio::test]
async fn who_does_not_answer_does_not_hold_the_drain() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.switch().await;
        conn.closed().await;
    })
    .await;
    let mut proxy = Proxy::before(backend.at());
    let chats = Chat::of_each(&proxy, "a.test", "/").await;
    assert_eq!(proxy.drain_as(Drain::Stop, LONG).await, 0);
    for mut chat in chats {
        assert_eq!(chat.exactly(4).await, GOING_AWAY);
        chat.ends().await;
    }
    backend.wait_for(|seen| seen.over == 3).await;
}

/// RFC 6455 §5.5.1: behind a Close frame comes no other.
#[tokio::test]
async fn a_side_that_has_closed_is_not_told_again() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.switch().await;
        conn.send([0x88, 0x02, 0x03, 0xe8]).await;
        assert_eq!(conn.heard().await, None);
        conn.closed().await;
    })
    .await;
    let mut proxy = Proxy::before(backend.at());
    let mut chats = Chat::of_each(&proxy, "a.test", "/").await;
    for chat in &mut chats {
        assert_eq!(chat.exactly(4).await, [0x88, 0x02, 0x03, 0xe8]);
    }
    let draining = draining(&mut proxy, Drain::Stop, LONG);
    for chat in chats {
        chat.ends().await;
    }
    assert_eq!(left(draining).await, 0);
    backend.wait_for(|seen| seen.over == 3).await;
}

/// An ordinary answer beside it, on the same connection, is whole.
#[tokio::test]
async fn other_streams_of_its_connection_are_finished() {
    let chats = Backend::websocket().await;
    let other = Backend::answering(ok(b"whole")).await;
    let mut proxy = Proxy::with(&format!(
        "routes:\n  /: {}\n  /other: {}",
        chats.at(),
        other.at()
    ));
    let mut chat = Chat::h2(&proxy, "a.test", "/").await;
    chat.works("hello").await;
    let draining = draining(&mut proxy, Drain::Stop, LONG);
    let Chat::H2(frames, _) = &mut chat else {
        unreachable!("it is over HTTP/2");
    };
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/other"),
    ];
    // On its way before the client has heard that no more is taken.
    frames.ask(3, &fields, None).await;
    assert_eq!(frames.next_of(3).await.status(), 200);
    assert_eq!(frames.next_of(3).await.payload, b"whole");
    chat.leaves().await;
    assert_eq!(left(draining).await, 0);
}
