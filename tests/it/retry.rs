//! When an endpoint fails: what is tried again, what is told, and what never happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;

use crate::harness::{Answer, Backend, Conn, Proxy, answer, get, ok, taken, until, within};

fn post(body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn put(body: &str) -> String {
    post(body).replacen("POST", "PUT", 1)
}

fn told(answer: &Answer) -> (u16, String) {
    let status = answer.field("proxy-status").unwrap_or_default();
    (
        answer.status,
        status.trim_start_matches("hostmux; error=").to_owned(),
    )
}

// ---- an answer that breaks off

/// Every client sees that this answer is not whole.
async fn is_broken<F>(what: &str, script: impl Fn(Conn) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let backend = Backend::script(script).await;
    let proxy = Proxy::before(backend.at());
    for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
        let answer = client.get("a.test", "/").await;
        assert_eq!((answer.status, answer.whole), (200, false), "{what}");
        assert!(client.is_closed().await, "{what}");
    }
    let answer = proxy.h2("a.test").await.get("a.test", "/").await;
    assert_eq!(
        (answer.status, answer.whole),
        (200, false),
        "{what} over h2"
    );
    for line in proxy.logged(3).await {
        assert_eq!(
            (&line["status"], &line["reason"]),
            (&200.into(), &"http_response_incomplete".into()),
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole() {
    for (what, bytes) in [
        ("short", answer("200 OK\ncontent-length: 10", "hello")),
        ("no body at all", answer("200 OK\ncontent-length: 10", "")),
        (
            "no last chunk",
            answer("200 OK\ntransfer-encoding: chunked", "5\r\nhello\r\n"),
        ),
        (
            "half a chunk",
            answer("200 OK\ntransfer-encoding: chunked", "5\r\nhel"),
        ),
        (
            "no blank line at the end",
            answer("200 OK\ntransfer-encoding: chunked", "5\r\nhello\r\n0\r\n"),
        ),
        (
            "no number",
            answer(
                "200 OK\ntransfer-encoding: chunked",
                "5\r\nhello\r\nx\r\n\r\n",
            ),
        ),
        (
            "a chunk too long",
            answer(
                "200 OK\ntransfer-encoding: chunked",
                "5\r\nhello!\r\n0\r\n\r\n",
            ),
        ),
        (
            "a broken trailer",
            answer(
                "200 OK\ntransfer-encoding: chunked",
                "5\r\nhello\r\n0\r\nx y\r\n\r\n",
            ),
        ),
        (
            "a bare line feed",
            answer("200 OK\ntransfer-encoding: chunked", "5\nhello\n0\n\n"),
        ),
    ] {
        is_broken(what, move |mut conn| {
            let bytes = bytes.clone();
            async move {
                conn.request().await;
                conn.send(bytes).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_reset_never_looks_whole() {
    for head in [
        "content-length: 4000000",
        "transfer-encoding: chunked",
        "x: until close",
    ] {
        is_broken(head, move |mut conn| async move {
            conn.request().await;
            conn.send(answer(&format!("200 OK\n{head}"), "5\r\nhello\r\n"))
                .await;
            conn.reset();
        })
        .await;
    }
}

/// The client has had a part already when the rest does not come.
#[tokio::test]
async fn an_answer_that_breaks_off_later_never_looks_whole() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let open = gate.clone();
    let backend = Backend::script(move |mut conn: Conn| {
        let gate = open.clone();
        async move {
            conn.request().await;
            conn.send(answer("200 OK\ncontent-length: 10", "hello"))
                .await;
            gate.acquire().await.unwrap().forget();
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.tls("a.test").await;
    client.send(get("a.test", "/")).await;
    client.head().await.unwrap();
    assert_eq!(client.wire().exactly(5).await, b"hello");
    gate.add_permits(1);
    assert!(client.is_closed().await);

    let mut h2 = proxy.h2("a.test").await;
    let request = Request::get("https://a.test/").body(()).unwrap();
    let mut body = within(h2.requests.send_request(request, true).unwrap().0)
        .await
        .unwrap()
        .into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "hello");
    gate.add_permits(1);
    let error = within(body.data()).await.unwrap().unwrap_err();
    assert!(error.is_reset(), "{error}");
}

// ---- an answer that is none

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    let lines = format!("200 OK\n{}", "x: y\n".repeat(200));
    let long = format!("200 OK\nx: {}", "y".repeat(70_000));
    let ok = "200 OK\n";
    for bytes in [
        b"hello\r\n\r\n".to_vec(),
        b"\x15\x03\x01\x00\x02\x02\x46".to_vec(),
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        b"HTTP/2 200 OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 20 OK\r\n\r\n".to_vec(),
        answer(
            &format!("{ok}content-length: 5\ncontent-length: 6"),
            "hello",
        ),
        answer(&format!("{ok}content-length: +5"), "hello"),
        answer(
            &format!("{ok}content-length: 5\ntransfer-encoding: chunked"),
            "0\r\n\r\n",
        ),
        answer(&format!("{ok}transfer-encoding: gzip"), "0\r\n\r\n"),
        answer(
            &format!("{ok}transfer-encoding: chunked\ntransfer-encoding: chunked"),
            "0\r\n\r\n",
        ),
        answer(&format!("{ok}no colon"), ""),
        answer(&format!("{ok}x : y"), ""),
        answer(&format!("{ok}x: a\0b"), ""),
        answer(
            "101 Switching Protocols\nupgrade: websocket\nconnection: upgrade",
            "",
        ),
        answer(&lines, ""),
        answer(&long, ""),
        b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(),
    ] {
        let backend = Backend::answering_once(bytes.clone()).await;
        let proxy = Proxy::before(backend.at());
        let mut client = proxy.plain().await;
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(
            told(&client.get("a.test", "/").await),
            (502, "http_protocol_error".to_owned()),
            "{what}"
        );
        assert_eq!(
            backend.connections(),
            1,
            "an endpoint that answered is not asked again: {what}"
        );
        assert_eq!(
            client.get("a.test", "/").await.status,
            502,
            "the client's connection goes on"
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_closes_without_a_word_is_502() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(told(&got), (502, "connection_terminated".to_owned()));
    let reset = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
        conn.reset();
    })
    .await;
    let proxy = Proxy::before(reset.at());
    let got = proxy.h2("a.test").await.get("a.test", "/").await;
    assert_eq!(told(&got), (502, "connection_terminated".to_owned()));
}

#[tokio::test]
async fn an_endpoint_that_takes_too_long_is_504() {
    let backend = Backend::stalling().await;
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: {}, response_timeout: 300ms }}",
        backend.at()
    ));
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(told(&got), (504, "http_response_timeout".to_owned()));
    assert_eq!(
        backend.requests().len(),
        1,
        "it had all its time, and is not asked again"
    );
    backend.wait_for(|seen| seen.over == 1).await;
}

/// The clock ran from the beginning of the request: an upload of more than
/// `response_timeout` was cut, however well it went.
#[tokio::test]
async fn a_long_upload_is_not_the_endpoints_delay() {
    let backend = Backend::answering(ok(b"done")).await;
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: {}, response_timeout: 300ms }}",
        backend.at()
    ));
    let mut client = proxy.plain().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 12\r\n\r\n")
        .await;
    for pause in [
        [1000, 10],
        [100, 100],
        [100, 100],
        [100, 100],
        [100, 100],
        [100, 100],
    ]
    .as_flattened()
    {
        // A slow client, not a wait for anything.
        tokio::time::sleep(std::time::Duration::from_millis(*pause)).await;
        client.send("x").await;
    }
    assert_eq!(client.answer().await.text(), "done");
}

