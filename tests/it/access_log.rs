//! One line for each exchange, when its body has ended.

use crate::harness::{Backend, Conn, Proxy, answer, get};

#[tokio::test]
async fn a_line_says_who_asked_what_of_whom_and_what_became_of_it() {
    let backend = Backend::answering(answer(
        "201 Created\ntransfer-encoding: chunked",
        "5\r\nhello\r\n0\r\n\r\n",
    ))
    .await;
    let proxy = Proxy::before(backend.at());
    let request = "POST /a?b=c&token=hush HTTP/1.1\r\nhost: A.test:8443\r\ncontent-length: 3\r\n\
                   authorization: Bearer hush\r\ncookie: s=hush\r\n\r\nabc";
    let got = proxy.tls("a.test").await.ask(request).await;
    let line = &proxy.logged(1).await[0];
    let want = [
        ("client", "127.0.0.1"),
        ("host", "a.test"),
        ("site", "a.test"),
        ("endpoint", &format!("localhost:{}", backend.at())),
        ("method", "POST"),
        ("path", "/a?b=c&token=…"),
        ("protocol", "HTTP/1.1"),
        ("request_id", &got.field("x-request-id").unwrap()),
    ];
    for (field, value) in want {
        assert_eq!(line[field], value, "{line}");
    }
    let numbers =
        ["status", "attempts", "bytes_in", "bytes_out"].map(|field| line[field].as_u64().unwrap());
    assert_eq!(numbers, [201, 1, 3, 5]);
    assert_eq!(line["tls"], true);
    assert!(line["duration_ms"].as_f64().unwrap() >= 0.0);
    assert!(!line.to_string().contains("hush"));
    assert_eq!((line.get("reason"), line.get("detail")), (None, None));
}

#[tokio::test]
async fn every_exchange_has_one_line() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut h2 = proxy.h2("a.test").await;
    for _ in 0..3 {
        h2.get("a.test", "/h2").await;
    }
    let mut client = proxy.plain().await;
    for _ in 0..3 {
        client.get("a.test", "/h1").await;
    }
    proxy.get("no.test", "/unknown").await;
    client
        .ask("TRACE /refused HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    let lines = proxy.logged(8).await;
    let of = |path: &str| {
        lines
            .iter()
            .filter(|line| line["path"] == path)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        [
            of("/h1").len(),
            of("/h2").len(),
            of("/unknown").len(),
            of("/refused").len(),
            lines.len()
        ],
        [3, 3, 1, 1, 8]
    );
    assert_eq!(
        (&of("/h2")[0]["protocol"], &of("/h2")[0]["host"]),
        (&"HTTP/2.0".into(), &"a.test".into())
    );
    let unknown = of("/unknown")[0];
    assert_eq!(
        (&unknown["status"], &unknown["reason"]),
        (&404.into(), &"destination_not_found".into())
    );
    assert_eq!((unknown.get("site"), unknown.get("endpoint")), (None, None));
    let refused = of("/refused")[0];
    assert_eq!(
        (&refused["status"], &refused["reason"]),
        (&405.into(), &"http_request_denied".into())
    );
}

#[tokio::test]
async fn a_line_is_written_when_the_body_has_ended_and_not_before() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let open = gate.clone();
    let backend = Backend::script(move |mut conn: Conn| {
        let gate = open.clone();
        async move {
            while let Some(request) = conn.request().await {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
                    .await;
                if request.target() == "/slow" {
                    gate.acquire().await.unwrap().forget();
                }
                conn.send("hello").await;
            }
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut slow = proxy.plain().await;
    slow.send(get("a.test", "/slow")).await;
    slow.head().await.unwrap();
    proxy.plain().await.get("a.test", "/quick").await;
    assert_eq!(proxy.logged(1).await[0]["path"], "/quick");
    gate.add_permits(1);
    slow.wire().exactly(10).await;
    let line = &proxy.logged(2).await[1];
    assert_eq!(
        (&line["path"], &line["bytes_out"]),
        (&"/slow".into(), &10.into())
    );
}

#[tokio::test]
async fn a_second_attempt_is_told() {
    let backend = Backend::script(|mut conn: Conn| async move {
        if let Some(request) = conn.request().await {
            conn.send(crate::harness::ok(&request.body)).await;
            conn.head().await;
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    let mut client = proxy.plain().await;
    client.get("a.test", "/1").await;
    client.get("a.test", "/2").await;
    let lines = proxy.logged(2).await;
    assert_eq!(
        (&lines[0]["attempts"], &lines[1]["attempts"]),
        (&1.into(), &2.into())
    );
}
