//! HTTP/2 to endpoints: what they are asked, how many share a connection, and
//! what becomes of a request when an endpoint goes away, refuses or lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::Builder;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::sync::Notify;

use crate::harness::{
    Backend, Call, Conn, END_STREAM, Frames, H2Backend, Kind, Proxy, get, reset, taken, within,
};

const STATUS_200: &[(&str, &str)] = &[(":status", "200")];
const POST: &str = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi";

/// One site before an endpoint of HTTP/2 that is fresh at each connection.
async fn framed<F>(script: impl Fn(usize, Frames) -> F + Send + Sync + 'static) -> (Backend, Proxy)
where
    F: Future<Output = ()> + Send + 'static,
{
    let count = AtomicUsize::new(0);
    let script = Arc::new(script);
    let backend = Backend::script(move |conn: Conn| {
        let (n, script) = (count.fetch_add(1, Ordering::Relaxed), script.clone());
        async move { script(n, conn.frames().await).await }
    })
    .await;
    let proxy = Proxy::before(&format!("h2c://{}", backend.at()));
    (backend, proxy)
}

/// Answers each request with these frames; `0` in them is the stream.
async fn saying(frames: &'static [(Kind, u8, &'static [u8])]) -> (Backend, Proxy) {
    let script = move |_, mut conn: Frames| async move {
        while let Some(stream) = conn.asked().await {
            for (kind, flags, payload) in frames {
                conn.send(*kind, *flags, stream, payload).await;
            }
        }
    };
    framed(script).await
}

/// The answer to a GET whose head is of these fields, and its body.
async fn odd(
    fields: &'static [(&'static str, &'static str)],
    body: Option<&'static str>,
) -> (u16, bool) {
    let (_backend, proxy) = framed(move |_, mut conn| async move {
        while let Some(stream) = conn.asked().await {
            conn.ask(stream, fields, body.map(str::as_bytes)).await;
        }
    })
    .await;
    let answer = proxy.plain().await.get("a.test", "/").await;
    (answer.status, answer.whole)
}

#[tokio::test]
async fn an_endpoint_gets_a_request_of_http_2() {
    let backend = H2Backend::echo().await;
    let proxy = Proxy::before(&backend.at());
    let request = "POST /a/%7Eb?c=d HTTP/1.1\r\nhost: a.test:81\r\nconnection: x-hop, te\r\nx-hop: 1\r\n\
                   te: trailers\r\nx-forwarded-for: 6.6.6.6\r\ncookie: a=1\r\ncookie: b=2\r\n\
                   transfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
    let answer = proxy.plain().await.ask(request).await;
    let text = answer.text();
    assert!(
        text.starts_with("POST http a.test:81 /a/%7Eb?c=d\n"),
        "{text}"
    );
    for line in [
        "te: trailers\n",
        "cookie: a=1\ncookie: b=2\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-host: a.test:81\n",
        "x-forwarded-port: 81\n",
        "x-forwarded-proto: http\n",
        "forwarded: for=127.0.0.1;host=\"a.test:81\";proto=http\n",
        "via: 1.1 hostmux-",
        "x-request-id: 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for name in [
        "connection",
        "x-hop",
        "transfer-encoding",
        "\nhost:",
        "6.6.6.6",
        "content-length",
    ] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    assert!(text.ends_with("\n\nhi"));
}

