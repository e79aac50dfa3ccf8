use super::*;
use crate::upstream::member::State;

fn settings(ports: &[u16]) -> Settings {
    let endpoints = ports.iter().copied().map(Address::Port);
    Settings::of(endpoints.map(EndpointSettings::from).collect())
}

fn commons() -> Commons {
    Commons::new(Secret::new(&[1; 32]))
}

fn of(settings: Settings) -> Upstream {
    Upstream::new("a.test", "/", settings, &commons(), None)
}

fn upstream(ports: &[u16]) -> Upstream {
    of(settings(ports))
}

fn client() -> IpAddr {
    [127, 0, 0, 1].into()
}

fn wish(tried: &[u64]) -> Wish<'_> {
    Wish {
        tried,
        client: client(),
        token: None,
    }
}

fn pick(upstream: &Upstream, tried: &[u64]) -> Option<Lease> {
    match upstream.pick(&wish(tried), Instant::now()) {
        Pick::Lease(lease) => Some(lease),
        Pick::Full | Pick::Nobody => None,
    }
}

fn name(upstream: &Upstream) -> String {
    pick(upstream, &[]).unwrap().endpoint().name.to_string()
}

/// Lets the member fail so often in a row.
fn fail(upstream: &Upstream, name: &str, times: u32, now: Instant) {
    let member = upstream.registry.find(name).unwrap();
    for _ in 0..times {
        upstream.registry.report(&member, Outcome::Failure, now);
    }
}

fn state(upstream: &Upstream, name: &str, now: Instant) -> State {
    upstream.registry.find(name).unwrap().state(now)
}

#[test]
fn endpoints_take_turns() {
    let upstream = upstream(&[1, 2, 3]);
    let turns: Vec<_> = (0..6).map(|_| name(&upstream)).collect();
    assert_eq!(turns[..3], turns[3..]);
    assert_eq!(turns[..3], ["localhost:1", "localhost:2", "localhost:3"]);
}

