//! Handshakes: protocols, certificates by name, and what resumes.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Backend, Certificates, Client, Proxy, ok, within};

/// What a handshake for a name came to: the first name of the certificate that was shown.
async fn shown(proxy: &Proxy, name: &str) -> Option<String> {
    let stream = proxy
        .handshake(name, proxy.client_config(&["h2"]))
        .await
        .ok()?;
    let leaf = stream.get_ref().1.peer_certificates()?.first()?.clone();
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value;
    let names: Vec<String> = names
        .general_names
        .iter()
        .map(ToString::to_string)
        .collect();
    Some(names.join(" ").replace("DNSName(", "").replace(')', ""))
}

#[tokio::test]
async fn the_protocol_is_agreed_by_alpn() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["http/1.0"], Some("http/1.0")),
        (&["spdy/3", "http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = proxy
            .handshake("a.test", proxy.client_config(offered))
            .await
            .unwrap();
        let got = stream
            .get_ref()
            .1
            .alpn_protocol()
            .map(|name| String::from_utf8(name.to_vec()).unwrap());
        assert_eq!(got.as_deref(), agreed, "{offered:?}");
        if agreed != Some("h2") {
            let mut client = Client::of_tls(stream);
            assert_eq!(client.get("a.test", "/").await.status, 200, "{offered:?}");
        }
    }
    assert!(
        proxy
            .handshake("a.test", proxy.client_config(&["spdy/3"]))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_resumed() {
    let backend = Backend::echo().await;
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test: {0}\n  b.test: {0}\n",
        backend.at()
    ));
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(proxy.client_config_of(&["http/1.1"], &[version]));
        for kind in [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ] {
            let stream = proxy.handshake("a.test", config.clone()).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(version.version));
            // A full handshake may have to name its group twice.
            let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(
                resumed,
                kind == HandshakeKind::Resumed,
                "{:?}",
                version.version
            );
            let mut client = Client::of_tls(stream);
            assert_eq!(client.get("a.test", "/").await.status, 200);
            let other = client.get("b.test", "/").await.status;
            assert_eq!(other, 421, "what a resumed connection may ask for is known");
        }
    }
}

#[tokio::test]
async fn each_name_is_shown_its_certificate() {
    let certificates = Certificates::of(&[&["a.test", "b.test"], &["*.w.test"], &["x.w.test"]]);
    let backend = Backend::echo().await;
    let mut proxy = Proxy::start(&format!(
        "certificates: {{ directory: {} }}\nsites:\n  a.test: {at}\n  b.test: {at}\n  \"*.w.test\": {at}\n  \
         x.w.test: {at}\n  own.test: {at}\nfallback: {at}\n",
        certificates.path(),
        at = backend.at(),
    ));
    proxy.trust(&certificates);
    for (name, want) in [
        ("a.test", "a.test b.test"),
        ("B.test", "a.test b.test"),
        ("y.w.test", "*.w.test"),
        ("x.w.test", "x.w.test"),
        ("own.test", "own.test"),
        ("unknown.test", "unknown.test"),
    ] {
        assert_eq!(shown(&proxy, name).await.as_deref(), Some(want), "{name}");
    }
    // One certificate for both: a browser asks for both on one connection.
    let mut h2 = proxy.h2("a.test").await;
    for name in ["a.test", "b.test", "unknown.test"] {
        assert_eq!(h2.get(name, "/").await.status, 200, "{name}");
    }
    for name in ["own.test", "x.w.test", "y.w.test"] {
        assert_eq!(h2.get(name, "/").await.status, 421, "{name}");
    }
    let mut wild = proxy.tls("y.w.test").await;
    assert_eq!(wild.get("z.w.test", "/").await.status, 200);
    assert_eq!(
        wild.get("x.w.test", "/").await.status,
        200,
        "the wildcard covers it"
    );
}

