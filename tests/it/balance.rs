//! Which endpoint a request goes to: the spread of each policy, and who is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hostmux::proxy::HELD_MAX;
use http::Request;

use crate::harness::{Answer, Backend, Client, Conn, Proxy, answer, get, ok, until, within};

const BUSY: &str = "503 Service Unavailable\ncontent-length: 4";

async fn echoes<const N: usize>() -> [Backend; N] {
    let mut echoes = Vec::with_capacity(N);
    for _ in 0..N {
        echoes.push(Backend::echo().await);
    }
    echoes.try_into().ok().unwrap()
}

/// A proxy of these endpoints, as `sites.yaml` lists them, with these keys of the upstream.
fn proxy(endpoints: &[&str], keys: &str) -> Proxy {
    let list = endpoints.join(", ");
    Proxy::with(&format!("upstream: {{ endpoints: [{list}]{keys} }}"))
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Asks so many times over one connection: each is a 200.
async fn ask(proxy: &Proxy, times: usize) {
    let mut client = proxy.plain().await;
    for _ in 0..times {
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
}

fn counts<const N: usize>(backends: &[Backend; N]) -> [usize; N] {
    std::array::from_fn(|n| backends[n].requests().len())
}

/// A request that is under way, and its answer once it is let go.
async fn begin(proxy: &Proxy) -> Client {
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    client
}

// ---- policies

#[tokio::test]
async fn in_turns_all_get_as_many() {
    let backends = echoes::<3>().await;
    let proxy = proxy(&backends.each_ref().map(Backend::at), "");
    let mut h2 = proxy.h2("a.test").await;
    for round in 1..=4 {
        ask(&proxy, 2).await;
        assert_eq!(h2.get("a.test", "/").await.status, 200);
        assert_eq!(counts(&backends), [round; 3]);
    }
}

#[tokio::test]
async fn a_weight_is_a_share_of_the_requests() {
    for balance in ["round_robin", "least_requests"] {
        let backends = echoes::<3>().await;
        let [one, two, none] = backends.each_ref().map(Backend::at);
        let two = format!("{{ address: {two}, weight: 2 }}");
        let none = format!("{{ address: {none}, weight: 0 }}");
        let proxy = proxy(&[one, &two, &none], &format!(", balance: {balance}"));
        for round in 1..=5 {
            ask(&proxy, 3).await;
            assert_eq!(counts(&backends), [round, 2 * round, 0], "{balance}");
        }
    }
}

/// With fewer than one in 10¹² this fails by chance.
#[tokio::test]
async fn at_random_the_shares_are_near() {
    for (balance, weight, least) in [("random", 1, 50), ("two_choices", 1, 50), ("random", 3, 15)] {
        let backends = echoes::<2>().await;
        let [one, other] = backends.each_ref().map(Backend::at);
        let other = format!("{{ address: {other}, weight: {weight} }}");
        let proxy = proxy(&[one, &other], &format!(", balance: {balance}"));
        ask(&proxy, 240).await;
        let [one, other] = counts(&backends);
        assert!(
            one >= least && other >= least * weight && one + other == 240,
            "{balance}: {one} {other}"
        );
    }
}

#[tokio::test]
async fn the_one_with_the_fewest_requests_is_next() {
    for balance in ["least_requests", "two_choices"] {
        let (slow, quick) = (Backend::stalling().await, Backend::echo().await);
        let proxy = proxy(&[slow.at(), quick.at()], &format!(", balance: {balance}"));
        let mut held = Vec::new();
        // Until the slow one has a request, and keeps it.
        while slow.requests().is_empty() {
            let taken = quick.requests().len();
            held.push(begin(&proxy).await);
            until(|| slow.requests().len() + quick.requests().len() > taken).await;
        }
        proxy.logged(quick.requests().len()).await;
        let before = quick.requests().len();
        ask(&proxy, 20).await;
        assert_eq!(
            (slow.requests().len(), quick.requests().len() - before),
            (1, 20),
            "{balance}"
        );
    }
}

#[tokio::test]
async fn a_client_stays_by_its_address() {
    let backends = echoes::<4>().await;
    let at = backends.each_ref().map(Backend::at).join(", ");
    let proxy = Proxy::start(&format!(
        "trusted_proxies: [127.0.0.1]\nsites: {{ a.test: {{ plain_http: serve, upstream: {{ endpoints: [{at}], balance: client_hash }} }} }}\n"
    ));
    let mut client = proxy.plain().await;
    let mut of_clients = Vec::new();
    for n in 0..128 {
        let before = counts(&backends);
        for _ in 0..2 {
            let forwarded = format!("host: a.test\r\nx-forwarded-for: 10.0.0.{n}\r\n");
            let got = client
                .ask(format!("GET / HTTP/1.1\r\n{forwarded}\r\n"))
                .await;
            assert_eq!(got.status, 200);
        }
        let after = counts(&backends);
        let chosen: Vec<usize> = (0..4).filter(|n| after[*n] == before[*n] + 2).collect();
        assert_eq!(chosen.len(), 1, "{before:?} {after:?}");
        of_clients.extend(chosen);
    }
    assert!((0..4).all(|n| of_clients.contains(&n)), "{of_clients:?}");
}

#[tokio::test]
async fn a_backup_is_asked_when_the_others_are_gone() {
    let (first, spare) = (Backend::echo().await, Backend::echo().await);
    let backup = format!("{{ address: {}, backup: on }}", spare.at());
    let proxy = proxy(&[first.at(), &backup], "");
    ask(&proxy, 4).await;
    assert_eq!((first.requests().len(), spare.requests().len()), (4, 0));
    drop(first);
    ask(&proxy, 4).await;
    assert_eq!(spare.requests().len(), 4);
}

#[tokio::test]
async fn a_weight_changes_while_it_runs() {
    let backends = echoes::<2>().await;
    let proxy = proxy(&backends.each_ref().map(Backend::at), "");
    ask(&proxy, 4).await;
    let name = format!("localhost:{}", backends[0].at());
    proxy
        .upstream("a.test")
        .registry
        .set_weight(&name, 0)
        .unwrap();
    ask(&proxy, 4).await;
    assert_eq!(counts(&backends), [2, 6]);
    proxy
        .upstream("a.test")
        .registry
        .set_weight(&name, 3)
        .unwrap();
    ask(&proxy, 4).await;
    assert_eq!(counts(&backends), [5, 7]);
}

// ---- endpoints that fail

#[tokio::test]
async fn one_that_fails_five_times_is_left_alone() {
    let bad = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
    })
    .await;
    let good = Backend::echo().await;
    let proxy = proxy(&[bad.at(), good.at()], ", eject: { after: 5, for: 1h }");
    ask(&proxy, 40).await;
    assert_eq!((bad.requests().len(), good.requests().len()), (5, 40));
    let mut h2 = proxy.h2("a.test").await;
    assert_eq!(h2.get("a.test", "/").await.status, 200);
    assert_eq!(bad.requests().len(), 5);
}