#[tokio::test]
async fn an_endpoint_that_does_not_accept_is_504() {
    // A queue of one, which is full: the kernel leaves further connects without an answer.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap();
    let fill = || {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address);
        socket
    };
    let _full: Vec<_> = (0..8).map(|_| fill()).collect();
    let at = address.as_socket().unwrap();
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: \"{at}\", connect_timeout: 300ms }}"
    ));
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(told(&got), (504, "connection_timeout".to_owned()));
}

// ---- an endpoint that is not there

#[tokio::test]
async fn a_request_waits_for_an_endpoint_that_restarts() {
    let down = Backend::refusing();
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: {}, wait_for_endpoint: 20s }}",
        down.at()
    ));
    let (mut get_it, mut post_it) = (proxy.plain().await, proxy.tls("a.test").await);
    get_it.send(get("a.test", "/")).await;
    post_it.send(post("hello")).await;
    until(|| proxy.held("a.test") == 2).await;
    let backend = down.come_up();
    assert_eq!(get_it.answer().await.status, 200);
    assert!(
        post_it.answer().await.text().ends_with("hello"),
        "nothing was sent: any method may wait"
    );
    assert_eq!((proxy.held("a.test"), backend.requests().len()), (0, 2));
}

#[tokio::test]
async fn an_endpoint_that_stays_away_is_502() {
    let down = Backend::refusing();
    for wait in ["0s", "100ms"] {
        let keys = format!(
            "upstream: {{ endpoints: {}, wait_for_endpoint: {wait} }}",
            down.at()
        );
        let proxy = Proxy::with(&keys);
        for got in [
            proxy.plain().await.ask(post("hello")).await,
            proxy.h2("a.test").await.get("a.test", "/").await,
        ] {
            assert_eq!(told(&got), (502, "connection_refused".to_owned()), "{wait}");
        }
        assert_eq!(proxy.held("a.test"), 0);
    }
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_is_502() {
    let proxy = Proxy::with(
        "upstream: { endpoints: \"unix:/nonexistent/app.sock\", wait_for_endpoint: 0s }",
    );
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(told(&got), (502, "connection_refused".to_owned()));
}

#[tokio::test]
async fn a_client_that_goes_waits_no_more() {
    let down = Backend::refusing();
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: {}, wait_for_endpoint: 1h }}",
        down.at()
    ));
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    until(|| proxy.held("a.test") == 1).await;
    drop(client);
    until(|| proxy.held("a.test") == 0).await;
    assert_eq!(proxy.logged(1).await[0]["status"], 499);
}