#[tokio::test]
async fn a_name_that_no_certificate_covers_is_refused_where_it_is_so_configured() {
    let certificates = Certificates::of(&[&["a.test"]]);
    let backend = Backend::echo().await;
    let mut proxy = Proxy::start(&format!(
        "certificates: {{ directory: {}, otherwise: refuse }}\nsites:\n  a.test: {at}\nfallback: {at}\n",
        certificates.path(),
        at = backend.at(),
    ));
    proxy.trust(&certificates);
    assert_eq!(shown(&proxy, "a.test").await.as_deref(), Some("a.test"));
    assert_eq!(shown(&proxy, "b.test").await, None);
    assert_eq!(
        proxy.get("a.test", "/").await.status,
        200,
        "the others are unharmed"
    );
}

#[tokio::test]
async fn a_client_that_says_no_name_is_served() {
    let backend = Backend::answering(ok(b"fallback")).await;
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test: {0}\nfallback: {0}\n",
        backend.at()
    ));
    let mut client = proxy.tls("127.0.0.1").await;
    assert_eq!(client.get("127.0.0.1", "/").await.text(), "fallback");
    assert_eq!(
        client.get("a.test", "/").await.status,
        421,
        "its certificate covers this machine alone"
    );
}

#[tokio::test]
async fn a_handshake_may_come_byte_by_byte() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let socket = within(TcpStream::connect(proxy.https)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let handle = socket2::SockRef::from(&socket).try_clone().unwrap();
    let mut relays = JoinSet::new();
    relays.spawn(async move {
        let (mut read, mut write) = socket.into_split();
        let (mut from, mut to) = tokio::io::split(far);
        let up = async {
            while let Ok(byte) = from.read_u8().await {
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::join!(up, tokio::io::copy(&mut read, &mut to));
    });
    let connector = tokio_rustls::TlsConnector::from(Arc::new(proxy.client_config(&["http/1.1"])));
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let stream = within(connector.connect(name, near)).await.unwrap();
    let mut client = Client::new(stream, handle);
    let request = format!(
        "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2000\r\n\r\n{}",
        "x".repeat(2000)
    );
    assert!(client.ask(request).await.text().ends_with("xxx"));
}

#[tokio::test]
async fn what_is_no_handshake_is_closed() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    for bytes in [
        b"SSH-2.0-x\r\n".to_vec(),
        vec![0; 100],
        vec![0x16, 3, 1, 0xff, 0xff],
        [vec![0x16, 3, 1, 0, 4, 1, 0, 0xff, 0xff], vec![0; 70_000]].concat(),
    ] {
        let mut client = Client::connect(proxy.https).await;
        client.send(&bytes).await;
        client.wire().end().await;
        let rest = client.wire().rest().await;
        assert!(
            rest.is_empty() || rest[0] == 0x15,
            "an alert at most: {rest:?}"
        );
    }
    assert_eq!(
        proxy.get("a.test", "/").await.status,
        200,
        "the others are unharmed"
    );
    assert_eq!(backend.requests().len(), 1);
}

/// Takes its ten seconds: the clock is the real one.
#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let (mut silent, mut half) = (
        Client::connect(proxy.https).await,
        Client::connect(proxy.https).await,
    );
    half.send([0x16, 3, 1, 2, 0, 1, 0]).await;
    assert!(silent.is_closed().await && half.is_closed().await);
}

#[tokio::test]
async fn the_end_is_said_before_the_connection_is_closed() {
    let backend = Backend::answering_once("HTTP/1.0 200 OK\r\n\r\nhello").await;
    let proxy = Proxy::before(backend.at());
    let mut stream = proxy
        .handshake("a.test", proxy.client_config(&["http/1.1"]))
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.0\r\nhost: a.test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // rustls makes an error of an end without close_notify.
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.ends_with(b"hello"));
}

/// A debug build panicked: rustls was shown what it could not read again.
#[tokio::test]
async fn a_plain_request_on_the_https_port_is_told_so() {
    let backend = Backend::echo().await;
    let proxy = Proxy::before(backend.at());
    let mut client = Client::connect(proxy.https).await;
    let answer = client.get("a.test", "/").await;
    assert_eq!((answer.status, answer.whole), (400, true));
    assert!(answer.text().contains("https://"));
    assert!(client.is_closed().await);
    assert_eq!(backend.connections(), 0);
}
