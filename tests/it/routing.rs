//! Which site answers, by name (RFC 9110 §7.2), and which connection may ask for it.

use crate::harness::{Backend, Proxy, get};

/// `a.test`, `*.b.test`, `[::1]` and a fallback, each before an endpoint that says its name.
async fn house() -> (Proxy, Vec<Backend>) {
    let mut backends = Vec::new();
    let mut yaml = String::from("defaults: { plain_http: serve }\nsites:\n");
    for name in [
        "a.test",
        "\"*.b.test\"",
        "x.b.test",
        "\"[::1]\"",
        "127.0.0.1",
        "bücher.test",
    ] {
        let backend =
            Backend::answering(crate::harness::ok(name.trim_matches('"').as_bytes())).await;
        yaml.push_str(&format!("  {name}: {}\n", backend.at()));
        backends.push(backend);
    }
    let fallback = Backend::answering(crate::harness::ok(b"fallback")).await;
    yaml.push_str(&format!("fallback: {}\n", fallback.at()));
    backends.push(fallback);
    (Proxy::start(&yaml), backends)
}

#[tokio::test]
async fn a_name_has_one_site_however_it_is_spelled() {
    let (proxy, _backends) = house().await;
    for (host, want) in [
        ("a.test", "a.test"),
        ("A.TEST", "a.test"),
        ("a.test.", "a.test"),
        ("A.Test.:8443", "a.test"),
        ("a.test:", "a.test"),
        ("one.b.test", "*.b.test"),
        ("x.b.test", "x.b.test"),
        ("two.one.b.test", "fallback"),
        ("b.test", "fallback"),
        ("unknown.test", "fallback"),
        ("[::1]", "[::1]"),
        ("[0:0::1]:443", "[::1]"),
        ("127.0.0.1:9", "127.0.0.1"),
        ("xn--bcher-kva.test", "bücher.test"),
    ] {
        let answer = proxy.plain().await.get(host, "/").await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, want.as_bytes()),
            "{host}"
        );
        let absolute = format!("GET http://{host}/ HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(
            proxy.plain().await.ask(absolute).await.body,
            want.as_bytes(),
            "absolute {host}"
        );
    }
}

#[tokio::test]
async fn h1_and_h2_over_tls_find_the_same_site() {
    let (proxy, _backends) = house().await;
    for (name, want) in [
        ("a.test", "a.test"),
        ("one.b.test", "*.b.test"),
        ("no.test", "fallback"),
    ] {
        assert_eq!(proxy.get(name, "/").await.text(), want);
        assert_eq!(proxy.h2(name).await.get(name, "/").await.text(), want);
        assert_eq!(
            proxy
                .h2(name)
                .await
                .get(&format!("{name}:8443"), "/")
                .await
                .text(),
            want
        );
    }
}

