//! What an endpoint is told, and what of a client's and an endpoint's own word is kept.

use crate::harness::{Backend, Message, Proxy, answer, ok};

/// What an endpoint sees of a request with these field lines (`\n` between them).
async fn seen(proxy: &Proxy, backend: &Backend, lines: &str) -> Message {
    let lines = lines.replace('\n', "\r\n");
    let request = format!("GET / HTTP/1.1\r\nhost: a.test:8443\r\n{lines}\r\n\r\n");
    assert_eq!(proxy.tls("a.test").await.ask(request).await.status, 200);
    backend.last()
}

async fn house() -> (Proxy, Backend) {
    let backend = Backend::answering(ok(b"ok")).await;
    (Proxy::before(backend.at()), backend)
}

const OURS: [(&str, &str); 7] = [
    ("host", "a.test:8443"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-real-ip", "127.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "a.test:8443"),
    ("x-forwarded-port", "8443"),
    (
        "forwarded",
        "for=127.0.0.1;host=\"a.test:8443\";proto=https",
    ),
];

/// The fields that are ours say what is true, each once; the others are these.
fn check(request: &Message, others: &[(&str, &str)]) {
    let mut fields = request.fields();
    for (name, value) in OURS {
        let at = fields.iter().position(|field| field.0 == name).unwrap();
        assert_eq!(fields.remove(at).1, value, "{name}");
    }
    let mut take = |name: &str| {
        let at = fields.iter().position(|field| field.0 == name).unwrap();
        fields.remove(at).1
    };
    let id = take("x-request-id");
    assert!(
        id.len() == 36 && id.as_bytes()[14] == b'7',
        "{id} is a UUID of version 7"
    );
    assert!(take("via").contains("1.1 hostmux-"));
    let others: Vec<_> = others
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(fields, others);
}

#[tokio::test]
async fn an_endpoint_is_told_who_asked_for_what_and_how() {
    let (proxy, backend) = house().await;
    check(
        &seen(&proxy, &backend, "accept: */*").await,
        &[("accept", "*/*")],
    );

    proxy.plain().await.get("a.test", "/").await;
    let plain = backend.last();
    assert_eq!(plain.field("x-forwarded-proto").unwrap(), "http");
    assert_eq!(plain.field("x-forwarded-port").unwrap(), "80");
    assert_eq!(
        plain.field("forwarded").unwrap(),
        "for=127.0.0.1;host=a.test;proto=http"
    );

    proxy.h2("a.test").await.get("a.test", "/").await;
    let h2 = backend.last();
    assert_eq!(
        (
            h2.field("host").unwrap(),
            h2.field("x-forwarded-port").unwrap()
        ),
        ("a.test".into(), "443".into())
    );
    assert!(h2.field("via").unwrap().starts_with("2 hostmux-"));
}

#[tokio::test]
async fn a_clients_own_word_about_itself_is_dropped() {
    let (proxy, backend) = house().await;
    let lies = "x-forwarded-for: 6.6.6.6\nX-Forwarded-For: 6.6.6.7\nx-forwarded-proto: http\nx-forwarded-host: evil.test\n\
                x-forwarded-port: 1\nx-forwarded-prefix: /x\nx-forwarded-server: evil\nx-real-ip: 6.6.6.6\n\
                forwarded: for=6.6.6.6\nx-request-id: theirs";
    check(&seen(&proxy, &backend, lies).await, &[]);
}

/// CGI and WSGI read `X_Forwarded_For` as `X-Forwarded-For`.
#[tokio::test]
async fn names_with_an_underscore_are_dropped() {
    let (proxy, backend) = house().await;
    let lies = "X_Forwarded_For: 6.6.6.6\nx_real_ip: 6.6.6.6\nHost_: x\n_: x\ntransfer_encoding: chunked\nx-fine: 1";
    check(&seen(&proxy, &backend, lies).await, &[("x-fine", "1")]);
}

#[tokio::test]
async fn what_is_the_connections_ends_with_it() {
    let (proxy, backend) = house().await;
    let lines = "connection: keep-alive, X-Hop\nx-hop: 1\nConnection: X-Other ,\t x-third\nx-other: 2\nX-Third: 3\n\
                 keep-alive: timeout=5\nproxy-connection: close\nproxy-authorization: Basic x\nte: gzip\nupgrade: h2c\n\
                 http2-settings: x\nx-last: 4";
    check(&seen(&proxy, &backend, lines).await, &[("x-last", "4")]);
}

#[tokio::test]
async fn no_connection_line_takes_away_what_is_ours() {
    let (proxy, backend) = house().await;
    let lines = "connection: X-Forwarded-For, X-Real-IP, Forwarded, X-Forwarded-Proto, X-Forwarded-Host, Host, Via, \
                 X-Request-ID, close";
    check(&seen(&proxy, &backend, lines).await, &[]);
    let request = "POST / HTTP/1.1\r\nhost: a.test\r\nconnection: content-length\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(proxy.plain().await.ask(request).await.status, 200);
    assert_eq!(backend.last().text(), "hi");
}

/// Cookies are written apart from the other fields, and were sent although `Connection` named them.
#[tokio::test]
async fn a_cookie_that_is_the_connections_ends_with_it() {
    let (proxy, backend) = house().await;
    check(
        &seen(&proxy, &backend, "connection: cookie\ncookie: a=1").await,
        &[],
    );
}

