//! What a changed configuration does to what is under way: nothing where it is
//! none of its business, and where it is, nothing but to WebSockets whose
//! endpoint has gone.

use std::sync::Arc;
use std::time::Instant;

use hostmux::upstream::Address;
use hostmux::upstream::member::{Origin, State};
use tokio::sync::Semaphore;

use crate::harness::{Backend, Chat, Conn, Heard, Proxy, answer, get};

const RELOADS: usize = 100;
/// What an upload sends between two reloads.
const PIECE: [u8; 1000] = [b'u'; 1000];

/// Answers for as long as it is asked, and keeps its connections for long.
async fn keeping(body: &'static str) -> Backend {
    let head = format!(
        "200 OK\nkeep-alive: timeout=100\ncontent-length: {}",
        body.len()
    );
    Backend::answering(answer(&head, body)).await
}

/// A stream of events, each when it is let to.
async fn events() -> (Backend, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let backend = Backend::script(move |mut conn: Conn| {
        let gate = open.clone();
        async move {
            conn.request().await;
            conn.send(answer("200 OK\ncontent-type: text/event-stream", ""))
                .await;
            for n in 0.. {
                let Ok(permit) = gate.acquire().await else {
                    return;
                };
                permit.forget();
                conn.send(event(n)).await;
            }
        }
    })
    .await;
    (backend, gate)
}

fn event(n: usize) -> String {
    format!("data: event {n}\n\n")
}

/// Site A with all that lasts, and others that change all the time.
struct House {
    keeping: Backend,
    chat: Backend,
    events: Backend,
    gate: Arc<Semaphore>,
    upload: Backend,
    others: [Backend; 2],
    dead: String,
}

impl House {
    async fn open() -> Self {
        let (events, gate) = events().await;
        Self {
            keeping: keeping("a").await,
            chat: Backend::websocket().await,
            events,
            gate,
            upload: Backend::echo().await,
            others: [keeping("b0").await, keeping("b1").await],
            dead: Backend::refusing().at(),
        }
    }

    /// The configuration after so many changes.
    fn yaml(&self, n: usize) -> String {
        let mut yaml = String::from("defaults: { plain_http: serve }\nsites:\n");
        // Lines above a site move it, and change nothing of it.
        yaml.push_str(&"  # moved\n".repeat(n % 3));
        if n % 2 == 1 {
            yaml.push_str("  c.test: 9\n");
        }
        yaml.push_str(&format!(
            "  a.test:\n    upstream: {}\n    routes:\n      /chat: {}\n      /events: {}\n      /upload: {}\n",
            self.keeping.at(),
            self.chat.at(),
            self.events.at(),
            self.upload.at(),
        ));
        yaml.push_str(&format!(
            "  d.test:\n    upstream: {{ endpoints: [{}, {}], eject: {{ after: 1, for: 1h }} }}\n",
            self.dead,
            self.keeping.at(),
        ));
        yaml.push_str(&format!(
            "  b.test:\n    max_body: {}KiB\n    upstream: {}\n",
            n + 1,
            self.others[n % 2].at(),
        ));
        yaml
    }
}

async fn reload(proxy: &Proxy, yaml: &str) {
    proxy.write(yaml);
    let (status, told) = proxy.command("POST /v1/reload", "{}").await;
    assert_eq!(status, 200, "{told}");
}

