//! Health checks: who is asked, how, and what follows from the answer.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use h2::server::Builder;
use hostmux::config::{Config, Target};
use hostmux::upstream::health::HealthCheck;
use hostmux::upstream::member::{Origin, State};
use hostmux::upstream::{Address, EndpointSettings};
use http::{Response, StatusCode};
use tokio::sync::Semaphore;

use crate::harness::{
    Backend, Call, Certificates, Client, Conn, H2Backend, Message, Proxy, get, ok, until,
};

const PROBE: &str = "GET /healthz ";

/// Probes of `/healthz` that follow each other quickly: more quickly than an
/// answer may take, so that none fails where the machine is busy.
fn quick() -> HealthCheck {
    HealthCheck {
        path: Some("/healthz".to_owned()),
        host: None,
        every: Duration::from_millis(20),
        timeout: Duration::from_secs(20),
        status: 200..=399,
        down_after: 2,
        up_after: 2,
    }
}

/// One probe, and no second while a test runs.
fn once() -> HealthCheck {
    HealthCheck {
        every: Duration::from_secs(3600),
        ..quick()
    }
}

fn with(check: HealthCheck) -> impl Fn(&mut Config) {
    move |config| {
        let routes = config.sites.iter_mut().flat_map(|site| &mut site.routes);
        for route in routes {
            if let Target::Upstream(settings) = &mut route.target {
                settings.health_check = Some(check.clone());
            }
        }
    }
}

fn yaml(upstream: &str) -> String {
    format!("sites:\n  a.test:\n    plain_http: serve\n    upstream: {upstream}\n")
}

fn start(upstream: &str, check: HealthCheck) -> Proxy {
    Proxy::start_as(&yaml(upstream), with(check))
}

fn both(first: &str, second: &str) -> String {
    format!("{{ endpoints: [\"{first}\", \"{second}\"] }}")
}

fn state(proxy: &Proxy, place: usize) -> State {
    proxy.upstream("a.test").registry.members()[place].state(Instant::now())
}

fn trouble(proxy: &Proxy, place: usize) -> Option<String> {
    proxy.upstream("a.test").registry.members()[place].trouble()
}

async fn comes_to(proxy: &Proxy, place: usize, is: State) {
    until(|| state(proxy, place) == is).await;
}

/// An endpoint that answers probes with a status, and all else with 200.
async fn moody() -> (Backend, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let mood = status.clone();
    let backend = Backend::script(move |conn| answer(conn, mood.clone())).await;
    (backend, status)
}

async fn answer(mut conn: Conn, mood: Arc<AtomicU16>) {
    while let Some(request) = conn.request().await {
        match request.head.starts_with(PROBE.as_bytes()) {
            true => {
                let status = mood.load(Ordering::Relaxed);
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
                conn.send(head).await;
            }
            false => conn.send(ok(b"")).await,
        }
    }
}

fn is_probe(request: &Message) -> bool {
    request.head.starts_with(PROBE.as_bytes())
}

fn probes(backend: &Backend) -> usize {
    backend
        .requests()
        .iter()
        .filter(|one| is_probe(one))
        .count()
}

fn requests(backend: &Backend) -> usize {
    backend.requests().len() - probes(backend)
}

/// Waits until so many more probes have come: time passes by them.
async fn more_probes(backend: &Backend, more: usize) {
    let enough = probes(backend) + more;
    let count = |requests: &[Message]| requests.iter().filter(|one| is_probe(one)).count();
    backend
        .wait_for(|seen| count(&seen.requests) >= enough)
        .await;
}

/// The connections so far, one from here among them: those before it have come.
async fn settled(backend: &Backend) -> usize {
    let before = requests(backend);
    let mut client = Client::connect(([127, 0, 0, 1], port(backend)).into()).await;
    client.get("a.test", "/").await;
    assert!(requests(backend) > before);
    backend.connections()
}

