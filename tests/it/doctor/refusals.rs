//! Servers that refuse the site's name, byte for byte as they do, and the
//! setting that lets it in.

use super::Patient;
use crate::harness::{Backend, Conn, ok};

const VITE: &str = "HTTP/1.1 403 Forbidden\r\nVary: Origin\r\nContent-Type: text/plain\r\n\
    Date: Sat, 21 Nov 2026 19:50:27 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
    Transfer-Encoding: chunked\r\n\r\n8b\r\n\
    Blocked request. This host (\"app.xyz.com\") is not allowed.\n\
    To allow this host, add \"app.xyz.com\" to `server.allowedHosts` in vite.config.js.\r\n0\r\n\r\n";
const WEBPACK_5: &str = "HTTP/1.1 403 Forbidden\r\nX-Powered-By: Express\r\n\
    Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 19\r\n\r\nInvalid Host header";
const WEBPACK_4: &str = "HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: text/html; charset=utf-8\r\n\
    Content-Length: 19\r\nETag: W/\"13-OxsTL6IB85fkJxv9HO8uum0slCI\"\r\n\r\nInvalid Host header";
const DJANGO: &str = "HTTP/1.1 400 Bad Request\r\nServer: WSGIServer/0.2 CPython/3.11.7\r\n\
    Content-Type: text/html; charset=utf-8\r\nConnection: close\r\n\r\n<!DOCTYPE html>\n<html lang=\"en\">\n\
    <head>\n  <title>DisallowedHost\n          at /</title>\n</head>\n<body>\n  \
    <pre class=\"exception_value\">Invalid HTTP_HOST header: &#x27;app.xyz.com&#x27;. \
    You may need to add &#x27;app.xyz.com&#x27; to ALLOWED_HOSTS.</pre>\n";
const DJANGO_WITHOUT_DEBUG: &str = "HTTP/1.1 400 Bad Request\r\nServer: WSGIServer/0.2 CPython/3.11.7\r\n\
    Content-Type: text/html; charset=utf-8\r\nConnection: close\r\n\r\n\n<!doctype html>\n<html lang=\"en\">\n\
    <head>\n  <title>Bad Request (400)</title>\n</head>\n<body>\n  <h1>Bad Request (400)</h1><p></p>\n</body>\n</html>\n";
const RAILS: &str = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html; charset=UTF-8\r\nConnection: close\r\n\r\n\
    <header role=\"banner\">\n  <h1>Blocked hosts: app.xyz.com</h1>\n</header>\n<main role=\"main\" id=\"container\">\n  \
    <pre>\n    config.hosts &lt;&lt; \"app.xyz.com\"\n  </pre>\n</main>\n";
const JUPYTER: &str = "HTTP/1.1 403 Forbidden\r\nServer: TornadoServer/6.6.1\r\nContent-Type: text/html\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Content-Security-Policy: frame-ancestors 'self'; report-uri /api/security/csp-report\r\n\
    Content-Length: 133\r\n\r\n<!DOCTYPE HTML>\n<html>\n\n<head>\n\n    <meta charset=\"utf-8\">\n\n    \
    <title>Jupyter Server</title>\n</head>\n<h1>403 : Forbidden</h1></html>";
const STARLETTE: &str = "HTTP/1.1 400 Bad Request\r\nserver: uvicorn\r\ncontent-length: 19\r\n\
    content-type: text/plain; charset=utf-8\r\n\r\nInvalid host header";

/// Refuses all names but its own address, as most do. `strict`: a proxy's
/// word for the name counts, too.
async fn refusing(answer: &'static str, strict: bool) -> Backend {
    Backend::script(move |mut conn: Conn| async move {
        while let Some(request) = conn.request().await {
            let is_own = |name: &str| {
                let value = request.field(name).unwrap_or_default();
                value.starts_with("localhost:")
            };
            match is_own("host") && (!strict || is_own("x-forwarded-host")) {
                true => conn.send(ok(b"hello")).await,
                false => conn.send(answer).await,
            }
        }
    })
    .await
}

/// What mends it that a server refuses `a.localhost`.
async fn refused(answer: &'static str, strict: bool, who: &str) -> String {
    let backend = refusing(answer, strict).await;
    let report = Patient::before(backend.at()).examined().await;
    let words = format!(
        "a.localhost: localhost:{}{who} refuses the name a.localhost",
        backend.at()
    );
    let fixes = report.finds("endpoints", "error", &words);
    assert_eq!(fixes.contains("`host: endpoint`"), !strict, "{fixes}");
    fixes
}

#[tokio::test]
async fn vite() {
    let fixes = refused(VITE, false, " (Vite)").await;
    let setting = "in vite.config.js: `server: { allowedHosts: ['a.localhost'] }`";
    assert!(fixes.starts_with(setting), "{fixes}");
}

#[tokio::test]
async fn webpack() {
    let setting = "in webpack.config.js: `devServer: { allowedHosts: ['a.localhost'] }`";
    for answer in [WEBPACK_5, WEBPACK_4] {
        let fixes = refused(answer, false, " (webpack-dev-server)").await;
        assert!(fixes.starts_with(setting), "{fixes}");
    }
}

#[tokio::test]
async fn django() {
    let setting = "in settings.py: `ALLOWED_HOSTS += ['a.localhost', 'localhost']`";
    for answer in [DJANGO, DJANGO_WITHOUT_DEBUG] {
        let fixes = refused(answer, false, " (Django)").await;
        assert!(fixes.starts_with(setting), "{fixes}");
    }
}

/// It looks at `X-Forwarded-Host` as well: `host: endpoint` is no way out.
#[tokio::test]
async fn rails() {
    let fixes = refused(RAILS, true, " (Rails)").await;
    let setting = "in config/environments/development.rb: `config.hosts << \"a.localhost\"`";
    assert_eq!(fixes, setting);
}

#[tokio::test]
async fn jupyter() {
    let fixes = refused(JUPYTER, false, " (Jupyter)").await;
    let setting = "`c.ServerApp.local_hostnames = ['localhost', 'a.localhost']`";
    assert!(fixes.contains(setting), "{fixes}");
}

#[tokio::test]
async fn starlette() {
    let fixes = refused(STARLETTE, false, " (Starlette)").await;
    assert!(fixes.contains("`allowed_hosts=['a.localhost']`"), "{fixes}");
}

#[tokio::test]
async fn one_that_says_nothing_of_itself() {
    let answer = "HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n";
    let fixes = refused(answer, false, "").await;
    assert!(fixes.starts_with("`host: endpoint`"), "{fixes}");
}

/// Who needs a password refuses everybody: that is none of the name's.
#[tokio::test]
async fn one_that_refuses_everybody() {
    let backend = Backend::answering("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n").await;
    let report = Patient::before(backend.at()).examined().await;
    report.finds("endpoints", "ok", "answers 403");
}

/// With hostmux's own way out all is well.
#[tokio::test]
async fn a_site_that_shows_the_endpoints_own_address() {
    let backend = refusing(VITE, false).await;
    let sites = format!(
        "sites: {{ a.localhost: {{ upstream: {}, host: endpoint }} }}\n",
        backend.at()
    );
    let report = Patient::with(&sites).examined().await;
    report.finds("endpoints", "ok", "answers 200");
}

#[tokio::test]
async fn a_wildcard_is_allowed_as_one() {
    let backend = refusing(VITE, false).await;
    let sites = format!("sites: {{ \"*.p.localhost\": {} }}\n", backend.at());
    let report = Patient::with(&sites).examined().await;
    let fixes = report.finds("endpoints", "error", "refuses the name *.p.localhost");
    assert!(fixes.contains("allowedHosts: ['.p.localhost']"), "{fixes}");
    let asked = backend.requests();
    assert!(asked.iter().any(|request| {
        request
            .field("host")
            .unwrap()
            .starts_with("hostmux-doctor.p.localhost")
    }));
}
