//! `sticky: cookie`: a client goes where it went before, and moves when it has to.

use crate::harness::{Answer, Backend, Proxy, until};

/// Two echoes, and a proxy that keeps clients with one of them.
async fn pair() -> ([Backend; 2], Proxy) {
    let backends = [Backend::echo().await, Backend::echo().await];
    let proxy = sticking(&backends, "");
    (backends, proxy)
}

fn sticking(backends: &[Backend; 2], keys: &str) -> Proxy {
    let [one, other] = backends.each_ref().map(Backend::at);
    Proxy::with(&format!(
        "upstream: {{ endpoints: [{one}, {other}], sticky: cookie{keys} }}"
    ))
}

/// A GET over plain HTTP with this cookie.
async fn get(proxy: &Proxy, cookie: &str) -> Answer {
    let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\ncookie: {cookie}\r\n\r\n");
    let got = proxy.plain().await.ask(request).await;
    assert_eq!(got.status, 200);
    got
}

/// The cookie that an answer sets, as the client sends it back.
#[track_caller]
fn set(got: &Answer) -> String {
    let set = got.field("set-cookie").expect("a cookie is set");
    set.split(';').next().unwrap().to_owned()
}

fn counts(backends: &[Backend; 2]) -> [usize; 2] {
    backends.each_ref().map(|backend| backend.requests().len())
}

/// Whose turn it was, by the counts before.
fn chosen(backends: &[Backend; 2], before: [usize; 2]) -> usize {
    usize::from(counts(backends)[1] > before[1])
}

#[tokio::test]
async fn a_client_stays_with_its_endpoint() {
    let (backends, proxy) = pair().await;
    for _ in 0..2 {
        let before = counts(&backends);
        let cookie = set(&get(&proxy, "a=b").await);
        let own = chosen(&backends, before);
        for _ in 0..4 {
            assert_eq!(
                get(&proxy, &format!("a=b; {cookie}"))
                    .await
                    .field("set-cookie"),
                None
            );
        }
        assert_eq!(counts(&backends)[own], before[own] + 5);
    }
    assert_eq!(counts(&backends), [5, 5]);
}

#[tokio::test]
async fn the_cookie_tells_nothing_and_is_bound_to_the_site() {
    let (backends, proxy) = pair().await;
    let plain = proxy.plain().await.get("a.test", "/").await;
    let plain = plain.field("set-cookie").unwrap();
    let tls = proxy.get("a.test", "/").await.field("set-cookie").unwrap();
    let h2 = proxy.h2("a.test").await.get("a.test", "/").await;
    let h2 = h2.field("set-cookie").unwrap();
    for (set, name, secure) in [
        (&plain, "hostmux=", ""),
        (&tls, "__Host-hostmux=", "; Secure"),
        (&h2, "__Host-hostmux=", "; Secure"),
    ] {
        let (token, rest) = set.strip_prefix(name).unwrap().split_once(';').unwrap();
        assert_eq!(rest, format!(" Path=/; HttpOnly; SameSite=Lax{secure}"));
        assert!(
            token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{set}"
        );
        for backend in &backends {
            assert!(!token.contains(backend.at()), "{set}");
        }
    }
}

#[tokio::test]
async fn a_client_stays_over_tls_and_h2() {
    let (backends, proxy) = pair().await;
    let cookie = set(&proxy.get("a.test", "/").await);
    let mut tls = proxy.tls("a.test").await;
    let mut h2 = proxy.h2("a.test").await;
    for _ in 0..2 {
        let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\ncookie: {cookie}\r\n\r\n");
        assert_eq!(tls.ask(request).await.field("set-cookie"), None);
        // A cookie may come in pieces (RFC 9113 §8.2.3).
        let request = http::Request::get("https://a.test/")
            .header("cookie", "a=b")
            .header("cookie", &cookie);
        let got = h2
            .ask(request.body(Vec::new()).unwrap(), None)
            .await
            .unwrap();
        assert_eq!((got.status, got.field("set-cookie")), (200, None));
    }
    assert_eq!(counts(&backends), [5, 0]);
}

