use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;
use crate::upstream::member::State;
use crate::upstream::sticky::Secret;
use crate::upstream::{Address, Commons, EndpointSettings, Settings, Upstream};

/// How long anything may take before a test has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// All defaults but for a short pause.
pub(super) fn check() -> HealthCheck {
    HealthCheck {
        path: Some("/".to_owned()),
        host: None,
        every: Duration::from_millis(5),
        timeout: TIMEOUT,
        status: STATUS,
        down_after: DOWN_AFTER,
        up_after: UP_AFTER,
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_change_is_told_once_with_its_reason() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut settings = Settings::of(vec![EndpointSettings::from(Address::Port(port))]);
    settings.health_check = Some(check());
    let commons = Commons::new(Secret::new(&[1; 32]));
    let upstream = Upstream::new("a.test", "/", settings, &commons, None);
    let upstream = Arc::new(upstream);
    let changed = commons.changed.subscribe();
    let local = LocalSet::new();
    local.spawn_local(supervise(move || vec![upstream.clone()], changed));
    let probes = async {
        // Each is answered with nothing at all.
        for _ in 0..6 {
            listener.accept().await.unwrap();
        }
    };
    timeout(PATIENCE, local.run_until(probes)).await.unwrap();

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("a.test") && line.contains("endpoint changed"))
        .collect();
    let [line] = told[..] else {
        panic!("{text}");
    };
    // Its only one: that is worth a word of its own, once.
    assert_eq!(text.matches("no endpoint is well").count(), 1, "{text}");
    let endpoint = format!("endpoint=localhost:{port}");
    for part in [
        "endpoint changed",
        "was=\"unknown\"",
        "now=\"down\"",
        &endpoint,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(
        line.contains("before the answer") || line.contains("closed"),
        "{line}"
    );
}

/// A site that a reload splits in two leaves both the same members.
#[tokio::test]
async fn a_member_of_two_upstreams_is_asked_once_and_both_are_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = Address::Socket(listener.local_addr().unwrap());
    let dead = Address::Unix("/no/such.sock".into());
    let endpoints = [dead, live].map(EndpointSettings::from);
    let mut settings = Settings::of(endpoints.to_vec());
    settings.health_check = Some(HealthCheck {
        path: None,
        ..check()
    });
    let commons = Commons::new(Secret::new(&[1; 32]));
    let of = |site: &str, previous: Option<&Upstream>| {
        Upstream::new(site, "/", settings.clone(), &commons, previous)
    };
    let whole = of("a.test", None);
    let parts = ["a.test", "b.test"].map(|site| Arc::new(of(site, Some(&whole))));
    let (changed, upstreams) = (commons.changed.subscribe(), parts.to_vec());
    let local = LocalSet::new();
    local.spawn_local(supervise(move || upstreams.clone(), changed));
    let members = parts[1].registry.members();
    let known = async {
        while members.iter().any(|member| {
            let state = member.state(std::time::Instant::now());
            state == State::Unknown
        }) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, local.run_until(known)).await.unwrap();
    assert_eq!(commons.probed.load(Ordering::Relaxed), 2);
    for upstream in &parts {
        assert!(members[0].is_down() && !upstream.has_another(&[members[1].id]));
    }
}
