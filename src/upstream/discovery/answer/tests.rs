use std::net::Ipv4Addr;

use super::*;
use crate::host::HostName;

const PACE: Pace = Pace {
    ttl_min: Duration::from_secs(1),
    ttl_max: Duration::from_secs(300),
    retry_first: Duration::from_secs(1),
    retry_last: Duration::from_secs(30),
    grace: Duration::from_secs(60),
};

fn named(host: &str) -> Named {
    Named {
        host: HostName::parse(host).unwrap(),
        port: 80,
    }
}

fn part(host: &str, v6: bool, looked: Looked<IpAddr>) -> Part {
    Part {
        named: named(host),
        weight: 1,
        backup: false,
        v6,
        looked,
    }
}

fn some(ips: &[&str], ttl: u64) -> Looked<IpAddr> {
    let ips = ips.iter().map(|ip| ip.parse().unwrap());
    Looked::Found(ips.collect(), Duration::from_secs(ttl))
}

fn none() -> Looked<IpAddr> {
    Looked::Nothing("no such name".to_owned())
}

fn failed() -> Looked<IpAddr> {
    Looked::Failed("timed out".to_owned())
}

fn told(known: &Known) -> String {
    let spots: Vec<_> = known.found.iter().map(|f| f.spot.to_string()).collect();
    spots.join(" ").replace("a:80@", "")
}

#[test]
fn an_answer_holds_for_its_ttl_within_bounds() {
    let check = |v4: u64, v6: Looked<IpAddr>, wait: u64| {
        let parts = vec![
            part("a", false, some(&["10.0.0.1"], v4)),
            part("a", true, v6),
        ];
        let answer = Answer::of(parts, Duration::MAX);
        let lesson = Known::default().learn(answer, &PACE, Instant::now());
        assert_eq!(lesson.wait, Duration::from_secs(wait));
        assert_eq!(lesson.told, None);
    };
    check(60, none(), 60);
    check(0, none(), 1);
    check(86_400, none(), 300);
    check(60, some(&["fd00::1"], 20), 20);
    check(60, failed(), 30);
}

#[test]
fn what_nobody_could_tell_of_stays_and_all_else_goes() {
    let now = Instant::now();
    let mut known = Known::default();
    let mut step = |v4, v6, want: &str| {
        let parts = vec![part("a", false, v4), part("a", true, v6)];
        known.learn(Answer::of(parts, Duration::MAX), &PACE, now);
        assert_eq!(told(&known), want);
    };
    let both = "10.0.0.1 10.0.0.2 fd00::1";
    step(
        some(&["10.0.0.2", "10.0.0.1"], 9),
        some(&["fd00::1"], 9),
        both,
    );
    step(some(&["10.0.0.1"], 9), failed(), "10.0.0.1 fd00::1");
    step(failed(), failed(), "10.0.0.1 fd00::1");
    step(none(), failed(), "10.0.0.1 fd00::1");
    step(failed(), some(&["fd00::2"], 9), "10.0.0.1 fd00::2");
    step(some(&["10.0.0.3"], 9), none(), "10.0.0.3");
}

#[test]
fn trouble_is_told_once_and_its_last_addresses_are_kept_for_a_while() {
    let start = Instant::now();
    let mut known = Known::default();
    let mut step = |second: u64, looked, wait: u64, want: Option<&str>, found: &str| {
        let answer = Answer::of(vec![part("a", false, looked)], Duration::MAX);
        let lesson = known.learn(answer, &PACE, start + Duration::from_secs(second));
        assert_eq!(lesson.wait, Duration::from_secs(wait), "at {second}");
        let told_now = lesson.told.map(|told| match told {
            Told::Trouble { why, kept } => format!("{why}, {kept} kept"),
            Told::GivenUp => "given up".to_owned(),
            Told::Again => "again".to_owned(),
        });
        assert_eq!(told_now.as_deref(), want, "at {second}");
        assert_eq!(told(&known), found, "at {second}");
    };
    step(0, none(), 1, Some("no such name, 0 kept"), "");
    step(1, failed(), 2, None, "");
    step(3, some(&["10.0.0.1"], 9), 9, Some("again"), "10.0.0.1");
    step(12, none(), 1, Some("no such name, 1 kept"), "10.0.0.1");
    step(13, failed(), 2, None, "10.0.0.1");
    step(15, none(), 4, None, "10.0.0.1");
    step(19, none(), 8, None, "10.0.0.1");
    step(27, none(), 16, None, "10.0.0.1");
    step(43, none(), 29, None, "10.0.0.1");
    step(72, none(), 1, Some("given up"), "");
    step(73, none(), 30, None, "");
    step(103, some(&["10.0.0.1"], 9), 9, Some("again"), "10.0.0.1");
    for second in 112..200 {
        known.learn(
            Answer::Failed("x".to_owned()),
            &PACE,
            start + Duration::from_secs(second),
        );
    }
    assert_eq!(told(&known), "10.0.0.1", "a failure takes nothing away");
}

#[test]
fn a_services_targets_are_weighed_by_priority_and_weight() {
    let check = |targets: &[(u16, u16)], weight: u16, want: &[(u16, bool)]| {
        let targets: Vec<Target> = targets
            .iter()
            .map(|(priority, weight)| Target {
                priority: *priority,
                weight: *weight,
                named: named("a"),
            })
            .collect();
        assert_eq!(weigh(&targets, weight), want, "{targets:?}");
    };
    check(&[(10, 60), (10, 40)], 1, &[(60, false), (40, false)]);
    check(&[(10, 0), (10, 0)], 1, &[(1, false), (1, false)]);
    check(&[(10, 0), (10, 5)], 1, &[(1, false), (5, false)]);
    check(
        &[(20, 1), (10, 1), (30, 9)],
        1,
        &[(1, true), (1, false), (9, true)],
    );
    check(&[(0, 65535), (0, 32768)], 1, &[(256, false), (128, false)]);
    check(&[(0, 65535), (0, 1)], 1, &[(256, false), (1, false)]);
    check(&[(0, 3), (0, 1)], 2, &[(6, false), (2, false)]);
    check(&[(0, 3), (0, 1)], 256, &[(256, false), (85, false)]);
    check(&[(0, 3), (0, 0)], 0, &[(0, false), (0, false)]);
    check(&[], 1, &[]);
}

#[test]
fn of_a_flood_of_addresses_the_same_few_are_kept() {
    let flood = |turned: bool| {
        let mut ips: Vec<IpAddr> = (0..4000)
            .map(|n: u32| Ipv4Addr::from(0x0a00_0000 + n).into())
            .collect();
        if turned {
            ips.reverse();
        }
        Looked::Found(ips, Duration::from_secs(60))
    };
    let answer = |turned| {
        let hosts = (0..8).map(|n| part(&format!("h{n}"), false, flood(turned)));
        match Answer::of(hosts.collect(), Duration::MAX) {
            Answer::Found { found, .. } => found,
            other @ (Answer::Nothing(_) | Answer::Failed(_)) => panic!("{other:?}"),
        }
    };
    let found = answer(false);
    assert_eq!(found.len(), 8 * MEMBERS_MAX);
    assert_eq!(found, answer(true));
}