fn port(backend: &Backend) -> u16 {
    backend.at().parse().unwrap()
}

async fn ask(proxy: &Proxy, times: usize) {
    let mut client = proxy.plain().await;
    for _ in 0..times {
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_well_gets_no_requests_until_it_is() {
    let ((first, mood), second) = (moody().await, moody().await.0);
    mood.store(500, Ordering::Relaxed);
    let proxy = start(&both(first.at(), second.at()), quick());
    comes_to(&proxy, 0, State::Down).await;
    comes_to(&proxy, 1, State::Up).await;
    ask(&proxy, 4).await;
    assert_eq!((requests(&first), requests(&second)), (0, 4));
    assert_eq!(trouble(&proxy, 0).unwrap(), "status 500");
    mood.store(204, Ordering::Relaxed);
    comes_to(&proxy, 0, State::Up).await;
    ask(&proxy, 4).await;
    assert_eq!((requests(&first), requests(&second)), (2, 6));
}

#[tokio::test]
async fn failures_count_in_a_row() {
    let (backend, mood) = moody().await;
    let proxy = start(
        backend.at(),
        HealthCheck {
            down_after: 3,
            ..quick()
        },
    );
    comes_to(&proxy, 0, State::Up).await;
    mood.store(503, Ordering::Relaxed);
    let before = probes(&backend);
    comes_to(&proxy, 0, State::Down).await;
    // One may have been under way.
    assert!(probes(&backend) >= before + 3);
}

#[tokio::test]
async fn the_first_probe_comes_at_the_start_and_decides_alone() {
    let (well, dead) = (moody().await.0, Backend::refusing());
    let proxy = start(&both(&dead.at(), well.at()), once());
    comes_to(&proxy, 0, State::Down).await;
    comes_to(&proxy, 1, State::Up).await;
    assert_eq!(trouble(&proxy, 0).unwrap(), "connection refused");
    assert_eq!((proxy.probed(), probes(&well)), (2, 1));
}

#[tokio::test]
async fn a_status_is_well_where_the_check_says_so() {
    let check = async |answered: u16, well: std::ops::RangeInclusive<u16>, is: State| {
        let (backend, mood) = moody().await;
        mood.store(answered, Ordering::Relaxed);
        let check = HealthCheck {
            status: well,
            ..once()
        };
        let proxy = start(backend.at(), check);
        comes_to(&proxy, 0, is).await;
        let told = (is == State::Down).then(|| format!("status {answered}"));
        assert_eq!(trouble(&proxy, 0), told);
    };
    check(399, 200..=399, State::Up).await;
    check(400, 200..=399, State::Down).await;
    check(199 + 1, 204..=204, State::Down).await;
    check(204, 204..=204, State::Up).await;
    check(401, 200..=499, State::Up).await;
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let brief = HealthCheck {
        timeout: Duration::from_millis(50),
        ..quick()
    };
    let silent = Backend::stalling().await;
    let proxy = start(silent.at(), brief.clone());
    comes_to(&proxy, 0, State::Down).await;
    assert_eq!(trouble(&proxy, 0).unwrap(), "no answer within 50ms");

    let garbage = Backend::answering("SSH-2.0-x\r\n\r\n").await;
    let proxy = start(garbage.at(), quick());
    comes_to(&proxy, 0, State::Down).await;
    let h1 = Backend::echo().await;
    let proxy = start(&format!("\"h2c://{}\"", h1.at()), quick());
    comes_to(&proxy, 0, State::Down).await;
    let why = trouble(&proxy, 0).unwrap();
    assert!(why.contains("does not speak HTTP/2"), "{why}");

    let certificates = Certificates::of(&[&["localhost"]]);
    let unknown = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    let proxy = start(&format!("\"https://{}\"", unknown.at()), quick());
    comes_to(&proxy, 0, State::Down).await;
    let why = trouble(&proxy, 0).unwrap();
    assert!(why.contains("invalid peer certificate"), "{why}");
}

#[tokio::test]
async fn a_probe_says_who_asks_and_that_nothing_follows() {
    let (backend, _) = moody().await;
    let _proxy = start(backend.at(), once());
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    let probe = backend.last();
    assert!(probe.head.starts_with(b"GET /healthz HTTP/1.1\r\n"));
    for (name, value) in [
        ("host", &*format!("localhost:{}", backend.at())),
        ("user-agent", "hostmux-health-check"),
        ("connection", "close"),
    ] {
        assert_eq!(probe.field(name).unwrap(), value);
    }
    // The endpoint would have kept the connection.
    backend.wait_for(|seen| seen.over == 1).await;

    let named = HealthCheck {
        host: Some("app.test".to_owned()),
        ..once()
    };
    let (backend, _) = moody().await;
    let _proxy = start(backend.at(), named);
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    assert_eq!(backend.last().field("host").unwrap(), "app.test");
}

#[tokio::test]
async fn every_probe_has_a_connection_of_its_own() {
    let (h1, _) = moody().await;
    let h2 = H2Backend::echo().await;
    let _proxy = start(&both(h1.at(), &h2.at()), quick());
    h1.wait_for(|seen| seen.over >= 5).await;
    h2.wait_for(|seen| seen.closed >= 5).await;
    h1.wait_for(|seen| seen.connections <= seen.requests.len() + 1)
        .await;
    h2.wait_for(|seen| seen.connections <= seen.calls + 1).await;
}

#[tokio::test]
async fn an_endpoint_is_asked_as_requests_ask_it() {
    let certificates = Certificates::of(&[&["localhost"]]);
    let tls = Backend::echo_tls(&certificates, &["http/1.1"]).await;
    let h2_tls = H2Backend::echo_tls(&certificates).await;
    let (unix, v6, h2c) = (
        Backend::echo_unix(),
        Backend::echo_v6().await,
        H2Backend::echo().await,
    );
    for at in [
        unix.at().to_owned(),
        v6.at().to_owned(),
        h2c.at(),
        format!("https://{}", tls.at()),
        format!("https://{}", h2_tls.port()),
    ] {
        let tls = match at.starts_with("https") {
            true => format!(", tls: {{ ca: {} }}", certificates.ca()),
            false => String::new(),
        };
        let proxy = start(&format!("{{ endpoints: \"{at}\"{tls} }}"), once());
        until(|| state(&proxy, 0) != State::Unknown).await;
        assert_eq!(
            (state(&proxy, 0), trouble(&proxy, 0)),
            (State::Up, None),
            "{at}"
        );
    }
    for backend in [&unix, &v6, &tls] {
        assert_eq!(probes(backend), 1);
    }
    for backend in [&h2c, &h2_tls] {
        backend
            .wait_for(|seen| seen.calls == 1 && seen.closed == 1)
            .await;
    }
}

#[tokio::test]
async fn without_a_path_a_connection_is_enough() {
    let silent = Backend::script(|mut conn| async move { conn.closed().await }).await;
    let dead = Backend::refusing();
    let check = HealthCheck {
        path: None,
        ..quick()
    };
    let proxy = start(&both(silent.at(), &dead.at()), check);
    comes_to(&proxy, 0, State::Up).await;
    comes_to(&proxy, 1, State::Down).await;
    let revived = dead.come_up_with(|mut conn| async move { conn.closed().await });
    comes_to(&proxy, 1, State::Up).await;
    revived.wait_for(|seen| seen.over >= 2).await;
    assert_eq!(silent.requests().len(), 0);
}

#[tokio::test]
async fn a_long_answer_is_cut_off_and_well() {
    let backend = Backend::script(|mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n")
            .await;
        while conn.wire().try_send([b'x'; 65536]).await.is_ok() {}
    })
    .await;
    let proxy = start(backend.at(), once());
    comes_to(&proxy, 0, State::Up).await;
    backend.wait_for(|seen| seen.over == 1).await;
}

#[tokio::test]
async fn when_all_are_down_all_are_tried() {
    let ((first, one), (second, other)) = (moody().await, moody().await);
    one.store(500, Ordering::Relaxed);
    other.store(500, Ordering::Relaxed);
    let proxy = start(&both(first.at(), second.at()), quick());
    comes_to(&proxy, 0, State::Down).await;
    comes_to(&proxy, 1, State::Down).await;
    ask(&proxy, 4).await;
    assert_eq!((requests(&first), requests(&second)), (2, 2));
}

#[tokio::test]
async fn a_member_that_is_removed_is_not_asked_any_more() {
    let (gone, stays) = (moody().await.0, moody().await.0);
    let proxy = start(&both(gone.at(), stays.at()), quick());
    comes_to(&proxy, 0, State::Up).await;
    let name = format!("localhost:{}", gone.at());
    proxy.upstream("a.test").remove(&name, false).unwrap();
    until(|| proxy.probed() == 1).await;
    let last = settled(&gone).await;
    more_probes(&stays, 5).await;
    assert_eq!(gone.connections(), last);
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_and_asks_who_is_new() {
    let ((first, mood), second, third) = (moody().await, moody().await.0, moody().await.0);
    let proxy = start(&both(first.at(), second.at()), once());
    comes_to(&proxy, 0, State::Up).await;
    comes_to(&proxy, 1, State::Up).await;
    proxy.replace_as(&yaml(&both(first.at(), third.at())), with(once()));
    comes_to(&proxy, 1, State::Up).await;
    assert_eq!(state(&proxy, 0), State::Up);
    assert_eq!((probes(&first), probes(&third), proxy.probed()), (1, 1, 2));

    // Another check is another question.
    proxy.replace_as(&yaml(&both(first.at(), third.at())), with(quick()));
    until(|| probes(&first) > 1).await;
    comes_to(&proxy, 0, State::Up).await;
    // What is found goes to the upstream that there is after a reload.
    proxy.replace_as(&yaml(&both(first.at(), second.at())), with(quick()));
    mood.store(500, Ordering::Relaxed);
    comes_to(&proxy, 0, State::Down).await;
    let before = requests(&first);
    ask(&proxy, 4).await;
    assert_eq!(requests(&first), before);

    proxy.replace(&yaml(&both(first.at(), second.at())));
    until(|| proxy.probed() == 0).await;
}

#[tokio::test]
async fn members_that_come_and_go_leave_no_task() {
    let backend = moody().await.0;
    let proxy = start(backend.at(), quick());
    let upstream = proxy.upstream("a.test");
    let silent = Backend::stalling().await;
    let port = port(&silent);
    let settings = EndpointSettings::from(Address::Port(port));
    for n in 0..1000 {
        let member = upstream.member(&settings, Origin::Runtime).unwrap();
        upstream.add(member).unwrap();
        if n % 100 == 0 {
            until(|| proxy.probed() == 2).await;
        }
        upstream
            .remove(&format!("localhost:{port}"), false)
            .unwrap();
    }
    until(|| proxy.probed() == 1).await;
    silent.wait_for(|seen| seen.over == seen.connections).await;
    more_probes(&backend, 2).await;
    assert_eq!(proxy.probed(), 1);
}

#[tokio::test]
async fn nobody_is_asked_after_the_end() {
    let backend = moody().await.0;
    let mut proxy = start(backend.at(), quick());
    more_probes(&backend, 2).await;
    assert_eq!(proxy.drain().await, 0);
    let last = settled(&backend).await;
    assert_eq!(settled(&backend).await, last + 1);
}

/// An endpoint that answers probes, and nothing else.
struct Stuck {
    at: String,
    mood: Arc<AtomicU16>,
    /// Requests that wait for it.
    waiting: Arc<AtomicUsize>,
    _backend: Box<dyn Any>,
}

async fn stuck() -> Stuck {
    let (mood, waiting) = (Arc::new(AtomicU16::new(200)), Arc::<AtomicUsize>::default());
    let (status, count) = (mood.clone(), waiting.clone());
    let backend = Backend::script(move |mut conn: Conn| {
        let (status, count) = (status.clone(), count.clone());
        async move {
            let request = conn.request().await.unwrap();
            if !is_probe(&request) {
                count.fetch_add(1, Ordering::Relaxed);
                return conn.closed().await;
            }
            let status = status.load(Ordering::Relaxed);
            conn.send(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"))
                .await;
        }
    })
    .await;
    Stuck {
        at: backend.at().to_owned(),
        mood,
        waiting,
        _backend: Box::new(backend),
    }
}

async fn stuck_h2() -> Stuck {
    let (mood, waiting) = (Arc::new(AtomicU16::new(200)), Arc::<AtomicUsize>::default());
    let (status, count) = (mood.clone(), waiting.clone());
    let backend = H2Backend::script(Builder::new(), move |mut call: Call| {
        let (status, count) = (status.clone(), count.clone());
        async move {
            if call.request.uri().path() != "/healthz" {
                count.fetch_add(1, Ordering::Relaxed);
                call.reset().await;
                return;
            }
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap();
            call.respond.send_response(answer, true).unwrap();
        }
    })
    .await;
    Stuck {
        at: backend.at(),
        mood,
        waiting,
        _backend: Box::new(backend),
    }
}

/// A GET that waits goes to another; a POST may have done its work.
async fn is_left_by_gets(stuck: Stuck) {
    let well = moody().await.0;
    let proxy = start(&both(&stuck.at, well.at()), quick());
    comes_to(&proxy, 0, State::Up).await;
    comes_to(&proxy, 1, State::Up).await;
    let post = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nhi";
    let mut clients = Vec::new();
    // Of two that follow each other one comes to the one that is stuck.
    for (request, waiting) in [(post, 1), (&*get("a.test", "/"), 2)] {
        for _ in 0..2 {
            let mut client = proxy.plain().await;
            client.send(request).await;
            clients.push(client);
        }
        until(|| stuck.waiting.load(Ordering::Relaxed) == waiting).await;
        until(|| requests(&well) == waiting).await;
    }
    stuck.mood.store(500, Ordering::Relaxed);
    for client in &mut clients[2..] {
        assert_eq!(client.answer().await.status, 200);
    }
    let lines = proxy.logged(3).await;
    let retried: Vec<_> = lines.iter().filter(|line| line["attempts"] == 2).collect();
    assert_eq!(retried.len(), 1);
    assert_eq!(retried[0]["method"], "GET");
    assert_eq!(requests(&well), 3, "the other POST waits on");
    assert_eq!(stuck.waiting.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_get_leaves_an_endpoint_that_is_found_down_meanwhile() {
    is_left_by_gets(stuck().await).await;
    is_left_by_gets(stuck_h2().await).await;
}

/// An endpoint whose answers, but those to probes, wait to be let go.
async fn slow() -> (Backend, Arc<AtomicU16>, Arc<Semaphore>) {
    let (mood, open) = (Arc::new(AtomicU16::new(200)), Arc::new(Semaphore::new(0)));
    let (status, gate) = (mood.clone(), open.clone());
    let backend = Backend::script(move |mut conn: Conn| {
        let (status, gate) = (status.clone(), gate.clone());
        async move {
            while let Some(request) = conn.request().await {
                if is_probe(&request) {
                    let status = status.load(Ordering::Relaxed);
                    conn.send(answer_of(status)).await;
                    continue;
                }
                gate.acquire().await.unwrap().forget();
                conn.send(ok(b"late")).await;
            }
        }
    });
    (backend.await, mood, open)
}

fn answer_of(status: u16) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n")
}

/// An endpoint that was found down lost requests that it could still have
/// answered, and that could go nowhere else.
#[tokio::test]
async fn what_can_go_nowhere_else_stays_at_an_endpoint_that_is_found_down() {
    let ((first, mood, open), (second, other)) = (slow().await, moody().await);
    let proxy = start(&both(first.at(), second.at()), quick());
    comes_to(&proxy, 0, State::Up).await;
    comes_to(&proxy, 1, State::Up).await;
    let (mut large, mut small) = (proxy.plain().await, proxy.plain().await);
    let body = "x".repeat(100_000);
    let put = format!("PUT / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100000\r\n\r\n{body}");
    large.send(put).await;
    until(|| requests(&first) == 1).await;
    mood.store(500, Ordering::Relaxed);
    comes_to(&proxy, 0, State::Down).await;
    // Longer than an attempt goes without a look.
    more_probes(&first, 80).await;
    open.add_permits(1);
    assert_eq!(large.answer().await.text(), "late");

    // With the other down already, a GET has nowhere to go.
    mood.store(200, Ordering::Relaxed);
    other.store(500, Ordering::Relaxed);
    comes_to(&proxy, 0, State::Up).await;
    comes_to(&proxy, 1, State::Down).await;
    small.send(get("a.test", "/")).await;
    until(|| requests(&first) == 2).await;
    mood.store(500, Ordering::Relaxed);
    comes_to(&proxy, 0, State::Down).await;
    more_probes(&first, 80).await;
    open.add_permits(1);
    assert_eq!(small.answer().await.text(), "late");
    for line in proxy.logged(2).await {
        assert_eq!(line["attempts"], 1);
    }
}

/// The client has seen a part of an answer: another would tell it twice.
#[tokio::test]
async fn who_was_given_hints_is_given_no_others() {
    let mood = Arc::new(AtomicU16::new(200));
    let status = mood.clone();
    let hinting = Backend::script(move |mut conn: Conn| {
        let status = status.clone();
        async move {
            let request = conn.request().await.unwrap();
            if is_probe(&request) {
                return conn.send(answer_of(status.load(Ordering::Relaxed))).await;
            }
            conn.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n")
                .await;
            conn.closed().await;
        }
    });
    let (hinting, well) = (hinting.await, moody().await.0);
    let proxy = start(&both(hinting.at(), well.at()), quick());
    comes_to(&proxy, 0, State::Up).await;
    comes_to(&proxy, 1, State::Up).await;
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    assert_eq!(client.head().await.unwrap().status, 103);
    mood.store(500, Ordering::Relaxed);
    comes_to(&proxy, 0, State::Down).await;
    more_probes(&hinting, 80).await;
    assert_eq!(requests(&well), 0);
}

/// One that was added by hand stayed down for good: nobody asked it any more.
#[tokio::test]
async fn without_a_check_none_is_down() {
    let ((first, mood), second) = (moody().await, moody().await.0);
    mood.store(500, Ordering::Relaxed);
    let proxy = start(second.at(), once());
    let upstream = proxy.upstream("a.test");
    let settings = EndpointSettings::from(Address::Port(port(&first)));
    let member = upstream.member(&settings, Origin::Runtime).unwrap();
    upstream.add(member).unwrap();
    comes_to(&proxy, 1, State::Down).await;
    proxy.replace(&yaml(second.at()));
    assert_eq!(state(&proxy, 1), State::Unknown);
    ask(&proxy, 4).await;
    assert_eq!((requests(&first), requests(&second)), (2, 2));
}

#[tokio::test]
async fn sites_yaml_says_what_is_asked_for() {
    let backend = Backend::echo().await;
    let upstream = format!("{{ endpoints: {}, health_check: /up }}", backend.at());
    let proxy = Proxy::start(&yaml(&upstream));
    comes_to(&proxy, 0, State::Up).await;
    let asked = backend.last();
    assert_eq!(asked.first_line(), "GET /up HTTP/1.1");
    assert_eq!(asked.field("host").as_deref(), Some("a.test"));
}