#[tokio::test]
async fn a_dead_endpoint_among_two_costs_the_client_nothing() {
    let (dead, alive) = (Backend::refusing(), Backend::echo().await);
    let proxy = Proxy::with(&format!("upstream: [{}, {}]", dead.at(), alive.at()));
    let mut client = proxy.plain().await;
    for _ in 0..4 {
        assert_eq!(client.get("a.test", "/").await.status, 200);
        assert!(client.ask(post("hello")).await.text().ends_with("hello"));
    }
    assert_eq!(alive.requests().len(), 8);
}

/// Two spellings of one endpoint made the attempt loop panic.
#[tokio::test]
async fn an_endpoint_that_is_named_twice_is_one() {
    let closing = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
    })
    .await;
    let at = closing.at();
    let proxy = Proxy::with(&format!("upstream: [{at}, \"localhost:{at}\"]"));
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(told(&got), (502, "connection_terminated".to_owned()));
    let down = Backend::refusing();
    let at = down.at();
    let list = format!("[{at}, \"localhost:{at}\"]");
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: {list}, wait_for_endpoint: 100ms }}"
    ));
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(told(&got), (502, "connection_refused".to_owned()));
}

/// Something was sent: only what may be done twice goes on to the other.
#[tokio::test]
async fn an_endpoint_that_closes_is_followed_by_the_other_for_what_may_be_done_twice() {
    let closing = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
    })
    .await;
    let alive = Backend::echo().await;
    let proxy = Proxy::with(&format!("upstream: [{}, {}]", closing.at(), alive.at()));
    let mut client = proxy.plain().await;
    for request in [
        get("a.test", "/"),
        put("hello"),
        get("a.test", "/"),
        put("hello"),
    ] {
        let got = client.ask(&request).await;
        assert_eq!(got.status, 200);
        assert!(
            !request.starts_with("PUT") || got.text().ends_with("hello"),
            "with its body"
        );
    }
    assert_eq!(alive.requests().len(), 4);
    let posts = [
        client.ask(post("hello")).await.status,
        client.ask(post("hello")).await.status,
    ];
    assert_eq!(
        (posts.iter().min(), posts.iter().max()),
        (Some(&200), Some(&502))
    );
    assert_eq!(alive.requests().len(), 5);
}

