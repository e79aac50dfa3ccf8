//! Endpoints by DNS name: who is asked, for how long an answer holds, and what
//! a name that does not resolve breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Backend, Certificates, Conn, Dns, Proxy, get, ok};

/// One site, `a.test`, before this endpoint, with these keys of its upstream.
fn site(endpoint: &str, keys: &str) -> String {
    format!(
        "sites:\n  a.test: {{ plain_http: serve, upstream: {{ endpoints: \"{endpoint}\"{keys} }} }}\n"
    )
}

fn before(dns: &Dns, endpoint: &str) -> Proxy {
    Proxy::start_asking(dns.names(), &site(endpoint, ""))
}

/// What the endpoints said to so many requests.
async fn said(proxy: &Proxy, requests: usize) -> BTreeMap<String, usize> {
    let mut client = proxy.plain().await;
    let mut said = BTreeMap::new();
    for _ in 0..requests {
        *said
            .entry(client.get("a.test", "/").await.text())
            .or_default() += 1;
    }
    said
}

fn counts(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let counts = counts.iter().map(|(text, n)| ((*text).to_owned(), *n));
    counts.collect()
}

#[tokio::test]
async fn each_address_of_a_name_is_an_endpoint() {
    let backends = Backend::neighbours(&["one", "two"]).await;
    let dns = Dns::start().await;
    dns.addresses("db.internal", 60, &["127.0.0.1", "127.0.0.2"]);
    let name = format!("db.internal:{}", backends[0].at());
    let proxy = before(&dns, &name);
    assert_eq!(said(&proxy, 4).await, counts(&[("one", 2), ("two", 2)]));
    let lines = proxy.logged(4).await;
    let mut told: Vec<_> = lines.iter().map(|line| line["endpoint"].clone()).collect();
    told.sort_by_key(ToString::to_string);
    told.dedup();
    assert_eq!(
        told,
        [format!("{name}@127.0.0.1"), format!("{name}@127.0.0.2")]
    );
}

#[tokio::test]
async fn an_endpoint_listens_on_the_ipv6_address_of_a_name() {
    let backend = Backend::echo_v6().await;
    let dns = Dns::start().await;
    dns.addresses("db.internal", 60, &["::1"]);
    let proxy = before(&dns, &format!("db.internal:{}", backend.at()));
    assert_eq!(proxy.plain().await.get("a.test", "/").await.status, 200);
}

/// An address of a link leads nowhere without the link's name, as any IPv6
/// address does on a machine that has IPv4 alone.
#[tokio::test]
async fn an_address_that_this_machine_has_no_way_to_is_left_out() {
    let backend = Backend::echo().await;
    let dns = Dns::start().await;
    dns.addresses("db.internal", 60, &["127.0.0.1", "fe80::1"]);
    let proxy = before(&dns, &format!("db.internal:{}", backend.at()));
    said(&proxy, 4).await;
    for line in proxy.logged(4).await {
        assert_eq!(
            (&line["status"], &line["attempts"]),
            (&200.into(), &1.into())
        );
    }
}

#[tokio::test]
async fn an_address_that_goes_gets_no_more_and_one_that_comes_gets_its_share() {
    let backends = Backend::neighbours(&["one", "two", "three"]).await;
    let dns = Dns::start().await;
    dns.addresses("db.internal", 0, &["127.0.0.1", "127.0.0.2"]);
    let proxy = before(&dns, &format!("db.internal:{}", backends[0].at()));
    assert_eq!(said(&proxy, 2).await, counts(&[("one", 1), ("two", 1)]));
    dns.addresses("db.internal", 0, &["127.0.0.2"]);
    dns.learnt("db.internal").await;
    assert_eq!(said(&proxy, 3).await, counts(&[("two", 3)]));
    dns.addresses("db.internal", 0, &["127.0.0.3", "127.0.0.2"]);
    dns.learnt("db.internal").await;
    assert_eq!(said(&proxy, 4).await, counts(&[("two", 2), ("three", 2)]));
}

#[tokio::test]
async fn a_request_under_way_at_an_address_that_goes_comes_to_its_end() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Backend::script(move |mut conn: Conn| {
        let mut gone = gone.clone();
        async move {
            conn.request().await;
            gone.wait_for(|gone| *gone).await.unwrap();
            conn.send(ok(b"whole")).await;
        }
    })
    .await;
    let dns = Dns::start().await;
    dns.addresses("db.internal", 0, &["127.0.0.1"]);
    let proxy = before(&dns, &format!("db.internal:{}", backend.at()));
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    dns.addresses("db.internal", 0, &["127.0.0.9"]);
    dns.learnt("db.internal").await;
    go.send(true).unwrap();
    assert_eq!(client.answer().await.text(), "whole");
}

