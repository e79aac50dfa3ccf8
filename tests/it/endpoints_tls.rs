//! `https://` endpoints: what is believed, what is spoken, and what is told.

use crate::harness::{Backend, Certificates, H2Backend, Proxy, get, within};

/// One site before an `https://` endpoint of this port, with these keys of `tls`.
fn before(port: impl std::fmt::Display, tls: &str) -> Proxy {
    Proxy::with(&format!(
        "upstream: {{ endpoints: \"https://{port}\", tls: {{ {tls} }} }}"
    ))
}

#[tokio::test]
async fn an_endpoint_of_a_ca_that_is_named_is_asked_over_http_1() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let backend = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    let proxy = before(backend.at(), &format!("ca: {}", certificates.ca()));
    let mut client = proxy.plain().await;
    for n in 0..3 {
        let text = client.get("a.test", &format!("/{n}")).await.text();
        assert!(
            text.starts_with(&format!("GET /{n} HTTP/1.1\r\nhost: a.test\r\n")),
            "{text}"
        );
    }
    assert_eq!(backend.connections(), 1, "a connection is kept");
    let body = "x".repeat(1 << 20);
    let request = format!(
        "POST /up HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = client.ask(request).await;
    assert!(answer.whole && answer.body.len() > body.len());
}

#[tokio::test]
async fn an_endpoint_that_chooses_http_2_is_asked_over_it() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let backend = H2Backend::echo_tls(&certificates).await;
    let proxy = before(backend.port(), &format!("ca: {}", certificates.ca()));
    let mut client = proxy.plain().await;
    for _ in 0..3 {
        let text = client.get("a.test", "/x?y").await.text();
        assert!(text.starts_with("GET https a.test /x?y\n"), "{text}");
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn an_endpoint_without_alpn_speaks_http_1() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let backend = Backend::echo_tls(&certificates, &[]).await;
    let proxy = before(backend.at(), &format!("ca: {}", certificates.ca()));
    assert_eq!(proxy.plain().await.get("a.test", "/").await.status, 200);
}

#[tokio::test]
async fn a_certificate_is_for_the_address_or_for_the_name_that_is_given() {
    let check = async |san: &str, address: &str, tls: &str, status: u16| {
        let certificates = Certificates::of(&[&[san]]);
        let backend = Backend::echo_tls(&certificates, &["http/1.1"]).await;
        let at = address.replace("PORT", backend.at());
        let proxy = before(at, &format!("ca: {}{tls}", certificates.ca()));
        let answer = proxy.plain().await.get("a.test", "/").await;
        assert_eq!(
            answer.status,
            status,
            "{san} {address} {tls}: {}",
            answer.text()
        );
    };
    check("localhost", "localhost:PORT", "", 200).await;
    check("127.0.0.1", "127.0.0.1:PORT", "", 200).await;
    check("localhost", "127.0.0.1:PORT", "", 502).await;
    check("127.0.0.1", "localhost:PORT", "", 502).await;
    check("b.internal", "127.0.0.1:PORT", ", name: b.internal", 200).await;
    check("b.internal", "127.0.0.1:PORT", ", name: c.internal", 502).await;
    check("*.app.internal", "PORT", ", name: b.app.internal", 200).await;
}