#[tokio::test]
async fn one_that_is_not_ejected_is_asked_again_and_again() {
    let bad = Backend::answering(answer(BUSY, "busy")).await;
    let good = Backend::echo().await;
    let proxy = proxy(&[bad.at(), good.at()], ", eject: off");
    ask(&proxy, 40).await;
    assert_eq!((bad.requests().len(), good.requests().len()), (20, 40));
}

#[tokio::test]
async fn when_all_are_out_all_are_tried() {
    let bad = Backend::answering(answer(BUSY, "busy")).await;
    let worse = Backend::answering(answer(BUSY, "busy")).await;
    let proxy = proxy(&[bad.at(), worse.at()], ", eject: { after: 1, for: 1h }");
    let mut client = proxy.plain().await;
    for asked in 1..=6 {
        let got = client.get("a.test", "/").await;
        assert_eq!((got.status, got.text().as_str()), (503, "busy"));
        assert_eq!(
            (bad.requests().len(), worse.requests().len()),
            (asked, asked)
        );
    }
}

#[tokio::test]
async fn a_503_costs_gets_nothing_and_posts_are_told() {
    let bad = Backend::answering(answer(BUSY, "busy")).await;
    let good = Backend::echo().await;
    let proxy = proxy(&[bad.at(), good.at()], ", eject: off");
    ask(&proxy, 6).await;
    let mut h2 = proxy.h2("a.test").await;
    assert_eq!(h2.get("a.test", "/").await.status, 200);
    let lines = proxy.logged(7).await;
    let again = lines.iter().filter(|line| line["attempts"] == 2);
    let failed: Vec<_> = again
        .map(|line| &line["failed_attempts"][0]["reason"])
        .collect();
    assert!(
        failed.len() >= 3 && failed.iter().all(|why| *why == "status_503"),
        "{failed:?}"
    );

    let mut client = proxy.plain().await;
    let mut statuses = [
        client.ask(post("x")).await.status,
        client.ask(post("x")).await.status,
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    let lines = proxy.logged(9).await;
    let told: Vec<_> = lines[7..]
        .iter()
        .filter(|line| line["status"] == 503)
        .collect();
    assert_eq!(told[0]["not_retried"], "not_idempotent");
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let request = Request::post("https://a.test/")
            .body(b"x".to_vec())
            .unwrap();
        statuses.push(h2.ask(request, None).await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
}

/// The end of a body whose length is known was never looked for: it was taken
/// to be still under way.
#[tokio::test]
async fn a_503_costs_a_put_with_its_body_nothing() {
    let bad = Backend::answering(answer(BUSY, "busy")).await;
    let good = Backend::echo().await;
    let proxy = proxy(&[bad.at(), good.at()], ", eject: off");
    let (mut plain, mut h2) = (proxy.plain().await, proxy.h2("a.test").await);
    for _ in 0..2 {
        let got = plain.ask(post("x").replacen("POST", "PUT", 1)).await;
        assert_eq!((got.status, got.text().ends_with("\r\n\r\nx")), (200, true));
        let request = Request::put("https://a.test/").header("content-length", 1);
        let got = h2
            .ask(request.body(b"y".to_vec()).unwrap(), None)
            .await
            .unwrap();
        assert_eq!((got.status, got.text().ends_with("\r\n\r\ny")), (200, true));
    }
    assert!(bad.requests().len() >= 2);
}

/// Every GET is a 200; the line of those that met the bad one says what became of it.
async fn costs_gets_nothing(bad: &Backend, reason: &str) {
    let good = Backend::echo().await;
    let proxy = proxy(
        &[bad.at(), good.at()],
        ", eject: off, response_timeout: 300ms",
    );
    ask(&proxy, 4).await;
    let mut h2 = proxy.h2("a.test").await;
    assert_eq!(h2.get("a.test", "/").await.status, 200);
    let lines = proxy.logged(5).await;
    let mut again = lines.iter().filter(|line| line["attempts"] == 2);
    let line = again.next().unwrap();
    let failed = &line["failed_attempts"][0];
    assert_eq!(failed["reason"], reason);
    assert_eq!(failed["endpoint"], format!("localhost:{}", bad.at()));
    assert!(failed["duration_ms"].is_number(), "{line}");
}

#[tokio::test]
async fn one_that_resets_costs_gets_nothing() {
    let resetting = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
        conn.reset();
    })
    .await;
    costs_gets_nothing(&resetting, "connection_terminated").await;
}