#[tokio::test]
async fn lengths_and_the_hosts_policy_are_as_over_http_1() {
    let backend = H2Backend::echo().await;
    let proxy = Proxy::with(&format!("upstream: {}\nhost: endpoint", backend.at()));
    let mut client = proxy.plain().await;
    let text = client.ask(POST).await.text();
    assert!(
        text.starts_with(&format!("POST http localhost:{} /\n", backend.port())),
        "{text}"
    );
    assert!(text.contains("content-length: 2\n"), "{text}");
    let text = client
        .ask("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await
        .text();
    assert!(
        text.starts_with("OPTIONS http ") && text.contains(" *\n"),
        "{text}"
    );
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let backend = H2Backend::echo().await;
    let proxy = Proxy::before(&backend.at());
    let mut client = proxy.h2("a.test").await;
    let mut asked = Vec::new();
    for n in 0..50 {
        let request = Request::get(format!("https://a.test/{n}"))
            .body(())
            .unwrap();
        asked.push(client.requests.send_request(request, true).unwrap().0);
        client.requests = client.requests.ready().await.unwrap();
    }
    for (n, answer) in asked.into_iter().enumerate() {
        let text = taken(answer).await.unwrap().text();
        assert!(
            text.starts_with(&format!("GET http a.test /{n}\n")),
            "{text}"
        );
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn an_endpoints_limit_of_streams_is_kept_and_waited_for() {
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let script = move |call: Call| {
        let held = held.clone();
        async move {
            held.notified().await;
            call.answer("done", None);
        }
    };
    let backend = H2Backend::script(builder, script).await;
    let proxy = Proxy::before(&backend.at());
    let mut client = proxy.h2("a.test").await;
    let mut asked = Vec::new();
    for _ in 0..6 {
        let request = Request::get("https://a.test/").body(()).unwrap();
        asked.push(client.requests.send_request(request, true).unwrap().0);
        client.requests = client.requests.ready().await.unwrap();
    }
    backend.wait_for(|seen| seen.calls == 4).await;
    assert_eq!(backend.connections(), 4, "a stream each");
    for over in 1..=6 {
        go.notify_one();
        backend.wait_for(|seen| seen.over == over).await;
    }
    for answer in asked {
        assert_eq!(taken(answer).await.unwrap().text(), "done");
    }
    assert_eq!(backend.connections(), 4);
}

#[tokio::test]
async fn streams_above_the_last_of_a_goaway_are_sent_again_whatever_their_method() {
    let (backend, proxy) = framed(|n, mut conn| async move {
        let stream = conn.asked().await.unwrap();
        if n == 0 {
            return conn.send(Kind::GoAway, 0, 0, &[0; 8]).await;
        }
        conn.headers(stream, STATUS_200, END_STREAM).await;
        conn.closed().await;
    })
    .await;
    assert_eq!(proxy.plain().await.ask(POST).await.status, 200);
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn streams_below_the_last_of_a_goaway_are_answered_and_no_new_one_begins() {
    let (backend, proxy) = framed(|n, mut conn| async move {
        let stream = conn.asked().await.unwrap();
        if n == 0 {
            conn.send(Kind::GoAway, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])
                .await;
        }
        conn.ask(
            stream,
            STATUS_200,
            Some(if n == 0 { b"old" } else { b"new" }),
        )
        .await;
        conn.closed().await;
    })
    .await;
    let mut client = proxy.plain().await;
    assert_eq!(client.get("a.test", "/").await.text(), "old");
    assert_eq!(client.ask(POST).await.text(), "new");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_refused_stream_is_tried_again_whatever_its_method_but_not_for_ever() {
    let (_backend, proxy) = framed(|_, mut conn| async move {
        let mut refused = 0;
        while let Some(stream) = conn.asked().await {
            if refused < 2 {
                refused += 1;
                conn.send(Kind::Reset, 0, stream, &[0, 0, 0, 7]).await;
            } else {
                conn.headers(stream, STATUS_200, END_STREAM).await;
            }
        }
    })
    .await;
    assert_eq!(proxy.plain().await.ask(POST).await.status, 200);
    let (_backend, proxy) = saying(&[(Kind::Reset, 0, &[0, 0, 0, 7])]).await;
    let answer = proxy.plain().await.ask(POST).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.field("proxy-status").unwrap(),
        "hostmux; error=destination_unavailable"
    );
}

#[tokio::test]
async fn a_stream_that_is_reset_before_its_answer_may_be_asked_elsewhere_if_it_is_idempotent() {
    let good = H2Backend::echo().await;
    let bad = Backend::script(|conn| async move {
        let mut conn = conn.frames().await;
        while let Some(stream) = conn.asked().await {
            conn.send(Kind::Reset, 0, stream, &[0, 0, 0, 2]).await;
        }
    })
    .await;
    let proxy = Proxy::with(&format!(
        "upstream: [\"h2c://{}\", \"{}\"]",
        bad.at(),
        good.at()
    ));
    let mut client = proxy.plain().await;
    for _ in 0..2 {
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
    let mut posted = [0; 2];
    for status in &mut posted {
        *status = client.ask(POST).await.status;
    }
    posted.sort_unstable();
    assert_eq!(posted, [200, 502]);
}

#[tokio::test]
async fn a_stream_that_is_reset_in_the_middle_of_its_answer_is_an_error_to_the_client() {
    let (_backend, proxy) = framed(|_, mut conn| async move {
        while let Some(stream) = conn.asked().await {
            conn.headers(stream, STATUS_200, 0).await;
            conn.send(Kind::Data, 0, stream, b"half").await;
            conn.send(Kind::Reset, 0, stream, &[0, 0, 0, 2]).await;
        }
    })
    .await;
    let answer = proxy.plain().await.get("a.test", "/").await;
    assert_eq!((answer.status, answer.whole), (200, false));
    let answer = proxy.h2("a.test").await.get("a.test", "/").await;
    assert_eq!((answer.status, answer.whole), (200, false));
    assert_eq!(
        proxy.logged(2).await[0]["reason"],
        "http_response_incomplete"
    );
}

#[tokio::test]
async fn odd_answers_never_reach_the_client_as_if_they_were_right() {
    let check = async |fields, body, want| assert_eq!(odd(fields, body).await, want, "{fields:?}");
    let refused = (502, true);
    check(&[("x", "no status")], Some("a"), refused).await;
    check(
        &[(":status", "200"), (":status", "200")],
        Some("a"),
        refused,
    )
    .await;
    check(&[(":status", "2x0")], Some("a"), refused).await;
    check(&[(":status", "101")], None, refused).await;
    check(&[("x", "1"), (":status", "200")], Some("a"), refused).await;
    check(
        &[(":status", "200"), (":path", "/")],
        Some("a"),
        (200, true),
    )
    .await;
    check(&[(":status", "200"), ("X-Upper", "1")], Some("a"), refused).await;
    check(
        &[(":status", "200"), ("connection", "close")],
        Some("a"),
        refused,
    )
    .await;
    check(
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        Some("a"),
        refused,
    )
    .await;
    check(
        &[(":status", "200"), ("upgrade", "h2c")],
        Some("a"),
        refused,
    )
    .await;
    check(&[(":status", "200"), ("x", "a\0b")], Some("a"), refused).await;
    check(
        &[(":status", "200"), ("x", "a\r\nb: c")],
        Some("a"),
        refused,
    )
    .await;
    check(
        &[(":status", "200"), ("content-length", "1, 1")],
        Some("a"),
        refused,
    )
    .await;
    check(
        &[(":status", "200"), ("content-length", "+1")],
        Some("a"),
        refused,
    )
    .await;
    check(
        &[
            (":status", "200"),
            ("content-length", "1"),
            ("content-length", "2"),
        ],
        Some("a"),
        refused,
    )
    .await;
    check(
        &[(":status", "200"), ("content-length", "9")],
        None,
        refused,
    )
    .await;
    // Too short, too long: the client sees that it broke off.
    check(
        &[(":status", "200"), ("content-length", "9")],
        Some("a"),
        (200, false),
    )
    .await;
    check(
        &[(":status", "200"), ("content-length", "1")],
        Some("long"),
        (200, false),
    )
    .await;
    // Said twice, and once to the client.
    check(
        &[
            (":status", "200"),
            ("content-length", "1"),
            ("content-length", "1"),
        ],
        Some("a"),
        (200, true),
    )
    .await;
}

#[tokio::test]
async fn a_header_that_is_too_long_is_no_answer() {
    let (_backend, proxy) = framed(|_, mut conn| async move {
        let long = "a".repeat(70_000);
        let many: Vec<String> = (0..200).map(|n| format!("x-{n}")).collect();
        let mut flood = false;
        while let Some(stream) = conn.asked().await {
            let mut fields = vec![(":status", "200")];
            match std::mem::replace(&mut flood, true) {
                false => fields.push(("x", long.as_str())),
                true => fields.extend(many.iter().map(|name| (name.as_str(), "1"))),
            }
            conn.headers(stream, &fields, END_STREAM).await;
        }
    })
    .await;
    let mut client = proxy.plain().await;
    for _ in 0..2 {
        let answer = client.get("a.test", "/").await;
        assert_eq!(answer.status, 502);
        assert_eq!(
            answer.field("proxy-status").unwrap(),
            "hostmux; error=http_protocol_error"
        );
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let check = async |method: &str,
                       fields: &'static [(&str, &str)],
                       body: Option<&'static [u8]>,
                       want: u16| {
        let (_backend, proxy) = framed(move |_, mut conn| async move {
            while let Some(stream) = conn.asked().await {
                conn.ask(stream, fields, body).await;
            }
        })
        .await;
        let mut client = proxy.plain().await;
        for _ in 0..2 {
            let answer = client
                .ask(format!("{method} / HTTP/1.1\r\nhost: a.test\r\n\r\n"))
                .await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (want, ""),
                "{method} {fields:?}"
            );
        }
    };
    check(
        "HEAD",
        &[(":status", "200"), ("content-length", "9")],
        None,
        200,
    )
    .await;
    check("GET", &[(":status", "204")], None, 204).await;
    check("GET", &[(":status", "204")], Some(b"body"), 204).await;
    check(
        "GET",
        &[(":status", "304"), ("content-length", "9")],
        None,
        304,
    )
    .await;
    check("HEAD", &[(":status", "404")], Some(b""), 404).await;
}

#[tokio::test]
async fn an_interim_answer_is_never_taken_for_the_answer() {
    let (_backend, proxy) = framed(|_, mut conn| async move {
        while let Some(stream) = conn.asked().await {
            for status in ["100", "103", "100"] {
                conn.headers(stream, &[(":status", status)], 0).await;
            }
            conn.ask(stream, STATUS_200, Some(b"done")).await;
        }
    })
    .await;
    let answer = proxy.plain().await.get("a.test", "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
}

/// The client had the hints of each of four attempts.
#[tokio::test]
async fn a_stream_that_is_lost_behind_a_hint_is_not_tried_again() {
    let (backend, proxy) = framed(|_, mut conn| async move {
        while let Some(stream) = conn.asked().await {
            conn.headers(stream, &[(":status", "103")], 0).await;
            conn.send(Kind::Reset, 0, stream, &2u32.to_be_bytes()).await;
        }
    })
    .await;
    let answer = proxy.plain().await.get("a.test", "/").await;
    assert_eq!((answer.status, answer.interim.len()), (502, 1));
    assert_eq!(proxy.logged(1).await[0]["attempts"], 1);
    drop(backend);
}

#[tokio::test]
async fn a_body_waits_for_the_100_that_it_was_announced_for() {
    let script = |mut call: Call| async move {
        assert_eq!(call.request.headers()["expect"], "100-continue");
        let go = Response::builder()
            .status(StatusCode::CONTINUE)
            .body(())
            .unwrap();
        call.respond.send_informational(go).unwrap();
        let (body, _) = call.rest().await;
        call.answer(body, None);
    };
    let backend = H2Backend::script(Builder::new(), script).await;
    let proxy = Proxy::before(&backend.at());
    let mut client = proxy.plain().await;
    client
        .send("PUT / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status, 100);
    client.send("body").await;
    assert_eq!(client.answer().await.text(), "body");
}

#[tokio::test]
async fn a_client_that_goes_cancels_its_stream_at_once_and_no_other() {
    let script = |mut call: Call| async move {
        if call.request.uri().path() == "/stay" {
            return call.answer("stayed", None);
        }
        if call.request.uri().path() == "/half" {
            let mut stream = call
                .respond
                .send_response(Response::new(()), false)
                .unwrap();
            stream
                .send_data(Bytes::from_static(b"half"), false)
                .unwrap();
            assert_eq!(reset(&mut stream).await, h2::Reason::CANCEL);
            return;
        }
        assert_eq!(call.reset().await, h2::Reason::CANCEL);
    };
    let backend = H2Backend::script(Builder::new(), script).await;
    let proxy = Proxy::before(&backend.at());
    for (n, path) in ["/wait", "/half"].into_iter().enumerate() {
        let mut client = proxy.plain().await;
        client.send(get("a.test", path)).await;
        backend.wait_for(|seen| seen.calls == 2 * n + 1).await;
        if path == "/half" {
            client.head().await.unwrap();
        }
        drop(client);
        backend.wait_for(|seen| seen.over == 2 * n + 1).await;
        assert_eq!(
            proxy.plain().await.get("a.test", "/stay").await.text(),
            "stayed"
        );
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_no_more_than_a_window() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let script = move |mut call: Call| {
        let counted = counted.clone();
        async move {
            if call.request.uri().path() == "/small" {
                return call.answer("small", None);
            }
            let mut stream = call
                .respond
                .send_response(Response::new(()), false)
                .unwrap();
            loop {
                stream.reserve_capacity(16 * 1024);
                let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await
                else {
                    return;
                };
                stream.send_data(vec![0; room].into(), false).unwrap();
                counted.fetch_add(room, Ordering::Relaxed);
            }
        }
    };
    let backend = H2Backend::script(Builder::new(), script).await;
    let proxy = Proxy::before(&backend.at());
    let client = proxy.h2("a.test").await;
    let request = || Request::get("https://a.test/").body(()).unwrap();
    let mut stalled = Vec::new();
    for (streams, held_max) in [(20, 256 * 1024), (200, 64 * 1024)] {
        while stalled.len() < streams {
            let mut requests = within(client.requests.clone().ready()).await.unwrap();
            stalled.push(requests.send_request(request(), true).unwrap().0);
        }
        backend
            .wait_for(|seen| seen.calls - seen.over >= streams)
            .await;
        // Others on the same connection are served meanwhile.
        for _ in 0..20 {
            let answer = proxy.plain().await.get("a.test", "/small").await;
            assert_eq!(answer.text(), "small");
        }
        let held = sent.load(Ordering::Relaxed) / streams;
        assert!(held <= held_max + 128 * 1024, "{held} bytes for an answer");
    }
    drop(stalled);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_the_client_nothing() {
    let (backend, proxy) = framed(|_, mut conn| async move {
        let stream = conn.asked().await.unwrap();
        conn.headers(stream, STATUS_200, END_STREAM).await;
    })
    .await;
    let mut client = proxy.plain().await;
    for _ in 0..20 {
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
    assert!(backend.connections() >= 10);
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_http_2_is_told_so() {
    let http1 =
        Backend::answering_once("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let silent =
        Backend::script(|mut conn| async move { drop(conn.wire().exactly(24).await) }).await;
    for backend in [&http1, &silent] {
        let proxy = Proxy::before(&format!("h2c://{}", backend.at()));
        let answer = proxy.plain().await.get("a.test", "/").await;
        assert_eq!(answer.status, 502);
        let status = answer.field("proxy-status").unwrap();
        assert!(
            status.ends_with("http_protocol_error") || status.ends_with("connection_refused"),
            "{status}"
        );
    }
    let proxy = Proxy::with("upstream: { endpoints: \"h2c://9\", wait_for_endpoint: 0s }");
    let answer = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(
        answer.field("proxy-status").unwrap(),
        "hostmux; error=connection_refused"
    );
}

#[tokio::test]
async fn those_who_wait_for_one_connection_share_its_failure() {
    let refusing = Backend::refusing();
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: \"h2c://{}\", wait_for_endpoint: 0s }}",
        refusing.at()
    ));
    let client = proxy.h2("a.test").await;
    let request = || Request::get("https://a.test/").body(()).unwrap();
    let asked: Vec<_> = (0..20)
        .map(|_| {
            client
                .requests
                .clone()
                .send_request(request(), true)
                .unwrap()
                .0
        })
        .collect();
    for answer in asked {
        assert_eq!(taken(answer).await.unwrap().status, 502);
    }
}

#[tokio::test]
async fn a_restarting_endpoint_is_waited_for_as_over_http_1() {
    let refusing = Backend::refusing();
    let proxy = Proxy::before(&format!("h2c://{}", refusing.at()));
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    crate::harness::until(|| proxy.held("a.test") == 1).await;
    let backend = refusing.come_up_with(|conn| async move {
        let mut conn = conn.frames().await;
        let stream = conn.asked().await.unwrap();
        conn.headers(stream, STATUS_200, END_STREAM).await;
        conn.closed().await;
    });
    assert_eq!(client.answer().await.status, 200);
    drop(backend);
}

#[tokio::test]
async fn a_websocket_does_not_go_to_an_endpoint_of_http_2_alone() {
    let upgrade = "GET / HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-key: x\r\nsec-websocket-version: 13\r\n\r\n";
    let backend = H2Backend::echo().await;
    let proxy = Proxy::before(&backend.at());
    let answer = proxy.plain().await.ask(upgrade).await;
    assert_eq!(answer.status, 502);
    assert_eq!(
        answer.field("proxy-status").unwrap(),
        "hostmux; error=http_upgrade_failed"
    );
    // One that can is asked instead.
    let plain = Backend::answering_once(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    )
    .await;
    let proxy = Proxy::with(&format!("upstream: [\"{}\", {}]", backend.at(), plain.at()));
    for _ in 0..2 {
        assert_eq!(proxy.plain().await.ask(upgrade).await.status, 101);
    }
}

#[tokio::test]
async fn an_endpoint_that_leaves_the_configuration_is_let_go_of() {
    let backend = H2Backend::echo().await;
    let proxy = Proxy::before(&backend.at());
    assert_eq!(proxy.plain().await.get("a.test", "/").await.status, 200);
    proxy.replace("sites: { a.test: 9 }");
    backend.wait_for(|seen| seen.closed == 1).await;
}

#[tokio::test]
async fn a_drain_waits_for_streams_and_then_ends() {
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let script = move |call: Call| {
        let held = held.clone();
        async move {
            held.notified().await;
            call.answer("done", None);
        }
    };
    let backend = H2Backend::script(Builder::new(), script).await;
    let mut proxy = Proxy::before(&backend.at());
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    backend.wait_for(|seen| seen.calls == 1).await;
    let answered = async {
        go.notify_one();
        client.answer().await.text()
    };
    let (left, text) = tokio::join!(proxy.drain(), answered);
    assert_eq!((left, text.as_str()), (0, "done"));
    backend.wait_for(|seen| seen.closed == 1).await;
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let backend = H2Backend::echo().await;
    let proxy = Proxy::before(&backend.at());
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "authorization", "x-forwarded-for"] {
        trailers.insert(name, "7".parse().unwrap());
    }
    let request = Request::post("https://a.test/")
        .body(b"hi".to_vec())
        .unwrap();
    let answer = proxy.h2("a.test").await.ask(request, Some(trailers)).await;
    let sum = ("x-sum".to_owned(), "7".to_owned());
    assert_eq!(answer.unwrap().trailers, [sum]);
}

#[tokio::test]
async fn trailers_of_an_answer_carry_no_framing() {
    let script = |call: Call| async move {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "content-length", "trailer"] {
            trailers.insert(name, "7".parse().unwrap());
        }
        call.answer("body", Some(trailers));
    };
    let backend = H2Backend::script(Builder::new(), script).await;
    let proxy = Proxy::before(&backend.at());
    let answer = proxy.h2("a.test").await.get("a.test", "/").await;
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

/// An endpoint that fell silent behind its hints was followed by another,
/// whose hints the client got as well.
#[tokio::test]
async fn silence_behind_a_hint_is_no_silence() {
    let (hinting, _) = framed(|_, mut conn| async move {
        while let Some(stream) = conn.asked().await {
            conn.headers(stream, &[(":status", "103")], 0).await;
        }
    })
    .await;
    let other = Backend::echo().await;
    let list = format!("[\"h2c://{}\", {}]", hinting.at(), other.at());
    let keys = format!("upstream: {{ endpoints: {list}, response_timeout: 300ms }}");
    let answer = Proxy::with(&keys).plain().await.get("a.test", "/").await;
    assert_eq!((answer.status, answer.interim.len()), (504, 1));
    assert!(other.requests().is_empty());
}