/// The usual verification refuses a CA's certificate in a server's place.
#[tokio::test]
async fn an_endpoint_that_signs_itself_is_asked_where_its_certificate_is_named() {
    let own = Certificates::self_signed(&["localhost"]);
    let stranger = Certificates::self_signed(&["localhost"]);
    let backend = Backend::echo_tls(&own, &["http/1.1"]).await;
    let h2 = H2Backend::echo_tls(&own).await;
    let check = async |port: String, tls: String, status: u16| {
        let proxy = before(port, &tls);
        let answer = proxy.plain().await.get("a.test", "/").await;
        assert_eq!(answer.status, status, "{tls}: {}", answer.text());
        if status == 502 {
            let text = answer.text();
            assert!(text.contains("or its own certificate with `tls"), "{text}");
        }
    };
    let named = format!("ca: {}", own.ca());
    check(backend.at().to_string(), named.clone(), 200).await;
    check(h2.port().to_string(), named.clone(), 200).await;
    let at = backend.at().to_string();
    check(at.clone(), format!("{named}, name: other.test"), 502).await;
    check(at.clone(), format!("ca: {}", stranger.ca()), 502).await;
    check(at, String::new(), 502).await;
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_verified_is_never_asked_and_told_with_its_cure() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let stranger = Certificates::of(&[&["localhost"]]);
    let backend = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    for tls in [String::new(), format!("ca: {}", stranger.ca())] {
        let proxy = before(backend.at(), &tls);
        let answer = proxy.plain().await.get("a.test", "/").await;
        assert_eq!(answer.status, 502);
        assert_eq!(
            answer.field("proxy-status").unwrap(),
            "hostmux; error=tls_certificate_error"
        );
        let text = answer.text();
        assert!(
            text.contains("invalid peer certificate") && text.contains("tls: { ca: FILE }"),
            "{text}"
        );
        assert_eq!(proxy.logged(1).await[0]["reason"], "tls_certificate_error");
    }
    assert_eq!(backend.requests().len(), 0);
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_tls_is_told_apart() {
    let garbage = Backend::script(|mut conn| async move { conn.send("SSH-2.0-x\r\n").await }).await;
    let hanging_up = Backend::script(|_| async {}).await;
    for backend in [&garbage, &hanging_up] {
        let proxy = before(backend.at(), "");
        let answer = proxy.plain().await.get("a.test", "/").await;
        let status = answer.field("proxy-status").unwrap();
        assert!(
            status.ends_with("tls_protocol_error") || status.ends_with("connection_refused"),
            "{status}"
        );
        assert_eq!(answer.status, 502);
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_with_the_connect_timeout() {
    let backend = Backend::script(|mut conn| async move { conn.closed().await }).await;
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: \"https://{}\", connect_timeout: 300ms }}",
        backend.at()
    ));
    let answer = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(answer.status, 504);
    assert_eq!(
        answer.field("proxy-status").unwrap(),
        "hostmux; error=connection_timeout"
    );
}

#[tokio::test]
async fn nothing_was_sent_over_a_failed_handshake_so_that_any_method_goes_on() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let stranger = Backend::echo_tls(&Certificates::of(&[&["localhost"]]), &["http/1.1"]).await;
    let good = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    let proxy = Proxy::with(&format!(
        "upstream: {{ endpoints: [\"https://{}\", \"https://{}\"], tls: {{ ca: {} }} }}",
        stranger.at(),
        good.at(),
        certificates.ca()
    ));
    let mut client = proxy.plain().await;
    for _ in 0..4 {
        let request = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(client.ask(request).await.status, 200);
    }
    assert_eq!(good.requests().len(), 4);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_the_client_nothing() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let backend = Backend::once_tls(&certificates).await;
    let proxy = before(backend.at(), &format!("ca: {}", certificates.ca()));
    let mut client = proxy.plain().await;
    for _ in 0..10 {
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_body_that_ends_without_a_farewell_is_broken() {
    let certificates = Certificates::of(&[&["localhost"]]);
    // The length of the body is its end's alone, which TLS has to vouch for.
    let backend = Backend::script_tls(&certificates, |mut conn| async move {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\n\r\nhalf of it").await;
    })
    .await;
    let proxy = before(backend.at(), &format!("ca: {}", certificates.ca()));
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    let mut answer = client.head().await.unwrap();
    client.body(&mut answer).await;
    assert_eq!(answer.text(), "half of it");
    assert!(!answer.whole);
}

#[tokio::test]
async fn a_websocket_goes_over_http_1_though_the_endpoint_would_choose_http_2() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let backend = Backend::choosing_h2(&certificates, |mut conn| async move {
        conn.head().await;
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        )
        .await;
        let said = conn.wire().exactly(5).await;
        conn.send(said).await;
        conn.closed().await;
    })
    .await;
    let proxy = before(backend.at(), &format!("ca: {}", certificates.ca()));
    let mut client = proxy.plain().await;
    let answer = client.ask("GET / HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n\r\n").await;
    assert_eq!(answer.status, 101);
    client.send("hello").await;
    assert_eq!(within(client.wire().exactly(5)).await, b"hello");
}