#[tokio::test]
async fn an_answer_holds_for_as_long_as_it_says() {
    let backend = Backend::echo().await;
    let dns = Dns::start().await;
    dns.addresses("long.internal", 3600, &["127.0.0.1"]);
    dns.addresses("short.internal", 0, &["127.0.0.1"]);
    let at = backend.at();
    let list = format!("[long.internal:{at}, short.internal:{at}]");
    let yaml = site("ENDPOINTS", "").replace("\"ENDPOINTS\"", &list);
    let proxy = Proxy::start_asking(dns.names(), &yaml);
    said(&proxy, 4).await;
    for _ in 0..3 {
        dns.learnt("short.internal").await;
    }
    assert_eq!(dns.asked("long.internal"), 2, "once for each family");
}

#[tokio::test]
async fn a_service_has_targets_with_ports_weights_and_priorities() {
    let backends = [
        Backend::answering(ok(b"heavy")).await,
        Backend::answering(ok(b"light")).await,
        Backend::answering(ok(b"backup")).await,
    ];
    let [heavy, light, backup] = backends.each_ref().map(Backend::at);
    let dns = Dns::start().await;
    dns.addresses("n1.internal", 0, &["127.0.0.1"]);
    dns.addresses("n2.internal", 0, &["127.0.0.1"]);
    let all = [
        (20, 9, backup, "n1.internal"),
        (10, 3, heavy, "n1.internal"),
        (10, 1, light, "n2.internal"),
    ];
    dns.service("_web._tcp.internal", 0, &all);
    let proxy = before(&dns, "srv+http://_web._tcp.internal");
    assert_eq!(said(&proxy, 8).await, counts(&[("heavy", 6), ("light", 2)]));
    let equal = [
        all[0],
        (10, 5, heavy, "n1.internal"),
        (10, 5, light, "n2.internal"),
    ];
    dns.service("_web._tcp.internal", 0, &equal);
    dns.learnt("_web._tcp.internal").await;
    assert_eq!(said(&proxy, 8).await, counts(&[("heavy", 4), ("light", 4)]));
    dns.service("_web._tcp.internal", 0, &all[..1]);
    dns.learnt("_web._tcp.internal").await;
    assert_eq!(said(&proxy, 2).await, counts(&[("backup", 2)]));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_breaks_its_own_site_alone() {
    let backend = Backend::answering(ok(b"here")).await;
    let dns = Dns::start().await;
    let at = backend.at();
    let yaml = site(&format!("late.internal:{at}"), ", wait_for_endpoint: 0s");
    let yaml = format!("{yaml}  b.test: {{ plain_http: serve, upstream: {at} }}\n");
    let proxy = Proxy::start_asking(dns.names(), &yaml);
    dns.learnt("late.internal").await;
    let answer = proxy.plain().await.get("a.test", "/").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("a name without an address"),
        "{}",
        answer.text()
    );
    assert_eq!(proxy.plain().await.get("b.test", "/").await.status, 200);
    dns.addresses("late.internal", 0, &["127.0.0.1"]);
    dns.learnt("late.internal").await;
    assert_eq!(said(&proxy, 1).await, counts(&[("here", 1)]));
}

/// `wait_for_endpoint` holds requests for a name as it does for a port.
#[tokio::test]
async fn a_request_waits_for_a_name_to_resolve() {
    let backend = Backend::answering(ok(b"here")).await;
    let dns = Dns::start().await;
    let endpoint = format!("late.internal:{}", backend.at());
    let yaml = site(&endpoint, ", wait_for_endpoint: 60s");
    let proxy = Proxy::start_asking(dns.names(), &yaml);
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    crate::harness::until(|| proxy.held("a.test") == 1).await;
    dns.addresses("late.internal", 60, &["127.0.0.1"]);
    assert_eq!(client.answer().await.text(), "here");
}

