//! How a failure looks: to browsers, programs and strangers.

use crate::harness::{Answer, Backend, Proxy};

const BYTES_MAX: usize = 4096;

/// A site whose endpoint is down, behind a proxy that names its clients.
fn house() -> (Proxy, crate::harness::Refusing) {
    let down = Backend::refusing();
    let yaml = format!(
        "trusted_proxies: [127.0.0.1]\ndefaults: {{ plain_http: serve }}\nsites:\n  \
         a.test: {{ upstream: {{ endpoints: {}, wait_for_endpoint: 0s }} }}\n",
        down.at()
    );
    (Proxy::start(&yaml), down)
}

/// A GET with these field lines, from this machine.
async fn near(proxy: &Proxy, lines: &str) -> Answer {
    let lines = lines.replace('\n', "\r\n");
    proxy
        .plain()
        .await
        .ask(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{lines}\r\n\r\n"))
        .await
}

/// The same from far away.
async fn far(proxy: &Proxy, lines: &str) -> Answer {
    near(proxy, &format!("{lines}\nx-forwarded-for: 203.0.113.9")).await
}

const BROWSER: &str = "accept: text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8";

/// What all of them have, whatever they look like.
fn check(answer: &Answer, content_type: &str) {
    assert_eq!(answer.field("content-type").unwrap(), content_type);
    assert_eq!(answer.field("cache-control").unwrap(), "no-store");
    assert_eq!(
        answer.field("proxy-status").unwrap(),
        "hostmux; error=connection_refused"
    );
    assert!(answer.body.len() <= BYTES_MAX, "{}", answer.text());
    assert!(
        !answer.text().contains("://"),
        "nothing is loaded from outside: {}",
        answer.text()
    );
}

#[tokio::test]
async fn a_browser_gets_a_page() {
    let (proxy, down) = house();
    let page = near(&proxy, BROWSER).await;
    check(&page, "text/html; charset=utf-8");
    let text = page.text();
    assert!(
        text.starts_with("<!doctype html>") && text.contains("502 Bad Gateway"),
        "{text}"
    );
    assert!(
        text.contains("a.test") && text.contains(&page.field("x-request-id").unwrap()),
        "{text}"
    );
    assert!(
        text.contains(&format!("localhost:{}", down.at())),
        "what was dialled: {text}"
    );
    assert!(text.contains("sites.yaml"), "what to do: {text}");
    assert!(
        text.contains("http-equiv=\"refresh\""),
        "a page of what is starting reloads itself"
    );
}

#[tokio::test]
async fn a_program_gets_a_problem() {
    let (proxy, down) = house();
    for accept in [
        "application/json",
        "application/problem+json",
        "application/vnd.api+json, */*",
    ] {
        let answer = near(&proxy, &format!("accept: {accept}")).await;
        check(&answer, "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (&problem["status"], &problem["title"]),
            (&502.into(), &"Bad Gateway".into())
        );
        assert_eq!(problem["reason"], "connection_refused");
        assert_eq!(problem["request_id"], answer.field("x-request-id").unwrap());
        assert!(problem["cause"].as_str().unwrap().contains(&down.at()));
    }
}

#[tokio::test]
async fn everyone_else_gets_text() {
    let (proxy, down) = house();
    for accept in ["x: y", "accept: */*", "accept: image/*"] {
        let answer = near(&proxy, accept).await;
        check(&answer, "text/plain; charset=utf-8");
        assert!(
            answer.text().contains(&down.at()) && answer.text().starts_with("502 Bad Gateway\n")
        );
    }
}

#[tokio::test]
async fn a_client_of_grpc_gets_a_status_of_its_own() {
    let (proxy, _down) = house();
    let mut h2 = proxy.h2("a.test").await;
    let request = http::Request::post("https://a.test/pkg.Service/Method")
        .header("content-type", "application/grpc+proto");
    let answer = h2
        .ask(request.body(b"\0\0\0\0\0".to_vec()).unwrap(), None)
        .await
        .unwrap();
    check(&answer, "application/grpc");
    assert_eq!(
        (answer.status, answer.field("grpc-status").unwrap().as_str()),
        (200, "14")
    );
    assert_eq!(
        answer.field("grpc-message").unwrap(),
        "The server behind this site is not running."
    );
    assert!(answer.body.is_empty() && answer.whole);
}

#[tokio::test]
async fn a_stranger_is_told_what_happened_and_no_more() {
    let (proxy, down) = house();
    for accept in [BROWSER, "accept: application/json", "accept: */*"] {
        let answer = far(&proxy, accept).await;
        let text = answer.text();
        assert_eq!(answer.status, 502);
        assert!(
            text.contains("The server behind this site is not running."),
            "{text}"
        );
        assert!(
            text.contains(&answer.field("x-request-id").unwrap()),
            "{text}"
        );
        for secret in [
            down.at().as_str(),
            "localhost",
            "sites.yaml",
            "refused the connection",
            "127.0.0.1",
        ] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    // One that only says so is not from this machine.
    let lie = far(&proxy, "x-forwarded-for: 127.0.0.1").await;
    assert!(!lie.text().contains(&down.at()), "{}", lie.text());
    let whole = proxy.logged(4).await.pop().unwrap();
    assert!(
        whole["detail"].as_str().unwrap().contains(&down.at()),
        "the log has everything: {whole}"
    );
}

#[tokio::test]
async fn what_a_client_wrote_is_escaped_and_clipped() {
    let (proxy, _down) = house();
    let hostile = "<script>alert('x')</script>\"&";
    let long = "<>&\"'".repeat(3000);
    for (lines, status) in [
        (format!("expect: {hostile}"), 417),
        (format!("expect: {long}"), 417),
        (format!("transfer-encoding: {hostile}, chunked"), 400),
    ] {
        let page = near(&proxy, &format!("{BROWSER}\n{lines}")).await;
        let text = page.text();
        assert_eq!(page.status, status, "{text}");
        assert!(page.body.len() <= BYTES_MAX, "{} bytes", page.body.len());
        assert!(
            !text.contains("<script") && !text.contains("\"&<"),
            "{text}"
        );
        let problem = near(&proxy, &format!("accept: application/json\n{lines}")).await;
        assert!(
            problem.body.len() <= BYTES_MAX,
            "{} bytes",
            problem.body.len()
        );
        serde_json::from_slice::<serde_json::Value>(&problem.body).unwrap();
    }
    let request =
        format!("GET / HTTP/1.1\r\nhost: {hostile}\r\n{BROWSER}\r\n\r\n").replace("\n\n", "\n");
    let page = proxy.plain().await.ask(request).await;
    assert_eq!(page.status, 400);
    assert!(!page.text().contains("<script"), "{}", page.text());
    // A name can be long, and is shown.
    let name = format!("{}.test", ["x".repeat(60).as_str(); 4].join("."));
    let request = format!(
        "GET /{} HTTP/1.1\r\nhost: {name}\r\n{BROWSER}\r\n\r\n",
        "%3Cscript%3E".repeat(1000)
    );
    let page = proxy.plain().await.ask(request).await;
    assert_eq!(page.status, 404);
    assert!(
        page.body.len() <= BYTES_MAX
            && page.text().contains(&name)
            && !page.text().contains("<script")
    );
}

#[tokio::test]
async fn every_answer_has_the_id_that_the_log_has() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!("sites:\n  a.test: {}\n", backend.at()));
    let answers = [
        proxy.get("a.test", "/").await,
        proxy.h2("a.test").await.get("a.test", "/").await,
        proxy.get("no.test", "/").await,
        proxy.plain().await.get("a.test", "/").await,
        proxy.plain().await.ask("GET / HTTP/1.1\r\n\r\n").await,
    ];
    let logged = proxy.logged(answers.len()).await;
    let mut ids: Vec<_> = logged
        .iter()
        .map(|line| line["request_id"].as_str().unwrap().to_owned())
        .collect();
    let mut sent: Vec<_> = answers
        .iter()
        .map(|answer| answer.field("x-request-id").unwrap())
        .collect();
    ids.sort();
    sent.sort();
    assert_eq!(ids, sent);
    assert!(ids.windows(2).all(|two| two[0] != two[1]));
}