#[tokio::test]
async fn a_hundred_reloads_of_others_are_not_noticed() {
    let house = House::open().await;
    let proxy = Proxy::commanded(&house.yaml(0));
    let mut chats = Chat::of_each(&proxy, "a.test", "/chat").await;
    let (mut plain, mut tls) = (proxy.plain().await, proxy.tls("a.test").await);
    let mut h2 = proxy.frames("a.test").await;
    let mut listener = proxy.plain().await;
    listener.send(get("a.test", "/events")).await;
    assert_eq!(listener.head().await.unwrap().status, 200);
    let mut uploader = proxy.plain().await;
    let length = RELOADS * PIECE.len();
    let head = format!("POST /upload HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n");
    uploader.send(head).await;
    let mut ejected = proxy.plain().await;
    let mut out = Vec::new();
    let mut kept = 0;
    for n in 0..RELOADS {
        reload(&proxy, &house.yaml(n)).await;
        for chat in &mut chats {
            chat.works(&format!("after {n}")).await;
        }
        house.gate.add_permits(1);
        assert_eq!(listener.wire().chunk().await, event(n).as_bytes());
        uploader.send(PIECE).await;
        for client in [&mut plain, &mut tls] {
            let answer = client.get("a.test", "/").await;
            assert_eq!((answer.text().as_str(), answer.whole), ("a", true));
        }
        let stream = 2 * n as u32 + 1;
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", "/"),
        ];
        h2.ask(stream, &fields, None).await;
        assert_eq!(h2.heard(stream).await, Heard::Status(200));
        assert_eq!(ejected.get("d.test", "/").await.text(), "a");
        let members = proxy.upstream("d.test").registry.members();
        let states = members
            .iter()
            .map(|member| (member.id, member.state(Instant::now())));
        let states: Vec<_> = states.collect();
        // The site that does change serves what it says now.
        let answer = ejected.get("b.test", "/").await;
        assert_eq!(answer.text(), format!("b{}", n % 2));
        if n == 2 {
            assert!(states.iter().any(|(_, state)| *state == State::Ejected));
            (out, kept) = (states, house.keeping.connections());
        } else if n > 2 {
            assert_eq!(states, out);
        }
    }
    assert_eq!(house.keeping.connections(), kept, "pools are kept");
    let answer = uploader.answer().await;
    assert!(answer.whole && answer.body.ends_with(&PIECE.repeat(RELOADS)));
    house.gate.close();
    assert!(
        listener.wire().chunk().await.is_empty(),
        "the endpoint's own end"
    );
    assert_eq!(
        (house.chat.connections(), house.events.connections()),
        (3, 1)
    );
}

/// Requests of a site that goes are finished, however long they take.
#[tokio::test]
async fn a_request_under_way_outlives_its_site() {
    let (endpoint, gate) = events().await;
    let slow = Backend::echo().await;
    let routes = format!("{{ /events: {}, /upload: {} }}", endpoint.at(), slow.at());
    let proxy = Proxy::start_retiring_at_once(&format!(
        "sites: {{ a.test: {{ plain_http: serve, routes: {routes} }} }}"
    ));
    let (mut listener, mut uploader) = (proxy.plain().await, proxy.plain().await);
    listener.send(get("a.test", "/events")).await;
    let heard = listener.head().await.unwrap();
    assert_eq!(heard.status, 200);
    uploader
        .send("POST /upload HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nhello")
        .await;
    slow.wait_for(|seen| seen.connections == 1).await;
    for n in 0..10 {
        proxy.replace("sites: { b.test: 9 }");
        gate.add_permits(1);
        assert_eq!(listener.wire().chunk().await, event(n).as_bytes());
    }
    uploader.send("hello").await;
    let answer = uploader.answer().await;
    assert!(answer.whole && answer.text().ends_with("hellohello"));
    assert_eq!(uploader.get("a.test", "/upload").await.status, 404);
}

fn one(keys: &str) -> String {
    format!("defaults: {{ plain_http: serve }}\nsites:\n  a.test: {keys}\n  kept.test: KEPT\n")
}

#[tokio::test]
async fn a_websocket_leaves_once_nothing_leads_to_its_endpoint() {
    let (first, second) = (Backend::websocket().await, Backend::echo().await);
    let kept = Backend::websocket().await;
    let at = first.at();
    let route = format!("{{ upstream: {}, routes: {{ /chat: {at} }} }}", second.at());
    for (before, after, path) in [
        // Its site goes, its route, its endpoint; and what leads nowhere, or elsewhere.
        (at.to_owned(), "GONE".to_owned(), "/"),
        (route.clone(), second.at().to_owned(), "/chat"),
        (
            route.clone(),
            format!("{{ routes: {{ /other: {at} }} }}"),
            "/chat",
        ),
        (at.to_owned(), second.at().to_owned(), "/"),
        (
            at.to_owned(),
            "{ redirect: \"https://b.test{path}\" }".to_owned(),
            "/",
        ),
    ] {
        let yaml = |keys: &str| one(keys).replace("KEPT", kept.at());
        let proxy = Proxy::start_retiring_at_once(&yaml(&before));
        let chats = Chat::of_each(&proxy, "a.test", path).await;
        let mut others = Chat::of_each(&proxy, "kept.test", "/").await;
        proxy.replace(&yaml(&after).replace("  a.test: GONE\n", ""));
        for chat in chats {
            chat.leaves().await;
        }
        for chat in &mut others {
            chat.works("still here").await;
        }
    }
}

