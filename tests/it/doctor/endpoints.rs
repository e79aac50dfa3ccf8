//! Each endpoint: who listens, and what is spoken.

use super::Patient;
use crate::harness::{Backend, Certificates, Conn, H2Backend};

/// Finds something wrong with `a.localhost` before an endpoint; what mends it.
async fn wrong(endpoint: &str, severity: &str, words: &str) -> String {
    let report = Patient::before(endpoint).examined().await;
    report.finds("endpoints", severity, words)
}

#[tokio::test]
async fn one_that_answers_is_asked_as_a_visitor_would() {
    let backend = Backend::echo().await;
    let yaml = format!(
        "listen: {{ https: \"127.0.0.1:8443\", http: off }}\nsites:\n  a.localhost:\n    upstream: {0}\n    routes:\n      /api: {0}\n      /own: {{ upstream: {0}, strip_prefix: true, host: endpoint }}\n",
        backend.at()
    );
    let report = Patient::whole(&yaml).examined().await;
    assert_eq!(report.of_check("endpoints").len(), 3, "{:#?}", report.all);
    report.finds("endpoints", "ok", "a.localhost/api: localhost:");
    let mut lines: Vec<String> = backend
        .requests()
        .iter()
        .map(|request| {
            let line = request.head.split(|byte| *byte == b'\r').next().unwrap();
            assert_eq!(
                request.field("x-forwarded-host").unwrap(),
                "a.localhost:8443"
            );
            assert_eq!(request.field("x-forwarded-proto").unwrap(), "https");
            let line = String::from_utf8_lossy(line).into_owned();
            format!("{line} {}", request.field("host").unwrap())
        })
        .collect();
    lines.sort();
    let own = format!("GET / HTTP/1.1 localhost:{}", backend.at());
    let mut want = [
        "GET / HTTP/1.1 a.localhost:8443",
        "GET /api HTTP/1.1 a.localhost:8443",
        &own,
    ];
    want.sort_unstable();
    assert_eq!(lines, want);
}

#[tokio::test]
async fn nobody_listens() {
    let gone = Backend::refusing();
    let fix = wrong(&gone.at(), "error", "nobody listens there").await;
    assert!(
        fix.contains("start the server") && fix.contains("`ss -ltn`"),
        "{fix}"
    );
    let fix = wrong(
        "unix:/nonexistent/gone.sock",
        "error",
        "nobody listens on the socket",
    )
    .await;
    assert!(fix.contains("start the server"), "{fix}");
}

#[tokio::test]
async fn one_of_several_is_less_grave() {
    let (gone, backend) = (Backend::refusing(), Backend::echo().await);
    let sites = format!(
        "sites: {{ a.localhost: [{}, {}] }}\n",
        gone.at(),
        backend.at()
    );
    let report = Patient::with(&sites).examined().await;
    report.finds("endpoints", "warning", "nobody listens there");
    report.finds("endpoints", "ok", "answers 200");
}

#[tokio::test]
async fn one_that_listens_on_the_other_family() {
    let backend = Backend::echo_v6().await;
    let port = backend.at();
    let asked = format!("127.0.0.1:{port}");
    let other = format!("nobody listens there, but somebody does on [::1]:{port}");
    let fix = wrong(&asked, "error", &other).await;
    assert!(
        fix.contains(&format!("`{port}` in sites.yaml, line 2")),
        "{fix}"
    );
    // A bare port tries both: all is well, and it is told.
    wrong(port, "ok", "(it listens on ::1 alone)").await;
}

#[tokio::test]
async fn one_that_speaks_tls_and_is_asked_without() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let backend = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    let fix = wrong(backend.at(), "error", "speaks TLS, and is asked without").await;
    let edit = format!("`https://{}` in sites.yaml, line 2", backend.at());
    assert!(fix.contains(&edit), "{fix}");
    // What nginx says of it, in HTTP.
    let said = "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nContent-Length: 62\r\nConnection: close\r\n\r\n\
                <center>The plain HTTP request was sent to HTTPS port</center>";
    let nginx = Backend::answering(said).await;
    wrong(nginx.at(), "error", "speaks TLS, and is asked without").await;
}