#[test]
fn what_was_tried_is_not_tried_again() {
    let upstream = upstream(&[1, 2]);
    let first = pick(&upstream, &[]).unwrap().member.id;
    assert!(upstream.has_another(&[first]));
    let second = pick(&upstream, &[first]).unwrap().member.id;
    assert_ne!(first, second);
    assert!(pick(&upstream, &[first, second]).is_none());
    assert!(!upstream.has_another(&[first, second]));
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_out_for_a_while() {
    let upstream = upstream(&[1, 2, 3]);
    let now = Instant::now();
    fail(&upstream, "localhost:2", eject::AFTER - 1, now);
    let member = upstream.registry.find("localhost:2").unwrap();
    upstream.registry.report(&member, Outcome::Success, now);
    fail(&upstream, "localhost:2", eject::AFTER - 1, now);
    assert_eq!(state(&upstream, "localhost:2", now), State::Unknown);
    fail(&upstream, "localhost:2", 1, now);
    assert_eq!(state(&upstream, "localhost:2", now), State::Ejected);
    for _ in 0..6 {
        assert_ne!(name(&upstream), "localhost:2");
    }
    // It is the last resort, and back in its turn after its time.
    let others: Vec<u64> = ["localhost:1", "localhost:3"]
        .map(|name| upstream.registry.find(name).unwrap().id)
        .to_vec();
    assert_eq!(
        &*pick(&upstream, &others).unwrap().endpoint().name,
        "localhost:2"
    );
    let later = now + eject::FOR;
    let names: Vec<_> = (0..3)
        .map(|_| match upstream.pick(&wish(&[]), later) {
            Pick::Lease(lease) => lease.endpoint().name.to_string(),
            other @ (Pick::Full | Pick::Nobody) => panic!("{other:?}"),
        })
        .collect();
    assert!(names.contains(&"localhost:2".to_owned()), "{names:?}");
    // One more failure is enough now, and twice the time.
    fail(&upstream, "localhost:2", 1, later);
    assert_eq!(
        state(&upstream, "localhost:2", later + eject::FOR),
        State::Ejected
    );
}

#[test]
fn when_all_are_out_all_are_tried() {
    let upstream = upstream(&[1, 2]);
    let now = Instant::now();
    for name in ["localhost:1", "localhost:2"] {
        fail(&upstream, name, eject::AFTER, now);
        assert_eq!(state(&upstream, name, now), State::Ejected);
    }
    assert_ne!(name(&upstream), name(&upstream));
    let alone = self::upstream(&[1]);
    fail(&alone, "localhost:1", 100, now);
    assert_eq!(state(&alone, "localhost:1", now), State::Unknown);
}

#[test]
fn backups_come_when_none_of_the_others_is_there() {
    let mut settings = settings(&[1, 2, 3]);
    settings.endpoints[2].backup = true;
    let upstream = of(settings);
    for _ in 0..4 {
        assert_ne!(name(&upstream), "localhost:3");
    }
    for name in ["localhost:1", "localhost:2"] {
        let member = upstream.registry.find(name).unwrap();
        let down = member::Checked::Down("refused".to_owned());
        upstream.registry.checked(&member, down, "refused");
    }
    for _ in 0..4 {
        assert_eq!(name(&upstream), "localhost:3");
    }
    let member = upstream.registry.find("localhost:3").unwrap();
    let down = member::Checked::Down("refused".to_owned());
    upstream.registry.checked(&member, down, "refused");
    let names: Vec<_> = (0..3).map(|_| name(&upstream)).collect();
    assert_eq!(
        names,
        ["localhost:2", "localhost:3", "localhost:1"],
        "all are tried"
    );
}

#[test]
fn a_full_endpoint_is_passed_over() {
    let mut settings = settings(&[1, 2]);
    settings.max_connections = Some(1);
    let upstream = of(settings);
    let (first, second) = (pick(&upstream, &[]).unwrap(), pick(&upstream, &[]).unwrap());
    assert_ne!(first.member.id, second.member.id);
    assert!(matches!(
        upstream.pick(&wish(&[]), Instant::now()),
        Pick::Full
    ));
    let freed = first.member.id;
    drop(first);
    assert_eq!(pick(&upstream, &[]).unwrap().member.id, freed);
}

#[test]
fn a_client_sticks_to_an_endpoint_until_it_is_gone() {
    let mut settings = settings(&[1, 2]);
    settings.sticky = true;
    let upstream = of(settings);
    let member = upstream.registry.find("localhost:2").unwrap();
    let token = member.token().to_owned();
    let stuck = || {
        let wish = Wish {
            token: Some(&token),
            ..wish(&[])
        };
        match upstream.pick(&wish, Instant::now()) {
            Pick::Lease(lease) => lease.endpoint().name.to_string(),
            other @ (Pick::Full | Pick::Nobody) => panic!("{other:?}"),
        }
    };
    assert!((0..4).all(|_| stuck() == "localhost:2"));
    // Without a share of new clients it keeps its own.
    upstream.registry.set_weight("localhost:2", 0).unwrap();
    assert_eq!(stuck(), "localhost:2");
    assert!((0..4).all(|_| name(&upstream) == "localhost:1"));
    upstream.registry.set_draining("localhost:2", true).unwrap();
    assert_eq!(stuck(), "localhost:1");
}

#[test]
fn members_come_and_go() {
    let upstream = upstream(&[1]);
    let three = upstream
        .member(&Address::Port(3).into(), Origin::Runtime)
        .unwrap();
    upstream.add(three.clone()).unwrap();
    let again = upstream
        .member(&Address::Port(3).into(), Origin::Runtime)
        .unwrap();
    assert_eq!(upstream.add(again), Err(Refused::Present));
    let lease = loop {
        let lease = pick(&upstream, &[]).unwrap();
        if lease.member.id == three.id {
            break lease;
        }
    };
    upstream.remove("localhost:3", false).unwrap();
    assert_eq!(upstream.registry.leaving().len(), 1);
    assert!((0..3).all(|_| name(&upstream) == "localhost:1"));
    drop(lease);
    assert!(upstream.registry.leaving().is_empty());
    let last = upstream.remove("localhost:1", false);
    assert_eq!(last, Err(Refused::Last));
    upstream.remove("localhost:1", true).unwrap();
    assert!(matches!(
        upstream.pick(&wish(&[]), Instant::now()),
        Pick::Nobody
    ));
}

#[test]
fn what_is_known_of_an_endpoint_outlives_a_change_beside_it() {
    let commons = commons();
    let first = Upstream::new("a.test", "/", settings(&[1, 2]), &commons, None);
    let now = Instant::now();
    fail(&first, "localhost:2", eject::AFTER, now);
    let second = Upstream::new("a.test", "/", settings(&[2, 3]), &commons, Some(&first));
    assert!(!first.is_as(&second));
    assert_eq!(state(&second, "localhost:2", now), State::Ejected);
    let third = Upstream::new("a.test", "/", settings(&[2, 3]), &commons, Some(&second));
    assert!(second.is_as(&third));
}

/// A request from before a reload threw an endpoint out of a table that none
/// looks at any more, and so it stayed in the one that holds.
#[test]
fn who_is_out_since_before_a_reload_is_out_after_it() {
    let (before, now) = (upstream(&[1, 2]), Instant::now());
    let after = Upstream::new(
        "a.test",
        "/",
        settings(&[1, 2, 3]),
        &before.commons,
        Some(&before),
    );
    fail(&before, "localhost:1", eject::AFTER, now);
    fail(&after, "localhost:1", 1, now);
    assert_eq!(state(&after, "localhost:1", now), State::Ejected);
    let names: Vec<_> = (0..4).map(|_| name(&after)).collect();
    assert!(!names.iter().any(|name| name == "localhost:1"), "{names:?}");
}

#[test]
fn what_was_changed_by_hand_outlives_a_change_beside_it() {
    let commons = commons();
    let first = Upstream::new("a.test", "/", settings(&[1, 2, 3]), &commons, None);
    first.remove("localhost:1", false).unwrap();
    first.registry.set_weight("localhost:2", 7).unwrap();
    first.registry.set_draining("localhost:3", true).unwrap();
    let mut changed = settings(&[1, 2, 3, 4]);
    let second = Upstream::new("a.test", "/", changed.clone(), &commons, Some(&first));
    assert!(second.registry.find("localhost:1").is_none());
    assert_eq!(second.registry.find("localhost:2").unwrap().weight(), 7);
    assert_eq!(
        state(&second, "localhost:3", Instant::now()),
        State::Draining
    );
    assert!(second.registry.find("localhost:4").is_some());
    // What the file says anew holds.
    changed.endpoints[1].weight = 2;
    let third = Upstream::new("a.test", "/", changed, &commons, Some(&second));
    assert_eq!(third.registry.find("localhost:2").unwrap().weight(), 2);
    assert!(third.registry.find("localhost:1").is_none());
}

/// Another health check or time out made a drained endpoint take requests again.
#[test]
fn who_is_drained_by_hand_stays_so_under_other_settings() {
    let before = upstream(&[1, 2]);
    let port = EndpointSettings::from(Address::Port(3));
    before
        .add(before.member(&port, Origin::Runtime).unwrap())
        .unwrap();
    for name in ["localhost:1", "localhost:3"] {
        before.registry.set_draining(name, true).unwrap();
    }
    let mut settings = settings(&[1, 2]);
    settings.eject = None;
    let after = Upstream::new("a.test", "/", settings, &before.commons, Some(&before));
    let states = |name| state(&after, name, Instant::now());
    let is = ["localhost:1", "localhost:2", "localhost:3"].map(states);
    assert_eq!(is, [State::Draining, State::Unknown, State::Draining]);
}