#[tokio::test]
async fn all_else_passes_in_its_order_byte_for_byte() {
    let (proxy, backend) = house().await;
    let lines = "x-a: 1\naccept-encoding: gzip, br\nauthorization: Bearer t\nx-b:  spaced\t\nx-empty:\nx-high: \u{e4}\u{ff}\n\
                 range: bytes=0-1\nif-none-match: \"x\"\norigin: https://a.test\ncookie: a=1; b=\"2\"";
    let want = [
        ("x-a", "1"),
        ("accept-encoding", "gzip, br"),
        ("authorization", "Bearer t"),
        ("x-b", "spaced"),
        ("x-empty", ""),
        ("x-high", "\u{c3}\u{a4}\u{c3}\u{bf}"),
        ("range", "bytes=0-1"),
        ("if-none-match", "\"x\""),
        ("origin", "https://a.test"),
        ("cookie", "a=1; b=\"2\""),
    ];
    check(&seen(&proxy, &backend, lines).await, &want);
}

#[tokio::test]
async fn cookies_that_h2_splits_are_one_line() {
    let (proxy, backend) = house().await;
    let mut frames = proxy.frames("a.test").await;
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/"),
        ("cookie", "a=1"),
        ("x", "y"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
    ];
    frames.ask(1, &fields, None).await;
    frames.heard(1).await;
    assert_eq!(backend.last().field("cookie").unwrap(), "a=1; b=2; c=3");
}

#[tokio::test]
async fn te_trailers_passes_on() {
    let (proxy, backend) = house().await;
    let request = seen(
        &proxy,
        &backend,
        "te: trailers, deflate;q=0.5\nconnection: te",
    )
    .await;
    assert_eq!(
        (
            request.field("te").unwrap(),
            request.field("connection").unwrap()
        ),
        ("trailers".into(), "te".into())
    );
    let mut h2 = proxy.h2("a.test").await;
    let request = http::Request::get("https://a.test/")
        .header("te", "trailers")
        .body(Vec::new())
        .unwrap();
    h2.ask(request, None).await.unwrap();
    assert_eq!(backend.last().field("te").unwrap(), "trailers");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let backend = Backend::answering(ok(b"ok")).await;
    let yaml = format!(
        "trusted_proxies: [127.0.0.1, 10.0.0.0/8]\nsites:\n  a.test: {{ upstream: {}, plain_http: redirect }}\n",
        backend.at()
    );
    let proxy = Proxy::start(&yaml);
    let request = "GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 6.6.6.6, 203.0.113.9\r\nx-forwarded-for: 10.1.1.1\r\n\
                   x-forwarded-proto: https\r\nx-forwarded-host: b.test:444\r\nx-request-id: theirs-1\r\nvia: 1.1 front\r\n\r\n";
    let got = proxy.plain().await.ask(request).await;
    assert_eq!(
        got.status, 200,
        "what came to the proxy before us over https is not sent there again"
    );
    assert_eq!(got.field("x-request-id").unwrap(), "theirs-1");
    let request = backend.last();
    let field = |name: &str| request.field(name).unwrap();
    assert_eq!(field("x-forwarded-for"), "203.0.113.9, 10.1.1.1, 127.0.0.1");
    assert_eq!(field("x-real-ip"), "203.0.113.9", "read from the right");
    assert_eq!(
        (field("x-forwarded-proto"), field("x-forwarded-port")),
        ("https".into(), "444".into())
    );
    assert_eq!(
        (field("x-forwarded-host"), field("host")),
        ("b.test:444".into(), "a.test".into())
    );
    assert_eq!(field("x-request-id"), "theirs-1");
    assert!(field("via").starts_with("1.1 front, 1.1 hostmux-"));
    let line = &proxy.logged(1).await[0];
    assert_eq!(
        (&line["client"], &line["request_id"]),
        (&"203.0.113.9".into(), &"theirs-1".into())
    );
}

#[tokio::test]
async fn an_answer_loses_what_is_the_connections_and_keeps_the_rest() {
    let backend = Backend::answering(answer(
        "200 OK\nserver: theirs\nconnection: X-Hop\nx-hop: 1\nkeep-alive: timeout=5\nproxy-connection: x\nupgrade: h2c\n\
         set-cookie: a=1\nset-cookie: b=2\nx_under: stays\nx-request-id: theirs\ndate: then\nproxy-status: theirs\n\
         content-length: 2",
        "hi",
    ))
    .await;
    let proxy = Proxy::before(backend.at());
    let want = [
        ("server", "theirs"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x_under", "stays"),
        ("date", "then"),
        ("proxy-status", "theirs"),
        ("content-length", "2"),
    ];
    for answer in [
        proxy.plain().await.get("a.test", "/").await,
        proxy.h2("a.test").await.get("a.test", "/").await,
    ] {
        let mut fields = answer.fields;
        let at = fields
            .iter()
            .position(|field| field.0 == "x-request-id")
            .unwrap();
        assert_ne!(fields.remove(at).1, "theirs");
        let mut want: Vec<_> = want
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        fields.sort();
        want.sort();
        assert_eq!(fields, want);
    }
}

#[tokio::test]
async fn a_request_that_comes_back_is_508() {
    let (known, address) = tokio::sync::watch::channel(None::<std::net::SocketAddr>);
    // An endpoint that hands every request to the proxy again.
    let backend = Backend::script(move |mut conn| {
        let address = address.clone();
        async move {
            let request = conn.head().await.unwrap();
            let to = address.borrow().unwrap();
            let mut again = crate::harness::Client::connect(to).await;
            let answer = again.ask(request.head).await;
            conn.send(crate::harness::answer(
                &format!("{} Again\ncontent-length: 0", answer.status),
                "",
            ))
            .await;
        }
    })
    .await;
    let proxy = Proxy::before(backend.at());
    known.send(Some(proxy.http)).unwrap();
    assert_eq!(proxy.plain().await.get("a.test", "/").await.status, 508);
    assert_eq!(backend.connections(), 1);
}