#[tokio::test]
async fn a_cookie_that_nobody_signed_is_ignored() {
    let (backends, proxy) = pair().await;
    let real = set(&get(&proxy, "a=b").await);
    let (short, long) = (&real[..real.len() - 1], format!("{real}0"));
    let last = if real.ends_with('0') { '1' } else { '0' };
    let forged = format!("{short}{last}");
    let at = format!("hostmux=localhost:{}", backends[0].at());
    let before = counts(&backends);
    for cookie in [&forged, short, &long, "hostmux=", "hostmux", &at] {
        // It takes its turn as one that comes for the first time.
        let set = set(&get(&proxy, cookie).await);
        assert!(set != *cookie && set.len() == real.len(), "{cookie}");
    }
    let after = counts(&backends);
    assert!(
        after[0] - before[0] >= 3 && after[1] - before[1] >= 3,
        "{before:?} {after:?}"
    );
}

/// Another site's cookie is signed by the same secret.
#[tokio::test]
async fn a_cookie_of_another_site_is_none_here() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let [one, other] = backends.each_ref().map(Backend::at);
    let site = format!(
        "{{ plain_http: serve, upstream: {{ endpoints: [{one}, {other}], sticky: cookie }} }}"
    );
    let proxy = Proxy::start(&format!("sites: {{ a.test: {site}, b.test: {site} }}\n"));
    let theirs = set(&proxy.plain().await.get("b.test", "/").await);
    assert_ne!(set(&get(&proxy, &theirs).await), theirs);
}

#[tokio::test]
async fn when_its_endpoint_is_gone_a_client_moves() {
    let ([one, other], proxy) = pair().await;
    let cookie = set(&get(&proxy, "a=b").await);
    assert_eq!((one.requests().len(), other.requests().len()), (1, 0));
    drop(one);
    let moved = set(&get(&proxy, &cookie).await);
    assert_ne!(moved, cookie);
    for _ in 0..3 {
        assert_eq!(get(&proxy, &moved).await.field("set-cookie"), None);
    }
    assert_eq!(other.requests().len(), 4);
}

#[tokio::test]
async fn an_endpoint_that_was_removed_keeps_no_client() {
    let (backends, proxy) = pair().await;
    let cookie = set(&get(&proxy, "a=b").await);
    let name = format!("localhost:{}", backends[0].at());
    proxy.upstream("a.test").remove(&name, false).unwrap();
    assert_ne!(set(&get(&proxy, &cookie).await), cookie);
    assert_eq!(counts(&backends), [1, 1]);
}

/// Its own clients stay, and nobody new comes: so it empties.
#[tokio::test]
async fn without_a_weight_an_endpoint_keeps_only_its_own() {
    let (backends, proxy) = pair().await;
    let cookie = set(&get(&proxy, "a=b").await);
    let upstream = proxy.upstream("a.test");
    let name = format!("localhost:{}", backends[0].at());
    upstream.registry.set_weight(&name, 0).unwrap();
    for _ in 0..3 {
        assert_eq!(get(&proxy, &cookie).await.field("set-cookie"), None);
        set(&get(&proxy, "a=b").await);
    }
    assert_eq!(counts(&backends), [4, 3]);
    upstream.registry.set_draining(&name, true).unwrap();
    set(&get(&proxy, &cookie).await);
    assert_eq!(counts(&backends), [4, 4]);
}

/// A client with a cookie waits for its own endpoint while that has no place.
#[tokio::test]
async fn a_client_waits_for_a_place_at_its_own() {
    let (slow, quick) = (Backend::stalling().await, Backend::echo().await);
    let backends = [slow, quick];
    let proxy = sticking(&backends, ", max_connections: 1, wait_for_endpoint: 1h");
    let token = proxy.upstream("a.test").registry.members()[0]
        .token()
        .to_owned();
    let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\ncookie: hostmux={token}\r\n\r\n");
    let (mut first, mut second) = (proxy.plain().await, proxy.plain().await);
    first.send(&request).await;
    backends[0].wait_for(|seen| seen.requests.len() == 1).await;
    second.send(&request).await;
    until(|| proxy.held("a.test") == 1).await;
    assert_eq!(get(&proxy, "a=b").await.status, 200);
    drop(first);
    backends[0].wait_for(|seen| seen.requests.len() == 2).await;
    assert_eq!(counts(&backends), [2, 1]);
}