#[tokio::test]
async fn one_that_never_answers_costs_gets_nothing() {
    costs_gets_nothing(&Backend::stalling().await, "http_response_timeout").await;
}

#[tokio::test]
async fn both_refuse_and_are_waited_for() {
    let (one, other) = (Backend::refusing(), Backend::refusing());
    let proxy = proxy(&[&one.at(), &other.at()], ", wait_for_endpoint: 1h");
    let (mut plain, mut h2) = (begin(&proxy).await, proxy.h2("a.test").await);
    let answers = within(async {
        let come_up = async {
            until(|| proxy.held("a.test") == 2).await;
            other.come_up()
        };
        tokio::join!(plain.answer(), h2.get("a.test", "/"), come_up)
    });
    let (plain, h2, _up) = answers.await;
    assert_eq!((plain.status, h2.status), (200, 200));
}

/// One that is out was asked as soon as the others were full: a POST was lost
/// there that had only to wait.
#[tokio::test]
async fn one_that_is_out_is_not_asked_for_want_of_a_place() {
    let bad = Backend::answering(answer(BUSY, "busy")).await;
    let gate = Gate::new().await;
    let keys = ", eject: { after: 1, for: 1h }, max_connections: 1, wait_for_endpoint: 1h";
    let proxy = proxy(&[bad.at(), gate.backend.at()], keys);
    gate.open.add_permits(1);
    ask(&proxy, 1).await;
    let (mut first, mut second) = (begin(&proxy).await, proxy.plain().await);
    gate.backend.wait_for(|seen| seen.requests.len() == 2).await;
    second.send(post("x")).await;
    until(|| proxy.held("a.test") == 1).await;
    gate.open.add_permits(2);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.answer().await.status, 200);
    assert_eq!(bad.requests().len(), 1);
}

/// The answer that was fallen back to hid the failure behind it.
#[tokio::test]
async fn every_attempt_is_told_where_an_earlier_answer_is_the_best() {
    let bad = Backend::answering(answer(BUSY, "busy")).await;
    let worse = Backend::script(|mut conn: Conn| async move {
        conn.request().await;
    });
    let worse = worse.await;
    let proxy = proxy(&[bad.at(), worse.at()], ", wait_for_endpoint: 0s");
    let got = proxy.plain().await.get("a.test", "/").await;
    assert_eq!((got.status, got.text().as_str()), (503, "busy"));
    let line = &proxy.logged(1).await[0];
    let told = |n: usize| line["failed_attempts"][n]["reason"].clone();
    assert_eq!(line["attempts"], 2);
    assert_eq!(
        (told(0), told(1)),
        ("status_503".into(), "connection_terminated".into())
    );
    assert_eq!(
        line["failed_attempts"][1]["endpoint"],
        format!("localhost:{}", worse.at())
    );
    assert_eq!(line["endpoint"], format!("localhost:{}", bad.at()));
}