#[tokio::test]
async fn an_unknown_name_without_a_fallback_is_a_404_that_says_so() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!("sites:\n  a.test: {}\n", backend.at()));
    let answer = proxy.get("no.test", "/").await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.text().contains("hostmux") && answer.text().contains("no.test"),
        "{}",
        answer.text()
    );
    assert!(
        !answer.text().contains("a.test"),
        "no list of sites for strangers"
    );
    assert_eq!(
        answer.field("proxy-status").unwrap(),
        "hostmux; error=destination_not_found"
    );
    assert_eq!(
        proxy.h2("no.test").await.get("no.test", "/").await.status,
        404
    );
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_connection_serves_the_names_of_its_certificate_and_no_other() {
    let (proxy, backends) = house().await;
    let mut h2 = proxy.h2("a.test").await;
    let answer = h2.get("one.b.test", "/").await;
    assert_eq!((answer.status, answer.whole), (421, true));
    assert_eq!(
        h2.get("a.test", "/").await.status,
        200,
        "the connection goes on for its own name"
    );
    let answer = h2.get("no.test", "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "fallback"));
    let mut h1 = proxy.tls("a.test").await;
    assert_eq!(h1.get("one.b.test", "/").await.status, 421);
    assert!(backends[1].requests().is_empty());
}

#[tokio::test]
async fn plain_http_is_sent_to_https_with_path_query_and_port() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!("sites:\n  a.test: {}\n", backend.at()));
    for (host, target, want) in [
        ("a.test", "/x/y%2Fz?q=1&r=%20", "/x/y%2Fz?q=1&r=%20"),
        ("A.TEST:80", "/", "/"),
        ("a.test", "/?", "/?"),
    ] {
        let answer = proxy.plain().await.ask(get(host, target)).await;
        let location = format!("https://a.test:{}{want}", proxy.https.port());
        assert_eq!(
            (answer.status, answer.field("location")),
            (308, Some(location))
        );
        assert!(answer.field("x-request-id").is_some());
    }
    let answer = proxy
        .plain()
        .await
        .ask("OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .await;
    assert_eq!(
        answer.field("location").unwrap(),
        format!("https://a.test:{}/", proxy.https.port())
    );
    let answer = proxy
        .plain()
        .await
        .ask("POST /p HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    assert_eq!(answer.status, 308);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn plain_http_is_served_or_refused_where_a_site_says_so() {
    let backend = Backend::echo().await;
    let at = backend.at();
    let proxy = Proxy::start(&format!(
        "sites:\n  s.test: {{ upstream: {at}, plain_http: serve }}\n  r.test: {{ upstream: {at}, plain_http: refuse }}\n"
    ));
    assert_eq!(proxy.plain().await.get("s.test", "/").await.status, 200);
    assert_eq!(proxy.plain().await.get("r.test", "/").await.status, 403);
    assert_eq!(proxy.get("r.test", "/").await.status, 200);
    assert_eq!(backend.requests().len(), 2);
}

#[tokio::test]
async fn a_redirect_site_sends_everything_elsewhere() {
    let proxy = Proxy::start(
        "sites:\n  old.test: { redirect: \"https://new.test{path}\" }\n  one.test: { redirect: \"https://new.test/\" }\n",
    );
    let answer = proxy.get("old.test", "/a/b?c=d%20e").await;
    assert_eq!(
        answer.field("location").unwrap(),
        "https://new.test/a/b?c=d%20e"
    );
    assert_eq!(answer.status, 308);
    let answer = proxy
        .tls("old.test")
        .await
        .ask("OPTIONS * HTTP/1.1\r\nhost: old.test\r\n\r\n")
        .await;
    assert_eq!(answer.field("location").unwrap(), "https://new.test/");
    let answer = proxy.get("old.test", "//other.test/x").await;
    assert_eq!(
        answer.field("location").unwrap(),
        "https://new.test//other.test/x"
    );
    let answer = proxy.h2("one.test").await.get("one.test", "/a/b").await;
    assert_eq!(
        (answer.status, answer.field("location").unwrap().as_str()),
        (308, "https://new.test/")
    );
}

#[tokio::test]
async fn hsts_is_sent_over_tls_where_asked() {
    let backend = Backend::echo().await;
    let at = backend.at();
    let proxy = Proxy::start(&format!(
        "sites:\n  on.test: {{ upstream: {at}, hsts: on, plain_http: serve }}\n  off.test: {at}\n  \
         long.test: {{ upstream: {at}, hsts: {{ max_age: 1h, include_subdomains: on, preload: on }} }}\n"
    ));
    let hsts = |answer: crate::harness::Answer| answer.field("strict-transport-security");
    assert_eq!(
        hsts(proxy.get("on.test", "/").await).unwrap(),
        "max-age=31536000"
    );
    assert_eq!(
        hsts(proxy.get("long.test", "/").await).unwrap(),
        "max-age=3600; includeSubDomains; preload"
    );
    assert_eq!(hsts(proxy.get("off.test", "/").await), None);
    assert_eq!(hsts(proxy.plain().await.get("on.test", "/").await), None);
}
