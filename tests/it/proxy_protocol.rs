//! `listen.proxy_protocol_from`: clients named by a proxy before us.

use std::net::{IpAddr, Ipv6Addr};

use crate::harness::{Backend, Proxy, get, ok};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 127.0.0.1 56324 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A site before an endpoint, and a proxy on this machine before all.
fn behind_a_proxy(backend: &str, more: &str) -> Proxy {
    Proxy::start(&format!(
        "listen: {{ proxy_protocol_from: 127.0.0.1 }}\n{more}\n\
         sites:\n  a.test: {{ upstream: {{ endpoints: {backend}, wait_for_endpoint: 0s }}, plain_http: serve }}\n"
    ))
}

/// A header of version 2: its command, the client's address, and TLVs.
fn v2(command: u8, source: &str, tlvs: &[u8]) -> Vec<u8> {
    let (family, addresses) = match source.parse().unwrap() {
        IpAddr::V4(source) => (0x11, [source.octets(), [127, 0, 0, 1]].concat()),
        IpAddr::V6(source) => (
            0x21,
            [source.octets(), Ipv6Addr::LOCALHOST.octets()].concat(),
        ),
    };
    let body = [&addresses[..], &[0xdc, 0x04, 1, 187], tlvs].concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length[..], &body].concat()
}

#[tokio::test]
async fn the_client_is_the_one_the_header_names() {
    let backend = Backend::answering(ok(b"ok")).await;
    let proxy = behind_a_proxy(backend.at(), "");
    let cases: [(&[u8], &str); 9] = [
        (V1, "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n", "2001:db8::9"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&v2(1, "203.0.113.9", b""), "203.0.113.9"),
        (&v2(1, "2001:db8::9", b""), "2001:db8::9"),
        (&v2(1, "203.0.113.9", &[4; 2000]), "203.0.113.9"),
        (&v2(0, "203.0.113.9", b""), "127.0.0.1"),
        (
            &[SIGNATURE, &[0x20, 0x00, 0, 0]].concat(),
            "127.0.0.1", // a health check of the proxy itself
        ),
    ];
    for (n, (header, client)) in cases.iter().enumerate() {
        let mut plain = proxy.plain().await;
        plain.send(header).await;
        assert_eq!(plain.get("a.test", "/").await.status, 200, "{n}");
        let seen = backend.last();
        for name in ["x-forwarded-for", "x-real-ip"] {
            assert_eq!(seen.field(name).unwrap(), *client, "{n} plain: {name}");
        }
        // The header counts for the whole connection.
        assert_eq!(plain.get("a.test", "/").await.status, 200, "{n}");
        assert_eq!(backend.last().field("x-forwarded-for").unwrap(), *client);

        let mut tls = proxy.tls_behind(header, "a.test").await.unwrap();
        assert_eq!(tls.get("a.test", "/").await.status, 200, "{n}");
        let seen = backend.last().field("x-forwarded-for").unwrap();
        assert_eq!(seen, *client, "{n} TLS");
    }
    let lines = proxy.logged(3 * cases.len()).await;
    assert_eq!(lines[0]["client"], "203.0.113.9");
}

#[tokio::test]
async fn a_header_may_come_in_pieces_or_with_the_request() {
    let backend = Backend::answering(ok(b"ok")).await;
    let proxy = behind_a_proxy(backend.at(), "");
    for header in [V1.to_vec(), v2(1, "203.0.113.9", &[4; 40])] {
        let mut client = proxy.plain().await;
        for byte in header.chunks(1) {
            client.send(byte).await;
        }
        let got = client.get("a.test", "/").await;
        assert_eq!(got.status, 200);
        let seen = backend.last().field("x-forwarded-for").unwrap();
        assert_eq!(seen, "203.0.113.9");

        let whole = [&header, get("a.test", "/").as_bytes()].concat();
        let got = proxy.plain().await.ask(whole).await;
        assert_eq!(got.status, 200);
        let seen = backend.last().field("x-forwarded-for").unwrap();
        assert_eq!(seen, "203.0.113.9");
    }
}

