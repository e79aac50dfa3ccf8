//! Routes: parts of a site's paths, each to endpoints of its own.

use http::Request;

use crate::harness::{Answer, Backend, Conn, H2Backend, Proxy, answer, get, ok};

/// Over HTTP/1 and HTTP/2.
async fn both(proxy: &Proxy, target: &str) -> [Answer; 2] {
    let mut h2 = proxy.h2("a.test").await;
    [
        proxy.get("a.test", target).await,
        h2.get("a.test", target).await,
    ]
}

/// What the endpoint was asked for, as it echoes it.
fn target(answer: &Answer) -> String {
    let text = answer.text();
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_longest_prefix_has_a_path_by_whole_segments() {
    let [own, one, two] = [
        Backend::answering(ok(b"own")).await,
        Backend::answering(ok(b"v1")).await,
        Backend::answering(ok(b"v2")).await,
    ];
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test:\n    upstream: {}\n    routes:\n      /serviceone/v1: {{ upstream: [{}] }}\n      /serviceone/v2: {}\n      /serviceone: {}\n",
        own.at(),
        one.at(),
        two.at(),
        own.at()
    ));
    for (path, want) in [
        ("/", "own"),
        ("/serviceone/v1", "v1"),
        ("/serviceone/v1/", "v1"),
        ("/serviceone/v1/x?y", "v1"),
        ("/serviceone/v2/x", "v2"),
        ("/serviceone/v11", "own"),
        ("/SERVICEONE/V1", "own"),
        ("/servicetwo/serviceone/v1", "own"),
    ] {
        for answer in both(&proxy, path).await {
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, want),
                "{path}"
            );
        }
    }
    let asterisk = "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n";
    assert_eq!(proxy.tls("a.test").await.ask(asterisk).await.text(), "own");
}

#[tokio::test]
async fn a_stripped_prefix_is_told_and_not_seen() {
    let (h1, h2) = (Backend::echo().await, H2Backend::echo().await);
    for at in [h1.at(), &h2.at()] {
        let proxy = Proxy::start(&format!(
            "sites:\n  a.test:\n    routes:\n      /serviceone/v1: {{ upstream: \"{at}\", strip_prefix: on }}\n"
        ));
        for (sent, seen) in [
            ("/serviceone/v1", "/"),
            ("/serviceone/v1?q=/serviceone/v1", "/?q=/serviceone/v1"),
            ("/serviceone/v1/", "/"),
            ("/serviceone/v1/a%2Fb/%7e//c?", "/a%2Fb/%7e//c?"),
            ("/x/../serviceone/v1/a%20b?q", "/a%20b?q"),
            ("/serviceone/v1/../v1/a", "/a"),
            ("/serviceone/%76%31/a", "/a"),
        ] {
            let request = Request::get(format!("https://a.test{sent}"))
                .header("x-forwarded-prefix", "/evil")
                .body(Vec::new())
                .unwrap();
            let over_h2 = proxy.h2("a.test").await.ask(request, None).await.unwrap();
            let over_h1 =
                format!("GET {sent} HTTP/1.1\r\nhost: a.test\r\nx-forwarded-prefix: /evil\r\n\r\n");
            let over_h1 = proxy.tls("a.test").await.ask(over_h1).await;
            for answer in [over_h1, over_h2] {
                let text = answer.text();
                let is_seen = text.contains(&format!(" {seen} HTTP/1.1\r\n"))
                    || text.contains(&format!("a.test {seen}\n"));
                assert!(is_seen, "{sent}: {text}");
                assert!(
                    text.contains("x-forwarded-prefix: /serviceone/v1"),
                    "{text}"
                );
                assert!(!text.contains("/evil"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_trusted_proxys_prefix_stands_before_ours() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!(
        "trusted_proxies: [127.0.0.1]\nsites:\n  a.test:\n    upstream: {at}\n    routes:\n      /v1: {{ upstream: {at}, strip_prefix: on }}\n",
        at = backend.at()
    ));
    for (path, want) in [("/v1/x", "/outer/v1"), ("/x", "/outer")] {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-forwarded-prefix: /outer/\r\n\r\n");
        proxy.tls("a.test").await.ask(request).await;
        assert_eq!(backend.last().field("x-forwarded-prefix").unwrap(), want);
    }
}

/// Whatever guards a route is not passed by another spelling of its path.
#[tokio::test]
async fn a_path_has_one_route_however_it_is_spelled() {
    let (own, admin) = (Backend::echo().await, Backend::echo().await);
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test: {{ upstream: {}, routes: {{ /admin: {} }} }}\n",
        own.at(),
        admin.at()
    ));
    for (sent, seen) in [
        ("/admin/%7ex//y", "/admin/%7ex//y"),
        ("/%61dmin", "/admin"),
        ("/public/../admin?x", "/admin?x"),
        ("/public/%2e%2e/admin", "/admin"),
        ("//admin/x", "/admin/x"),
    ] {
        let asked = admin.requests().len();
        for answer in both(&proxy, sent).await {
            assert_eq!(target(&answer), seen, "{sent}");
        }
        assert_eq!(admin.requests().len(), asked + 2, "{sent}");
    }
    for sent in ["/ADMIN", "/x%2Fy;z", "/admin/../x"] {
        for answer in both(&proxy, sent).await {
            assert_eq!(answer.status, 200, "{sent}");
        }
    }
    assert_eq!(own.last().target(), "/x");
    let (asked, of_own) = (admin.requests().len(), own.requests().len());
    for sent in [
        "/admin%2fx",
        "/admin;x",
        "/x/..;/admin",
        "/admin/..%2fx",
        "/x%5c..%5cadmin",
    ] {
        for answer in both(&proxy, sent).await {
            assert_eq!(answer.status, 400, "{sent}");
            assert!(answer.text().contains("read in two ways"), "{sent}");
        }
    }
    assert_eq!(
        (admin.requests().len(), own.requests().len()),
        (asked, of_own)
    );
}

#[tokio::test]
async fn a_site_without_an_upstream_has_its_routes_alone() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test: {{ routes: {{ /a: {} }} }}\nfallback: {{ routes: {{ /b: {0} }} }}\n",
        backend.at()
    ));
    assert_eq!(proxy.get("a.test", "/a").await.status, 200);
    assert_eq!(proxy.get("b.test", "/b/x").await.status, 200);
    for (host, path) in [("a.test", "/"), ("a.test", "/ab"), ("b.test", "/a")] {
        let answer = proxy.get(host, path).await;
        assert_eq!(answer.status, 404, "{host}{path}");
        assert_eq!(
            answer.field("proxy-status").unwrap(),
            "hostmux; error=destination_not_found"
        );
    }
    let asterisk = "OPTIONS * HTTP/1.1\r\nhost: a.test\r\n\r\n";
    assert_eq!(proxy.tls("a.test").await.ask(asterisk).await.status, 404);
    assert_eq!(backend.requests().len(), 2);
}

