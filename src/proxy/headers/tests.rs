use super::*;

fn head(
    version: Version,
    fields: &[(&str, &str)],
    change: impl FnOnce(&mut Outgoing<'_>),
) -> String {
    let mut request = Request::builder()
        .version(version)
        .uri("/a?b=%2F")
        .method("GET");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let parts = request.body(()).unwrap().into_parts().0;
    let origin = Origin {
        client: [9, 9, 9, 9].into(),
        chain: None,
        secure: true,
        host: None,
        prefix: None,
        trusted: false,
    };
    let mut outgoing = Outgoing {
        parts: &parts,
        path: None,
        prefix: None,
        host: "a.com",
        asked: "a.com",
        origin: &origin,
        request_id: "id",
        via: "hostmux-1",
        framing: Framing::Length(0),
        expects_continue: false,
        upgrades: false,
    };
    change(&mut outgoing);
    let text = String::from_utf8(request_head(&outgoing)).unwrap();
    let ours = text.find("x-forwarded-for").unwrap();
    let end = text.find("x-request-id").unwrap();
    format!("{}{}", &text[..ours], &text[end..]).replace("\r\n", "|")
}

#[test]
fn what_is_the_clients_goes_on_and_what_is_the_connections_does_not() {
    let fields = [
        ("host", "a.com"),
        ("accept", "*/*"),
        ("connection", "keep-alive, X-Hop"),
        ("connection", "X-Forwarded-For, X-Other"),
        ("x-hop", "1"),
        ("x-other", "1"),
        ("keep-alive", "5"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "theirs"),
        ("accept", "text/html"),
    ];
    assert_eq!(
        head(Version::HTTP_11, &fields, |_| {}),
        "GET /a?b=%2F HTTP/1.1|host: a.com|accept: */*|accept: text/html|x-request-id: id|via: 1.1 hostmux-1||",
    );
}

#[test]
fn http_2_is_told_the_same_without_the_connection() {
    let parts = Request::builder()
        .uri("/a?b")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("te", "gzip, trailers")
        .header("via", "1.0 a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let origin = Origin {
        client: "2001:db8::1".parse().unwrap(),
        chain: None,
        secure: true,
        host: None,
        prefix: None,
        trusted: false,
    };
    let outgoing = Outgoing {
        parts: &parts,
        path: None,
        prefix: None,
        host: "a.com:81",
        asked: "a.com:81",
        origin: &origin,
        request_id: "id",
        via: "hostmux-1",
        framing: Framing::Chunked,
        expects_continue: true,
        upgrades: false,
    };
    let request = request_fields(&outgoing, Scheme::HTTPS).unwrap();
    assert_eq!(request.uri(), "https://a.com:81/a?b");
    let mut fields: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort_unstable();
    let want = [
        "cookie: a=1",
        "cookie: b=2",
        "expect: 100-continue",
        "forwarded: for=\"[2001:db8::1]\";host=\"a.com:81\";proto=https",
        "te: trailers",
        "via: 1.0 a, 1.1 hostmux-1",
        "x-forwarded-for: 2001:db8::1",
        "x-forwarded-host: a.com:81",
        "x-forwarded-port: 81",
        "x-forwarded-proto: https",
        "x-real-ip: 2001:db8::1",
        "x-request-id: id",
    ];
    assert_eq!(fields, want);
}

#[test]
fn a_loop_is_seen_behind_any_byte() {
    let check = |via: &str, want: bool| {
        let mut headers = HeaderMap::new();
        headers.append("via", via.parse().unwrap());
        assert_eq!(has_passed(&headers, "hostmux-1"), want, "{via}");
    };
    check("1.1 front, 1.1 hostmux-1", true);
    check("1.1 hostmux-2", false);
    // A client whose `Via` is no text had requests go round and round once.
    check("\u{e9}, 1.1 hostmux-1", true);
}

#[test]
fn cookies_are_one_line() {
    let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")];
    let got = head(Version::HTTP_2, &fields, |_| {});
    assert!(got.contains("|x: y|cookie: a=1; b=2|"), "{got}");
    assert!(got.ends_with("via: 2 hostmux-1||"), "{got}");
}

#[test]
fn a_body_is_framed_by_us() {
    let check = |framing: Framing, want: &str| {
        let fields = [("content-length", "7"), ("transfer-encoding", "chunked")];
        let got = head(Version::HTTP_11, &fields, |outgoing| {
            outgoing.framing = framing
        });
        assert!(got.contains(want), "{got}");
    };
    check(
        Framing::Length(7),
        "|host: a.com|content-length: 7|x-request-id",
    );
    check(
        Framing::Length(u64::MAX),
        "|content-length: 18446744073709551615|",
    );
    check(
        Framing::Chunked,
        "|host: a.com|transfer-encoding: chunked|x-request-id",
    );
    check(Framing::Length(0), "|host: a.com|x-request-id");
}

#[test]
fn te_trailers_and_a_websocket_go_on() {
    let got = head(Version::HTTP_2, &[("te", "trailers")], |_| {});
    assert!(got.contains("|te: trailers|connection: te|"), "{got}");
    let got = head(Version::HTTP_11, &[("upgrade", "websocket")], |outgoing| {
        outgoing.upgrades = true
    });
    assert!(
        got.contains("|connection: upgrade|upgrade: websocket|"),
        "{got}"
    );
}

#[test]
fn hops_before_us_are_kept() {
    let got = head(
        Version::HTTP_11,
        &[("via", "1.0 a"), ("via", "1.1 b")],
        |_| {},
    );
    assert!(got.contains("|via: 1.0 a, 1.1 b, 1.1 hostmux-1|"), "{got}");
}

#[test]
fn trailers_carry_no_framing_and_no_credentials() {
    let mut trailers = HeaderMap::new();
    for name in [
        "x-sum",
        "content-length",
        "host",
        "authorization",
        "x-forwarded-for",
        "a_b",
    ] {
        trailers.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            "1".parse().unwrap(),
        );
    }
    clean_trailers(&mut trailers);
    assert_eq!(
        trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
        ["x-sum"]
    );
}