#[tokio::test]
async fn a_listed_proxy_that_sends_no_right_header_is_not_served() {
    let backend = Backend::answering(ok(b"ok")).await;
    let proxy = behind_a_proxy(backend.at(), "");
    let request = get("a.test", "/");
    let cases: [&[u8]; 9] = [
        b"",
        b"PROXY TCP4 203.0.113.9 127.0.0.1 56324 443\n",
        b"PROXY TCP4 203.0.113.9 127.0.0.1 056324 443\r\n",
        b"PROXY TCP6 203.0.113.9 127.0.0.1 56324 443\r\n",
        b"PROXY BANANA\r\n",
        &[b'P'; 200],
        &[SIGNATURE, &[0x11, 0x11, 0, 12], &[7; 12]].concat(),
        &[SIGNATURE, &[0x21, 0x11, 0, 11], &[7; 11]].concat(),
        &[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ];
    for (n, header) in cases.iter().enumerate() {
        let mut client = proxy.plain().await;
        client.send([header, request.as_bytes()].concat()).await;
        assert!(client.is_closed().await, "{n}: nothing is answered");
        let tls = proxy.tls_behind(header, "a.test").await;
        assert!(tls.is_err(), "{n}: no handshake begins");
    }
    // One that ends within its header.
    let mut client = proxy.plain().await;
    client.send(&V1[..20]).await;
    client.wire().end().await;
    assert!(client.is_closed().await);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn only_one_header_is_taken() {
    let backend = Backend::answering(ok(b"ok")).await;
    let proxy = behind_a_proxy(backend.at(), "");
    let twice = [V1, V1, get("a.test", "/").as_bytes()].concat();
    assert_eq!(proxy.plain().await.ask(twice).await.status, 400);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_header_of_an_unlisted_address_is_not_believed() {
    for listed in ["[]", "[192.0.2.1, \"2001:db8::/32\"]"] {
        let backend = Backend::answering(ok(b"ok")).await;
        let proxy = Proxy::start(&format!(
            "listen: {{ proxy_protocol_from: {listed} }}\n\
             sites: {{ a.test: {{ upstream: {}, plain_http: serve }} }}\n",
            backend.at()
        ));
        for header in [V1.to_vec(), v2(1, "203.0.113.9", b"")] {
            let request = [&header, get("a.test", "/").as_bytes()].concat();
            let mut client = proxy.plain().await;
            assert_eq!(client.ask(request).await.status, 400);
            assert!(client.is_closed().await);
            assert!(proxy.tls_behind(&header, "a.test").await.is_err());
        }
        assert_eq!(backend.connections(), 0);
        // Without one, such an address is a client as any other.
        assert_eq!(proxy.plain().await.get("a.test", "/").await.status, 200);
        let seen = backend.last().field("x-forwarded-for").unwrap();
        assert_eq!(seen, "127.0.0.1");
    }
}

/// The proxy's own address must not lend its rights to those behind it.
#[tokio::test]
async fn a_client_behind_a_proxy_has_only_its_own_rights() {
    let down = Backend::refusing();
    let proxy = behind_a_proxy(&down.at(), "trusted_proxies: [127.0.0.1, 10.0.0.0/8]");
    let request = "GET / HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 6.6.6.6\r\n\r\n";
    for (header, client) in [
        (V1, "203.0.113.9"),
        (b"PROXY TCP4 10.0.0.7 127.0.0.1 1 2\r\n", "6.6.6.6"),
    ] {
        let mut stranger = proxy.plain().await;
        let got = stranger.ask([header, request.as_bytes()].concat()).await;
        assert_eq!(got.status, 502);
        let text = got.text();
        assert!(!text.contains(&down.at()), "{client} is a stranger: {text}");
    }
    let lines = proxy.logged(2).await;
    let clients: Vec<_> = lines.iter().map(|line| &line["client"]).collect();
    assert_eq!(clients, ["203.0.113.9", "6.6.6.6"]);
}