#[tokio::test]
async fn a_route_has_its_sites_policies_but_for_its_own() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!(
        "defaults: {{ plain_http: serve, max_body: 4B }}
sites:
  a.test:
    upstream: {at}
    hsts: on
    routes:
      /uploads: {{ max_body: off, host: own.test }}
      /secret: {{ plain_http: refuse, hsts: off }}
      /old: {{ redirect: \"https://new.test{{path}}\" }}
",
        at = backend.at()
    ));
    let post = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello")
    };
    assert_eq!(proxy.plain().await.ask(post("/")).await.status, 413);
    assert_eq!(proxy.plain().await.ask(post("/secret")).await.status, 403);
    assert_eq!(
        proxy.tls("a.test").await.ask(post("/secret")).await.status,
        413
    );
    assert_eq!(
        proxy.plain().await.ask(post("/uploads/x")).await.status,
        200
    );
    assert_eq!(backend.last().field("host").unwrap(), "own.test");
    let hsts = |answer: Answer| answer.field("strict-transport-security").is_some();
    assert!(hsts(proxy.get("a.test", "/uploads").await));
    assert!(!hsts(proxy.get("a.test", "/secret").await));
    let answer = proxy.get("a.test", "/old/x?y").await;
    assert_eq!(
        (answer.status, answer.field("location")),
        (308, Some("https://new.test/old/x?y".into()))
    );
}

#[tokio::test]
async fn an_answers_own_paths_get_the_prefix_back() {
    let head = "302 Found\nlocation: /login?next=/\ncontent-location: https://a.test/x\nrefresh: 0; url=/y\n\
                set-cookie: a=1; Path=/; HttpOnly\nset-cookie: __Host-b=2; Path=/; Secure\nset-cookie: c=3\n\
                content-length: 0";
    let backend = Backend::answering(answer(head, "")).await;
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test:\n    upstream: {at}\n    routes:\n      /v1: {{ upstream: {at}, strip_prefix: on }}\n",
        at = backend.at()
    ));
    let fields = |answer: &Answer| {
        let names = ["location", "content-location", "refresh"];
        let mut all: Vec<String> = names.iter().filter_map(|name| answer.field(name)).collect();
        let cookies = answer
            .fields
            .iter()
            .filter(|(name, _)| name == "set-cookie");
        all.extend(cookies.map(|(_, value)| value.clone()));
        all.join(" | ")
    };
    for answer in both(&proxy, "/v1/x").await {
        assert_eq!(
            fields(&answer),
            "/v1/login?next=/ | https://a.test/v1/x | 0; url=/v1/y | \
             a=1; Path=/v1; HttpOnly | __Host-b=2; Path=/; Secure | c=3"
        );
    }
    for answer in both(&proxy, "/x").await {
        assert!(
            fields(&answer)
                .starts_with("/login?next=/ | https://a.test/x | 0; url=/y | a=1; Path=/;")
        );
    }
}

#[tokio::test]
async fn a_websocket_passes_through_a_stripped_route() {
    let backend = Backend::script(|mut conn: Conn| async move {
        let request = conn.request().await.unwrap();
        assert_eq!(request.first_line(), "GET /chat?x HTTP/1.1");
        assert_eq!(request.field("x-forwarded-prefix").unwrap(), "/ws");
        conn.send(answer(
            "101 Switching Protocols\nupgrade: websocket\nconnection: upgrade",
            "",
        ))
        .await;
        while let Some(word) = conn.wire().up_to(b";").await {
            conn.send(word).await;
        }
    })
    .await;
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test: {{ routes: {{ /ws: {{ upstream: {}, strip_prefix: on }} }} }}\n",
        backend.at()
    ));
    let mut client = proxy.tls("a.test").await;
    let handshake = get("a.test", "/ws/chat?x").replace(
        "host:",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nhost:",
    );
    assert_eq!(client.ask(handshake).await.status, 101);
    client.send("one;").await;
    assert_eq!(client.wire().exactly(4).await, b"one;");
}

#[tokio::test]
async fn an_access_line_tells_the_route() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test:\n    upstream: {at}\n    routes:\n      /v1: {{ upstream: {at}, strip_prefix: on }}\n",
        at = backend.at()
    ));
    proxy.get("a.test", "/x").await;
    proxy.get("a.test", "/v1/x").await;
    let lines = proxy.logged(2).await;
    assert_eq!(lines[0].get("route"), None);
    assert_eq!(
        (&lines[1]["route"], &lines[1]["path"]),
        (&"/v1".into(), &"/v1/x".into())
    );
}