// ---- max_connections

/// An endpoint that answers a request once it is told to.
struct Gate {
    backend: Backend,
    open: Arc<tokio::sync::Semaphore>,
    most: Arc<AtomicUsize>,
}

impl Gate {
    async fn new() -> Self {
        let open = Arc::new(tokio::sync::Semaphore::new(0));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (gate, highest) = (open.clone(), most.clone());
        let backend = Backend::script(move |mut conn: Conn| {
            let (gate, now, highest) = (gate.clone(), now.clone(), highest.clone());
            async move {
                while conn.request().await.is_some() {
                    let under_way = now.fetch_add(1, Ordering::SeqCst) + 1;
                    highest.fetch_max(under_way, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    now.fetch_sub(1, Ordering::SeqCst);
                    conn.send(ok(b"hi")).await;
                }
            }
        });
        Self {
            backend: backend.await,
            open,
            most,
        }
    }
}

#[tokio::test]
async fn above_max_connections_requests_wait_for_their_turn() {
    let gate = Gate::new().await;
    let proxy = proxy(
        &[gate.backend.at()],
        ", max_connections: 2, wait_for_endpoint: 1h",
    );
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(begin(&proxy).await);
    }
    until(|| proxy.held("a.test") == 4 && gate.backend.requests().len() == 2).await;
    gate.open.add_permits(1);
    gate.backend.wait_for(|seen| seen.requests.len() == 3).await;
    gate.open.add_permits(5);
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(
        (gate.most.load(Ordering::SeqCst), proxy.held("a.test")),
        (2, 0)
    );
}

#[tokio::test]
async fn a_second_endpoint_takes_what_the_first_has_no_place_for() {
    let (gate, free) = (Gate::new().await, Backend::echo().await);
    let backup = format!("{{ address: {}, backup: on }}", free.at());
    let proxy = proxy(&[gate.backend.at(), &backup], ", max_connections: 1");
    let mut first = begin(&proxy).await;
    gate.backend.wait_for(|seen| seen.requests.len() == 1).await;
    ask(&proxy, 3).await;
    gate.open.add_permits(1);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(
        (gate.backend.requests().len(), free.requests().len()),
        (1, 3)
    );
}

fn is_full(got: &Answer) {
    assert_eq!(got.status, 503);
    assert!(got.field("retry-after").is_some(), "{got:?}");
}

#[tokio::test]
async fn who_waits_too_long_for_a_place_is_told_when_to_come_again() {
    for wait in ["100ms", "0s"] {
        let gate = Gate::new().await;
        let keys = format!(", max_connections: 1, wait_for_endpoint: {wait}");
        let proxy = proxy(&[gate.backend.at()], &keys);
        let mut first = begin(&proxy).await;
        gate.backend.wait_for(|seen| seen.requests.len() == 1).await;
        is_full(&proxy.plain().await.get("a.test", "/").await);
        is_full(&proxy.h2("a.test").await.get("a.test", "/").await);
        gate.open.add_permits(1);
        assert_eq!(
            (first.answer().await.status, gate.backend.requests().len()),
            (200, 1)
        );
    }
}

#[tokio::test]
async fn the_line_for_a_place_is_bounded() {
    let gate = Gate::new().await;
    let proxy = proxy(
        &[gate.backend.at()],
        ", max_connections: 1, wait_for_endpoint: 1h",
    );
    let _first = begin(&proxy).await;
    gate.backend.wait_for(|seen| seen.requests.len() == 1).await;
    let (mut lines, mut waiting) = (Vec::new(), Vec::new());
    // Over HTTP/2: no address has more than 512 connections.
    for _ in 0..8 {
        let h2 = proxy.h2("a.test").await;
        for _ in 0..HELD_MAX / 8 {
            let request = Request::get("https://a.test/").body(()).unwrap();
            let mut line = within(h2.requests.clone().ready()).await.unwrap();
            waiting.push(line.send_request(request, true).unwrap().0);
        }
        lines.push(h2);
    }
    until(|| proxy.held("a.test") == HELD_MAX).await;
    is_full(&proxy.plain().await.get("a.test", "/").await);
    drop((lines, waiting));
    until(|| proxy.held("a.test") == 0).await;
}