#[tokio::test]
async fn the_last_addresses_are_kept_while_nobody_can_say_and_for_a_while_after() {
    for (grace, kept) in [(Duration::from_secs(3600), true), (Duration::ZERO, false)] {
        let backend = Backend::answering(ok(b"here")).await;
        let dns = Dns::start().await;
        dns.addresses("db.internal", 0, &["127.0.0.1"]);
        let endpoint = format!("db.internal:{}", backend.at());
        let mut names = dns.names();
        names.pace.grace = grace;
        let proxy = Proxy::start_asking(names, &site(&endpoint, ", wait_for_endpoint: 0s"));
        let status = async || proxy.plain().await.get("a.test", "/").await.status;
        dns.learnt("db.internal").await;
        dns.fail("db.internal");
        dns.learnt("db.internal").await;
        dns.learnt("db.internal").await;
        assert_eq!(status().await, 200);
        dns.forget("db.internal");
        dns.learnt("db.internal").await;
        dns.learnt("db.internal").await;
        assert_eq!(status().await, if kept { 200 } else { 503 });
    }
}

#[tokio::test]
async fn a_reload_keeps_what_a_name_led_to() {
    let backend = Backend::answering(ok(b"here")).await;
    let dns = Dns::start().await;
    dns.addresses("db.internal", 3600, &["127.0.0.1"]);
    let endpoint = format!("db.internal:{}", backend.at());
    let yaml = |keys: &str| site(&endpoint, &format!(", wait_for_endpoint: 0s{keys}"));
    let proxy = Proxy::start_asking(dns.names(), &site(&endpoint, ""));
    let mut client = proxy.plain().await;
    let mut text = async || client.get("a.test", "/").await.text();
    assert_eq!(text().await, "here");
    // Unchanged: nobody is asked again.
    proxy.replace(&site(&endpoint, ""));
    assert_eq!(text().await, "here");
    assert_eq!(dns.asked("db.internal"), 2);
    dns.fail("db.internal");
    proxy.replace(&yaml(", response_timeout: 9s"));
    assert_eq!(text().await, "here");
    dns.learnt("db.internal").await;
    dns.learnt("db.internal").await;
    assert_eq!(text().await, "here");
    assert_eq!(backend.connections(), 1, "not even a connection is lost");
}

#[tokio::test]
async fn a_name_that_no_site_has_any_more_is_not_asked_for() {
    let backend = Backend::answering(ok(b"here")).await;
    let dns = Dns::start().await;
    dns.addresses("old.internal", 0, &["127.0.0.1"]);
    dns.addresses("new.internal", 0, &["127.0.0.1"]);
    let proxy = before(&dns, &format!("old.internal:{}", backend.at()));
    dns.learnt("old.internal").await;
    proxy.replace(&site(&format!("new.internal:{}", backend.at()), ""));
    dns.learnt("new.internal").await;
    let asked = dns.asked("old.internal");
    dns.learnt("new.internal").await;
    dns.learnt("new.internal").await;
    assert_eq!(dns.asked("old.internal"), asked);
}

#[tokio::test]
async fn a_certificate_is_for_the_name_and_so_is_the_host() {
    let certificates = Certificates::of(&[&["api.internal", "internal"]]);
    let backend = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    let at = backend.at();
    let dns = Dns::start().await;
    for name in ["api.internal", "other.internal"] {
        dns.addresses(name, 60, &["127.0.0.1"]);
    }
    dns.service("_web._tcp.internal", 60, &[(1, 1, at, "other.internal")]);
    let check = async |endpoint: &str, tls: &str, status: u16, host: &str| {
        let keys = format!(", tls: {{ ca: \"{}\"{tls} }}", certificates.ca());
        let yaml = site(endpoint, &keys).replace("upstream:", "host: endpoint, upstream:");
        let proxy = Proxy::start_asking(dns.names(), &yaml);
        let answer = proxy.plain().await.get("a.test", "/").await;
        assert_eq!(answer.status, status, "{endpoint} {tls}");
        assert!(answer.text().contains(&format!("host: {host}\r\n")) || status != 200);
    };
    let host = format!("api.internal:{at}");
    check(&format!("https://{host}"), "", 200, &host).await;
    let host = format!("other.internal:{at}");
    check(&format!("https://{host}"), "", 502, "").await;
    check(
        &format!("https://{host}"),
        ", name: api.internal",
        200,
        &host,
    )
    .await;
    check("srv+https://_web._tcp.internal", "", 200, &host).await;
}

#[tokio::test]
async fn the_table_of_hosts_comes_before_all_servers() {
    let backends = Backend::neighbours(&["one", "two"]).await;
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 other db # an alias\n").unwrap();
    let dns = Dns::start().await;
    dns.addresses("db", 60, &["127.0.0.1"]);
    let mut names = dns.names();
    names.hosts = hosts;
    let proxy = Proxy::start_asking(names, &site(&format!("db:{}", backends[0].at()), ""));
    assert_eq!(said(&proxy, 2).await, counts(&[("two", 2)]));
    assert_eq!(dns.asked("db"), 0);
}