#[tokio::test]
async fn one_that_speaks_plain_http_and_is_asked_with_tls() {
    let backend = Backend::echo().await;
    let asked = format!("https://{}", backend.at());
    let fix = wrong(&asked, "error", "speaks plain HTTP, and is asked with TLS").await;
    assert!(
        fix.contains(&format!("`{}` in sites.yaml", backend.at())),
        "{fix}"
    );
}

#[tokio::test]
async fn one_whose_certificate_nobody_vouches_for() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let backend = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    let asked = format!("https://{}", backend.at());
    let fix = wrong(
        &asked,
        "error",
        "the handshake failed: invalid peer certificate",
    )
    .await;
    assert!(fix.contains("tls: { ca: FILE }"), "{fix}");
    let sites = format!(
        "sites: {{ a.localhost: {{ upstream: {{ endpoints: \"{asked}\", tls: {{ ca: \"{}\" }} }} }} }}\n",
        certificates.ca()
    );
    let report = Patient::with(&sites).examined().await;
    report.finds("endpoints", "ok", "answers 200");
}

#[tokio::test]
async fn http_2_where_it_is_meant_and_where_not() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let alone = Backend::echo_tls(&certificates, &["h2"]).await;
    let sites = format!(
        "sites: {{ a.localhost: {{ upstream: {{ endpoints: \"https://{}\", tls: {{ ca: \"{}\" }} }} }} }}\n",
        alone.at(),
        certificates.ca()
    );
    let report = Patient::with(&sites).examined().await;
    report.finds("endpoints", "ok", "speaks HTTP/2");

    let backend = H2Backend::echo().await;
    wrong(&backend.at(), "ok", "speaks HTTP/2").await;
    let at = backend.at();
    let port = at.strip_prefix("h2c://").unwrap();
    let fix = wrong(port, "error", "speaks HTTP/2 alone").await;
    assert!(fix.contains(&format!("`h2c://{port}`")), "{fix}");

    let backend = Backend::answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let asked = format!("h2c://{}", backend.at());
    let fix = wrong(&asked, "error", "does not speak HTTP/2").await;
    assert!(fix.contains(&format!("`{}`", backend.at())), "{fix}");
}

#[tokio::test]
async fn one_that_speaks_no_http() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.send("SSH-2.0-OpenSSH_9.2\r\n").await;
        conn.head().await;
    })
    .await;
    let fix = wrong(
        backend.at(),
        "error",
        "does not speak HTTP: it says `SSH-2.0-OpenSSH",
    )
    .await;
    assert!(fix.contains("another port"), "{fix}");
}

#[tokio::test]
async fn one_that_says_nothing() {
    let silent = Backend::stalling().await;
    let fix = wrong(silent.at(), "warning", "did not answer for 5s").await;
    assert!(fix.contains("its own log"), "{fix}");
    let closing = Backend::script(|mut conn: Conn| async move {
        conn.head().await;
    })
    .await;
    wrong(
        closing.at(),
        "error",
        "closes the connection without an answer",
    )
    .await;
}

#[tokio::test]
async fn one_that_fails() {
    let backend = Backend::answering("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n").await;
    let fix = wrong(backend.at(), "warning", "answers 500 to a GET").await;
    assert!(fix.contains("its own log"), "{fix}");
}

#[tokio::test]
async fn a_name_that_leads_to_no_endpoint() {
    let fix = wrong("nothing.invalid:80", "error", "leads to no endpoint").await;
    assert!(
        fix.contains("correct the name in sites.yaml, line 2"),
        "{fix}"
    );
}

#[tokio::test]
async fn an_answer_without_an_end_is_read_no_further_than_it_has_to_be() {
    let backend = Backend::script(|mut conn: Conn| async move {
        conn.head().await;
        let flood = vec![b'x'; 64 * 1024];
        conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while conn.wire().try_send(&flood).await.is_ok() {}
    })
    .await;
    wrong(backend.at(), "ok", "answers 200").await;
}