/// Removed by hand, it gets no more requests, and those under way go on.
#[tokio::test]
async fn a_websocket_stays_at_an_endpoint_that_was_removed_by_hand() {
    let (gone, kept) = (Backend::websocket().await, Backend::websocket().await);
    let before = one(gone.at()).replace("KEPT", kept.at());
    let proxy = Proxy::start_retiring_at_once(&before);
    let leaving = Chat::of_each(&proxy, "a.test", "/").await;
    let mut chats = Chat::of_each(&proxy, "kept.test", "/").await;
    let name = format!("localhost:{}", kept.at());
    proxy.upstream("kept.test").remove(&name, true).unwrap();
    proxy.replace(&before.replace(&format!("  a.test: {}\n", gone.at()), ""));
    for chat in leaving {
        chat.leaves().await;
    }
    for chat in &mut chats {
        chat.works("still here").await;
    }
}

/// It stayed for ever: an endpoint that was added by hand was taken for one of
/// every upstream.
#[tokio::test]
async fn a_websocket_of_an_endpoint_added_by_hand_leaves_with_its_route() {
    let (added, declared) = (Backend::websocket().await, Backend::echo().await);
    let (other, at) = (Backend::echo().await, declared.at());
    let yaml = |keys: &str| one(keys).replace("KEPT", other.at());
    let before = format!("{{ upstream: {}, routes: {{ /chat: {at} }} }}", other.at());
    let proxy = Proxy::start_retiring_at_once(&yaml(&before));
    let upstream = proxy.upstream("a.test");
    let settings = Address::Port(added.at().parse().unwrap()).into();
    let member = upstream.member(&settings, Origin::Runtime).unwrap();
    let name = member.endpoint.name.clone();
    upstream.add(member).unwrap();
    upstream.remove(&format!("localhost:{at}"), true).unwrap();
    let mut chats = Chat::of_each(&proxy, "a.test", "/chat").await;
    // Removed by hand it gets no more, and those under way go on.
    upstream.remove(&name, true).unwrap();
    proxy.replace(&yaml(&format!("{before}\n  new.test: 9")));
    for chat in &mut chats {
        chat.works("still here").await;
    }
    proxy.replace(&yaml(other.at()));
    for chat in chats {
        chat.leaves().await;
    }
}

#[tokio::test]
async fn a_websocket_stays_whatever_else_changes_of_its_site() {
    let (own, other) = (Backend::websocket().await, Backend::echo().await);
    let gone = Backend::websocket().await;
    let at = own.at();
    let yaml = |keys: &str, gone: &str| one(keys).replace("KEPT", gone);
    let proxy = Proxy::start_retiring_at_once(&yaml(at, gone.at()));
    let mut chats = Chat::of_each(&proxy, "a.test", "/chat").await;
    for keys in [
        format!("{{ upstream: [{at}, {}] }}", other.at()),
        format!("{{ upstream: {{ endpoints: [{at}], connect_timeout: 7s }} }}"),
        format!("{{ upstream: {{ endpoints: [{at}], eject: off, health_check: {{ path: / }} }} }}"),
        format!("{{ upstream: {at}, max_body: 1KiB, host: endpoint }}"),
        format!("{{ upstream: {{ endpoints: [{{ address: {at}, weight: 3 }}] }} }}"),
        // Another route that leads to the same place.
        format!("{{ upstream: {}, routes: {{ /chat: {at} }} }}", other.at()),
        // A fault that harms new requests alone, and its end.
        "{ upstream: eighty }".to_owned(),
        at.to_owned(),
    ] {
        // Beside one that goes, so that all were looked at.
        proxy.replace(&yaml(at, gone.at()));
        let leaving = Chat::of_each(&proxy, "kept.test", "/").await;
        proxy.replace(&yaml(&keys, other.at()));
        for chat in leaving {
            chat.leaves().await;
        }
        for chat in &mut chats {
            chat.works("still here").await;
        }
    }
}

/// Redirects led to a port on which nobody listened, and the next reload did
/// not say any more that a restart was needed.
#[tokio::test]
async fn listeners_are_those_of_the_start_until_the_next_one() {
    let endpoint = keeping("a").await;
    let sites = format!("sites:\n  a.test: {}\n", endpoint.at());
    let proxy = Proxy::commanded(&sites);
    let mut client = proxy.plain().await;
    let before = client.get("a.test", "/").await;
    assert_eq!(before.status, 308);
    for more in ["", "# once more\n", "# and again\n"] {
        proxy.write(&format!("listen: {{ https: 9 }}\n{sites}{more}"));
        let (status, told) = proxy.command("POST /v1/reload", "").await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(told["waiting"], serde_json::json!(["listen"]));
        let after = client.get("a.test", "/").await;
        assert_eq!(after.field("location"), before.field("location"));
    }
}
