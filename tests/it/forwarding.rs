//! Requests and answers pass, whole and as they come, in both protocols.

use std::sync::Arc;

use http::{HeaderMap, Request};
use tokio::sync::Semaphore;

use crate::harness::{Answer, Backend, Conn, Proxy, answer, get, ok, taken, within};

/// Bytes in which a piece that is lost or doubled would be seen.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n / 251 + n) as u8).collect()
}

const SIZES: [usize; 6] = [0, 1, 16 * 1024, 64 * 1024 + 1, 1 << 20, (3 << 20) + 7];

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(50_000) {
        out.extend(format!("{:X};x=y\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

fn put(host: &str, length: usize) -> String {
    format!("PUT /p HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn bodies_go_up_whole() {
    let backend = Backend::answering(ok(b"done")).await;
    let proxy = Proxy::before(backend.at());
    let mut h2 = proxy.h2("a.test").await;
    for size in SIZES {
        let body = bytes(size);
        for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
            assert_eq!(
                client
                    .ask([put("a.test", size).as_bytes(), &body].concat())
                    .await
                    .text(),
                "done"
            );
            let seen = backend.last();
            assert_eq!(
                (seen.field("content-length").unwrap(), seen.body == body),
                (size.to_string(), true)
            );

            let head = b"PUT /p HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
            assert_eq!(
                client
                    .ask([head, &chunked(&body)[..]].concat())
                    .await
                    .text(),
                "done"
            );
            let seen = backend.last();
            assert!(seen.body == body, "{size} in chunks");
            assert_eq!(seen.field("transfer-encoding").as_deref(), Some("chunked"));
        }
        let request = Request::put("https://a.test/p").body(body.clone()).unwrap();
        assert_eq!(h2.ask(request, None).await.unwrap().text(), "done");
        assert!(backend.last().body == body, "{size} over h2");
        let request = Request::put("https://a.test/p")
            .header("content-length", size)
            .body(body.clone());
        assert_eq!(h2.ask(request.unwrap(), None).await.unwrap().text(), "done");
        assert_eq!(
            backend.last().field("content-length").unwrap(),
            size.to_string()
        );
    }
}

#[tokio::test]
async fn bodies_come_down_whole() {
    for size in SIZES {
        let body = bytes(size);
        let until_close = [b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat();
        let in_chunks = [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            &chunked(&body)[..],
        ]
        .concat();
        for answer in [ok(&body), in_chunks, until_close] {
            let backend = Backend::answering_once(answer).await;
            let proxy = Proxy::before(backend.at());
            let h1 = [
                proxy.plain().await.get("a.test", "/").await,
                proxy.get("a.test", "/").await,
            ];
            for got in h1
                .into_iter()
                .chain([proxy.h2("a.test").await.get("a.test", "/").await])
            {
                assert!(
                    got.whole && got.body == body,
                    "{size}: {} of it, whole: {}",
                    got.body.len(),
                    got.whole
                );
            }
        }
    }
}

#[tokio::test]
async fn many_streams_share_an_h2_connection() {
    let body = bytes(300_000);
    let backend = Backend::answering(ok(&body)).await;
    let proxy = Proxy::before(backend.at());
    let h2 = proxy.h2("a.test").await;
    let answers: Vec<_> = (0..40).map(|n| (n, h2.requests.clone())).collect();
    for (n, mut requests) in answers {
        let request = Request::get(format!("https://a.test/{n}"))
            .body(())
            .unwrap();
        let got = taken(requests.send_request(request, true).unwrap().0)
            .await
            .unwrap();
        assert!(got.whole && got.body == body);
    }
    assert_eq!(backend.requests().len(), 40);
}

#[tokio::test]
async fn trailers_go_up() {
    let backend = Backend::answering(ok(b"done")).await;
    let proxy = Proxy::before(backend.at());
    let request = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                   2\r\nhi\r\n0\r\nx-sum: 9\r\ncontent-length: 7\r\nauthorization: me\r\nx_y: z\r\n\r\n";
    assert_eq!(proxy.plain().await.ask(request).await.text(), "done");
    let sum = vec![("x-sum".to_owned(), "9".to_owned())];
    assert_eq!(
        backend.last().trailers,
        sum,
        "and none that carries framing or rights"
    );

    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "9".parse().unwrap());
    trailers.insert("host", "b.test".parse().unwrap());
    let request = Request::post("https://a.test/")
        .body(b"hi".to_vec())
        .unwrap();
    proxy
        .h2("a.test")
        .await
        .ask(request, Some(trailers))
        .await
        .unwrap();
    assert_eq!(backend.last().trailers, sum);
}

#[tokio::test]
async fn trailers_come_down() {
    let with_trailers = answer(
        "200 OK\ntransfer-encoding: chunked\ntrailer: x-sum",
        "2\r\nhi\r\n0\r\nx-sum: 9\r\n\r\n",
    );
    let backend = Backend::answering(with_trailers).await;
    let proxy = Proxy::before(backend.at());
    let sum = vec![("x-sum".to_owned(), "9".to_owned())];
    let got = proxy.h2("a.test").await.get("a.test", "/").await;
    assert_eq!((got.text().as_str(), got.trailers), ("hi", sum.clone()));
    // RFC 9110 §6.5.1: a client of HTTP/1.1 says that it wants them.
    let wanting = "GET / HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\nconnection: te\r\n\r\n";
    let got = proxy.plain().await.ask(wanting).await;
    assert_eq!((got.text().as_str(), got.trailers), ("hi", sum));
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!((got.text().as_str(), got.whole), ("hi", true));
}

/// Clients of gRPC refuse an empty DATA frame behind an answer that is trailers alone.
#[tokio::test]
async fn an_answer_without_a_body_ends_with_its_head() {
    let backend = Backend::answering(answer(
        "200 OK\ncontent-type: application/grpc\ngrpc-status: 5\ncontent-length: 0",
        "",
    ))
    .await;
    let proxy = Proxy::before(backend.at());
    let mut frames = proxy.frames("a.test").await;
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/"),
    ];
    frames.ask(1, &fields, Some(b"x")).await;
    let head = frames.next_of(1).await;
    assert!(head.is_head() && head.ends_stream(), "{head:?}");
}

#[tokio::test]
async fn some_answers_have_no_body_whatever_they_say() {
    for (method, head) in [
        ("HEAD", "200 OK\ncontent-length: 5\netag: x"),
        ("HEAD", "200 OK\ntransfer-encoding: chunked"),
        ("HEAD", "404 Not Found\ncontent-length: 5"),
        ("GET", "204 No Content"),
        ("GET", "304 Not Modified\netag: x\ncontent-length: 5"),
    ] {
        let backend = Backend::answering(answer(head, "")).await;
        let proxy = Proxy::before(backend.at());
        let status: u16 = head[..3].parse().unwrap();
        let request = format!("{method} / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
            for _ in 0..2 {
                let got = client.ask(&request).await;
                assert_eq!(got.status, status, "{method} {head}");
                let length = (method == "HEAD" && head.contains("length")).then(|| "5".to_owned());
                if method == "HEAD" {
                    assert_eq!(got.field("content-length"), length, "{head}");
                }
            }
        }
        let request = Request::builder()
            .method(method)
            .uri("https://a.test/")
            .body(Vec::new())
            .unwrap();
        let got = proxy.h2("a.test").await.ask(request, None).await.unwrap();
        assert_eq!(
            (got.status, got.body.len(), got.whole),
            (status, 0, true),
            "{method} {head} over h2"
        );
        assert_eq!(backend.requests().len(), 5);
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_what_it_can_read() {
    let in_chunks = answer("200 OK\ntransfer-encoding: chunked", "2\r\nhi\r\n0\r\n\r\n");
    for (endpoint, text) in [(ok(b"hi"), "hi"), (in_chunks, "hi")] {
        let backend = Backend::answering(endpoint).await;
        let proxy = Proxy::before(backend.at());
        let mut client = proxy.plain().await;
        let got = client.ask("GET / HTTP/1.0\r\nhost: a.test\r\n\r\n").await;
        assert_eq!((got.status, got.text().as_str()), (200, text));
        assert_eq!(got.field("transfer-encoding"), None);
        assert!(client.is_closed().await);
        assert!(backend.last().first_line().ends_with("HTTP/1.1"));
        assert!(backend.last().field("via").unwrap().starts_with("1.0 "));
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_may_keep_its_connection() {
    let backend = Backend::answering(ok(b"hi")).await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for _ in 0..3 {
        let got = client
            .ask("GET / HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(
            (got.text().as_str(), got.field("connection").as_deref()),
            ("hi", Some("keep-alive"))
        );
    }
}

#[tokio::test]
async fn an_endpoint_of_http_1_0_is_read_to_its_end() {
    let backend = Backend::answering_once("HTTP/1.0 200 OK\r\nserver: old/1\r\n\r\nhello").await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for _ in 0..2 {
        let got = client.get("a.test", "/").await;
        assert_eq!((got.text().as_str(), got.whole), ("hello", true));
        assert_eq!(
            got.field("server").unwrap(),
            "old/1",
            "`Server` is the endpoint's"
        );
    }
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn connections_to_endpoints_are_kept() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for n in 0..10 {
        assert_eq!(client.get("a.test", &format!("/{n}")).await.status, 200);
    }
    assert_eq!((backend.connections(), backend.requests().len()), (1, 10));
}

#[tokio::test]
async fn a_connection_is_not_kept_where_the_endpoint_says_so() {
    let backend =
        Backend::answering(answer("200 OK\nconnection: close\ncontent-length: 2", "hi")).await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for _ in 0..3 {
        let got = client.get("a.test", "/").await;
        assert_eq!((got.text().as_str(), got.field("connection")), ("hi", None));
    }
    assert_eq!(backend.connections(), 3);
}

#[tokio::test]
async fn a_connection_is_let_go_before_the_endpoint_closes_it() {
    for (keep_alive, connections) in [("timeout=1", 3), ("timeout=5, max=100", 1), ("max=100", 1)] {
        let head = format!("200 OK\nkeep-alive: {keep_alive}\ncontent-length: 2");
        let backend = Backend::answering(answer(&head, "hi")).await;
        let proxy = Proxy::before(backend.at());
        let mut client = proxy.plain().await;
        for _ in 0..3 {
            assert_eq!(client.get("a.test", "/").await.text(), "hi");
        }
        assert_eq!(backend.connections(), connections, "{keep_alive}");
    }
}

#[tokio::test]
async fn a_client_that_says_close_is_answered_and_closed() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
        let got = client
            .ask("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(
            (got.status, got.field("connection").as_deref()),
            (200, Some("close"))
        );
        assert!(client.is_closed().await);
    }
    assert_eq!(backend.last().field("connection"), None);
}

#[tokio::test]
async fn many_clients_at_once_are_all_answered_with_their_own() {
    let backend = Backend::echo().await;
    let proxy = Arc::new(Proxy::before(backend.at()));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..100 {
        let proxy = proxy.clone();
        clients.spawn(async move {
            let mut client = if n % 2 == 0 {
                proxy.plain().await
            } else {
                proxy.tls("a.test").await
            };
            for m in 0..5 {
                let got = client.get("a.test", &format!("/{n}/{m}")).await;
                assert!(
                    got.text().starts_with(&format!("GET /{n}/{m} ")),
                    "{n} {m}: {}",
                    got.text()
                );
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!(backend.requests().len(), 500);
}

/// Bytes behind an answer would be read as the next one's.
#[tokio::test]
async fn a_connection_with_bytes_behind_an_answer_is_not_used_again() {
    let poisoned = [ok(b"mine"), ok(b"poison")].concat();
    let backend = Backend::answering(poisoned).await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for _ in 0..5 {
        assert_eq!(client.get("a.test", "/").await.text(), "mine");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    let post = put("a.test", 3) + "two";
    client
        .send([get("a.test", "/1"), post, get("a.test", "/3")].concat())
        .await;
    assert!(client.answer().await.text().starts_with("GET /1 "));
    assert!(client.answer().await.text().ends_with("two"));
    assert!(client.answer().await.text().starts_with("GET /3 "));
}

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

#[tokio::test]
async fn a_body_that_waits_for_100_is_sent_once_the_endpoint_says_it() {
    let backend = Backend::continuing().await;
    let proxy = Proxy::before(backend.at());
    for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
        client.send(EXPECTING).await;
        assert_eq!(client.head().await.unwrap().status, 100);
        client.send("hello").await;
        assert_eq!(client.answer().await.text(), "hello");
    }
}

#[tokio::test]
async fn a_body_that_waits_for_100_is_not_sent_to_an_endpoint_that_refuses() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.head().await.unwrap();
        conn.send(answer("403 Forbidden\ncontent-length: 2", "no"))
            .await;
        assert!(
            conn.wire().rest().await.is_empty(),
            "no body follows a refusal"
        );
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.send(EXPECTING).await;
    let got = client.answer().await;
    assert_eq!(
        (got.status, got.text().as_str(), got.interim.len()),
        (403, "no", 0)
    );
    assert!(
        client.is_closed().await,
        "the client cannot know whether its body is awaited"
    );
    backend.wait_for(|seen| seen.over == 1).await;
}

/// RFC 9110 §10.1.1: nobody waits for ever for a 100. Takes its second.
#[tokio::test]
async fn a_body_that_waits_for_100_is_sent_to_an_endpoint_that_says_nothing() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.send(EXPECTING).await;
    assert_eq!(client.head().await.unwrap().status, 100);
    client.send("hello").await;
    assert!(client.answer().await.text().ends_with("hello"));
}

#[tokio::test]
async fn a_body_that_waits_for_100_and_is_too_large_is_not_asked_for() {
    let backend = Backend::echo().await;
    let proxy = Proxy::with(&format!("upstream: {}\nmax_body: 4B", backend.at()));
    let mut client = proxy.plain().await;
    let got = client.ask(EXPECTING).await;
    assert_eq!(
        (got.status, got.interim.len(), backend.connections()),
        (413, 0, 0)
    );
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_body_that_does_not_wait_for_100_is_sent() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let got = proxy.plain().await.ask(format!("{EXPECTING}hello")).await;
    assert!(got.text().ends_with("hello"));
}

#[tokio::test]
async fn interim_answers_do_not_disturb_the_final_one() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let backend = Backend::answering([hints.as_bytes(), &ok(b"hi")].concat()).await;
    let proxy = Proxy::before(backend.at());
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(
        (got.status, got.text().as_str(), got.field("link")),
        (200, "hi", None)
    );
    assert_eq!(
        proxy.h2("a.test").await.get("a.test", "/").await.text(),
        "hi"
    );
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_has_ended() {
    let backend = Backend::script(|mut conn: Conn| async move {
        let mut request = conn.head().await.unwrap();
        conn.send(ok(b"early")).await;
        conn.body(&mut request).await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    let got = client.answer().await;
    assert_eq!((got.text().as_str(), got.whole), ("early", true));

    let mut h2 = proxy.h2("a.test").await;
    let request = Request::post("https://a.test/").body(()).unwrap();
    let (coming, mut stream) = h2.requests.send_request(request, false).unwrap();
    stream.send_data("hello".into(), false).unwrap();
    assert_eq!(taken(coming).await.unwrap().text(), "early");
}

/// What a server does that refuses an upload: it answers, and reads no more.
#[tokio::test]
async fn an_answer_is_not_lost_to_an_upload_that_nobody_reads() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.head().await.unwrap();
        conn.send(answer(
            "413 Payload Too Large\ncontent-length: 3\nconnection: close",
            "big",
        ))
        .await;
        conn.closed().await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let body = bytes(200_000);
    let got = proxy
        .plain()
        .await
        .ask([put("a.test", body.len()).as_bytes(), &body].concat())
        .await;
    assert_eq!((got.status, got.text().as_str()), (413, "big"));
    let request = Request::put("https://a.test/").body(body).unwrap();
    let got = proxy.h2("a.test").await.ask(request, None).await.unwrap();
    assert_eq!((got.status, got.text().as_str()), (413, "big"));
}

/// Whether nothing follows but the end.
async fn ended(body: &mut h2::RecvStream) -> bool {
    match within(body.data()).await {
        Some(data) => data.unwrap().is_empty() && body.is_end_stream(),
        None => true,
    }
}

#[tokio::test]
async fn both_ways_flow_at_once() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.head().await.unwrap();
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        // Each chunk goes back as it came.
        while let Some(size) = conn.wire().up_to(b"\r\n").await {
            let data = conn.wire().up_to(b"\r\n").await.unwrap();
            let last = size == b"0\r\n";
            conn.send([size, data].concat()).await;
            if last {
                break;
            }
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut h2 = proxy.h2("a.test").await;
    let request = Request::post("https://a.test/").body(()).unwrap();
    let (coming, mut stream) = h2.requests.send_request(request, false).unwrap();
    let mut body = within(coming).await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        stream.send_data(word.into(), false).unwrap();
        assert_eq!(within(body.data()).await.unwrap().unwrap(), word);
    }
    stream.send_data("".into(), true).unwrap();
    assert!(ended(&mut body).await);

    let mut client = proxy.plain().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut got = client.head().await.unwrap();
    for word in ["3\r\none\r\n", "3\r\ntwo\r\n"] {
        client.send(word).await;
        assert_eq!(client.wire().exactly(word.len()).await, word.as_bytes());
    }
    client.send("0\r\n\r\n").await;
    client.body(&mut got).await;
    assert!(got.whole && got.body.is_empty());
}

#[tokio::test]
async fn events_arrive_at_once_one_by_one() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let backend = Backend::script(move |mut conn: Conn| {
        let gate = opened.clone();
        async move {
            conn.request().await.unwrap();
            conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
                .await;
            for n in 0..3 {
                conn.send(format!("data: {n}\n\n")).await;
                gate.acquire().await.unwrap().forget();
            }
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut h2 = proxy.h2("a.test").await;
    let request = Request::get("https://a.test/").body(()).unwrap();
    let (coming, _) = h2.requests.send_request(request, true).unwrap();
    let mut body = within(coming).await.unwrap().into_body();
    for n in 0..3 {
        assert_eq!(
            within(body.data()).await.unwrap().unwrap(),
            format!("data: {n}\n\n")
        );
        gate.add_permits(1);
    }
    assert!(ended(&mut body).await);
    for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
        client.send(get("a.test", "/")).await;
        client.head().await.unwrap();
        for n in 0..3 {
            client
                .wire()
                .up_to(format!("data: {n}\n\n").as_bytes())
                .await
                .unwrap();
            gate.add_permits(1);
        }
        assert_eq!(
            client.wire().up_to(b"0\r\n\r\n").await.unwrap(),
            b"\r\n0\r\n\r\n"
        );
    }
}

#[tokio::test]
async fn a_target_arrives_as_it_was_sent() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    let mut h2 = proxy.h2("a.test").await;
    for target in [
        "/",
        "/?",
        "/?a=b?c&&d=%20+",
        "//x//y",
        "/.",
        "/../a/./b",
        "/%2e%2E/%2F%zz%",
        "/a;b=c/~!$&'()*+,=:@",
        "/a|b[c]^d{e}",
        "/?x={|}^`[]\\",
        "/%C3%A4",
        "/*",
    ] {
        client.get("a.test", target).await;
        assert_eq!(backend.last().target(), target);
        // The legal client's own parser, too, lets all of these pass.
        h2.get("a.test", target).await;
        assert_eq!(backend.last().target(), target, "over h2");
    }
    client
        .ask("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    assert_eq!(backend.last().first_line(), "OPTIONS * HTTP/1.1");
    client
        .ask("GET /\u{e4} HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    assert_eq!(
        backend.last().target().as_bytes(),
        "/\u{c3}\u{a4}".as_bytes(),
        "UTF-8 is not touched"
    );
}

/// An absolute target without a path reached the endpoint as `GET ?x HTTP/1.1`.
#[tokio::test]
async fn an_absolute_target_becomes_a_path() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for (target, want) in [
        ("http://a.test/x?y", "/x?y"),
        ("http://A.TEST/", "/"),
        ("http://a.test", "/"),
        ("http://a.test?x", "/?x"),
        ("https://a.test/s", "/s"),
    ] {
        let host = if target.contains("A.TEST") {
            "A.TEST"
        } else {
            "a.test"
        };
        assert_eq!(client.get(host, target).await.status, 200);
        assert_eq!(backend.last().first_line(), format!("GET {want} HTTP/1.1"));
    }
}

async fn through(endpoint: &str) -> Answer {
    Proxy::before(endpoint)
        .plain()
        .await
        .get("a.test", "/")
        .await
}

#[tokio::test]
async fn endpoints_are_reached_wherever_they_listen() {
    let unix = Backend::echo_unix();
    assert_eq!(through(unix.at()).await.status, 200);
    let v6 = Backend::echo_v6().await;
    assert_eq!(through(v6.at()).await.status, 200, "a port is `::1` too");
    assert_eq!(through(&format!("[::1]:{}", v6.at())).await.status, 200);
    let v4 = Backend::echo().await;
    assert_eq!(through(&format!("127.0.0.1:{}", v4.at())).await.status, 200);
    assert_eq!(
        through(&format!("http://localhost:{}", v4.at()))
            .await
            .status,
        200
    );
    assert_eq!(
        (
            unix.requests().len(),
            v6.requests().len(),
            v4.requests().len()
        ),
        (1, 2, 2)
    );
}

#[tokio::test]
async fn several_endpoints_take_turns() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let list = backends.each_ref().map(Backend::at).join(", ");
    let proxy = Proxy::with(&format!("upstream: [{list}]"));
    for _ in 0..3 {
        let mut client = proxy.plain().await;
        for _ in 0..3 {
            assert_eq!(client.get("a.test", "/").await.status, 200);
        }
    }
    assert_eq!(
        backends.each_ref().map(|backend| backend.requests().len()),
        [3, 3, 3]
    );
}

#[tokio::test]
async fn the_host_an_endpoint_sees_is_the_clients_or_as_told() {
    let backend = Backend::echo().await;
    let unix = Backend::echo_unix();
    let port = backend.at();
    let numbered = format!("127.0.0.1:{port}");
    for (endpoint, said, want) in [
        (port, "preserve", "A.test:8443"),
        (port, "endpoint", &format!("localhost:{port}")),
        (&numbered, "endpoint", &numbered),
        (unix.at(), "endpoint", "localhost"),
        (port, "inner.example", "inner.example"),
    ] {
        let proxy = Proxy::with(&format!("upstream: \"{endpoint}\"\nhost: {said}"));
        let got = proxy.tls("a.test").await.get("A.test:8443", "/").await;
        let head = got.text();
        assert!(
            head.contains(&format!("\r\nhost: {want}\r\n")),
            "{said}: {head}"
        );
        assert!(
            head.contains("\r\nx-forwarded-host: A.test:8443\r\n"),
            "{said}: {head}"
        );
    }
}