// ---- a kept connection that is stale

/// Node closes idle connections without a word.
#[tokio::test]
async fn a_hundred_requests_to_an_endpoint_that_closes_silently_are_a_hundred_answers() {
    let backend = Backend::answering_once(ok(b"hi")).await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for n in 0..100 {
        let got = client.get("a.test", "/").await;
        assert_eq!((got.status, got.text().as_str()), (200, "hi"), "{n}");
    }
    assert_eq!(backend.requests().len(), 100);
}

#[tokio::test]
async fn a_hundred_posts_to_an_endpoint_that_closed_silently_are_a_hundred_answers() {
    let backend = Backend::answering_once(ok(b"hi")).await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for n in 1..=100 {
        assert_eq!(client.ask(post("hello")).await.status, 200, "{n}");
        // The kernel knows of the end once the endpoint has let go.
        backend.wait_for(|seen| seen.over == n).await;
    }
    assert_eq!(backend.requests().len(), 100);
}

/// An endpoint that answers once, and closes a connection when it is asked again on it.
async fn racing() -> (Backend, Arc<AtomicUsize>) {
    let lost = Arc::new(AtomicUsize::new(0));
    let counted = lost.clone();
    let backend = Backend::script(move |mut conn: Conn| {
        let lost = counted.clone();
        async move {
            let Some(request) = conn.request().await else {
                return;
            };
            conn.send(ok(&request.body)).await;
            if conn.head().await.is_some() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    (backend, lost)
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_a_request_is_replaced_once_where_that_is_safe() {
    let (backend, lost) = racing().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    for request in [
        get("a.test", "/"),
        put("hello"),
        get("a.test", "/"),
        put(&"x".repeat(60_000)),
    ] {
        let got = client.ask(&request).await;
        assert_eq!(got.status, 200);
        assert_eq!(
            got.body.len(),
            request.split_once("\r\n\r\n").unwrap().1.len()
        );
    }
    assert_eq!(
        (lost.load(Ordering::Relaxed), backend.requests().len()),
        (3, 4)
    );
}

#[tokio::test]
async fn a_post_is_not_sent_twice() {
    let (backend, lost) = racing().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    let got = client.ask(post("hello")).await;
    assert_eq!(told(&got), (502, "connection_terminated".to_owned()));
    assert_eq!(
        (lost.load(Ordering::Relaxed), backend.requests().len()),
        (1, 1)
    );
}

/// More than 64 KiB are not kept for another attempt.
#[tokio::test]
async fn a_large_body_is_not_sent_twice() {
    let backend = Backend::script(|mut conn: Conn| async move {
        let Some(request) = conn.request().await else {
            return;
        };
        conn.send(ok(&request.body)).await;
        conn.request().await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    let got = client.ask(put(&"x".repeat(200_000))).await;
    assert_eq!(told(&got), (502, "connection_terminated".to_owned()));
    assert_eq!(backend.requests().len(), 2);
}

// ---- a client that goes

#[tokio::test]
async fn a_client_that_goes_is_a_499_in_the_log() {
    let backend = Backend::stalling().await;
    let proxy = Proxy::before(backend.at());
    for mut client in [proxy.plain().await, proxy.tls("a.test").await] {
        let asked = backend.requests().len();
        client.send(get("a.test", "/gone")).await;
        backend.wait_for(|seen| seen.requests.len() > asked).await;
        drop(client);
    }
    backend.wait_for(|seen| seen.over == 2).await;
    for line in proxy.logged(2).await {
        assert_eq!(
            (&line["status"], &line["reason"], &line["path"]),
            (&499.into(), &"client_gone".into(), &"/gone".into())
        );
    }
}

#[tokio::test]
async fn a_stream_that_its_client_resets_is_a_499_and_the_connection_goes_on() {
    let backend = Backend::script(|mut conn: Conn| async move {
        while let Some(request) = conn.request().await {
            if request.target() == "/fine" {
                conn.send(ok(b"fine")).await;
            }
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut h2 = proxy.h2("a.test").await;
    let request = Request::get("https://a.test/gone").body(()).unwrap();
    let (coming, mut stream) = h2.requests.send_request(request, true).unwrap();
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(coming);
    backend.wait_for(|seen| seen.over == 1).await;
    assert_eq!(proxy.logged(1).await[0]["status"], 499);
    assert_eq!(h2.get("a.test", "/fine").await.text(), "fine");
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_an_answer_frees_the_endpoint() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await;
        conn.closed().await;
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    client.wire().up_to(b"hello").await.unwrap();
    drop(client);
    backend.wait_for(|seen| seen.over == 1).await;
    let line = &proxy.logged(1).await[0];
    assert_eq!(
        (&line["status"], &line["reason"], &line["bytes_out"]),
        (&200.into(), &"client_gone".into(), &5.into())
    );
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_its_body_leaves_no_whole_request() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhello")
        .await;
    backend.wait_for(|seen| seen.connections == 1).await;
    drop(client);
    backend.wait_for(|seen| seen.over == 1).await;
    assert!(backend.requests().is_empty());
    let mut h2 = proxy.h2("a.test").await;
    let request = Request::post("https://a.test/").body(()).unwrap();
    let (coming, mut stream) = h2.requests.send_request(request, false).unwrap();
    stream.send_data("hello".into(), false).unwrap();
    backend.wait_for(|seen| seen.connections == 2).await;
    stream.send_reset(h2::Reason::CANCEL);
    assert!(taken(coming).await.is_err());
    backend.wait_for(|seen| seen.over == 2).await;
    assert!(backend.requests().is_empty());
    proxy.logged(2).await;
}

/// A server that went away still had its connections accepted by the kernel,
/// which reset them when it was gone: the request was given up at once.
#[tokio::test]
async fn an_endpoint_that_is_just_going_away_is_waited_for() {
    let first = Arc::new(AtomicUsize::new(1));
    let backend = Backend::script(move |mut conn: Conn| {
        let goes = first.swap(0, Ordering::Relaxed) == 1;
        async move {
            if conn.request().await.is_some() && !goes {
                conn.send(ok(b"back")).await;
            }
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let answer = proxy.plain().await.get("a.test", "/").await;
    assert_eq!((answer.status, answer.text()), (200, "back".to_owned()));
    assert_eq!(backend.requests().len(), 2);
}

/// A body that nobody read is skipped where it is there already; where it is
/// not, the connection ends, and the answer says so.
#[tokio::test]
async fn an_answer_before_a_body_was_read_says_that_the_connection_ends() {
    let proxy =
        Proxy::with("upstream: { endpoints: \"unix:/nowhere.sock\", wait_for_endpoint: 0s }");
    let mut client = proxy.plain().await;
    let got = client.ask(post("hello")).await;
    assert_eq!((got.status, got.field("connection")), (502, None));
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhe";
    let got = client.ask(head).await;
    assert_eq!(
        (got.status, got.field("connection").as_deref()),
        (502, Some("close"))
    );
    assert!(client.is_closed().await);
}
