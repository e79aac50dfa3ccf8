//! An upstream's endpoints in a few words: who is asked, and how they share.

use crate::upstream::balance::Balance;
use crate::upstream::{EndpointSettings, Settings};

/// `localhost:8080 and localhost:8081 (weight 2) in turns, else localhost:8082`
pub(super) fn told(upstream: &Settings) -> String {
    let (backups, primaries): (Vec<_>, Vec<_>) = upstream
        .endpoints
        .iter()
        .partition(|endpoint| endpoint.backup);
    let sharing = |endpoints: &[&EndpointSettings]| match endpoints {
        [] | [_] => "",
        _ => match upstream.balance {
            Balance::RoundRobin => " in turns",
            Balance::Random => " at random",
            Balance::LeastRequests => ", whichever has the fewest requests",
            Balance::TwoChoices => ", the better of two taken at random",
            Balance::ClientHash => ", by the client's address",
        },
    };
    let mut groups = Vec::new();
    for group in [primaries, backups] {
        if !group.is_empty() {
            groups.push(format!("{}{}", named(&group), sharing(&group)));
        }
    }
    let kept = if upstream.sticky {
        ", kept by a cookie"
    } else {
        ""
    };
    format!("{}{kept}", groups.join(", else "))
}

fn named(endpoints: &[&EndpointSettings]) -> String {
    let names: Vec<String> = endpoints
        .iter()
        .map(|endpoint| match endpoint.weight {
            1 => endpoint.to_string(),
            weight => format!("{endpoint} (weight {weight})"),
        })
        .collect();
    names.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Address;

    #[test]
    fn who_is_asked_is_told() {
        let check = |shares: &[(u16, bool)], balance, sticky, want: &str| {
            let endpoint = |(port, (weight, backup)): (u16, &(u16, bool))| EndpointSettings {
                weight: *weight,
                backup: *backup,
                ..Address::Port(port).into()
            };
            let upstream = Settings {
                balance,
                sticky,
                ..Settings::of((1..).zip(shares).map(endpoint).collect())
            };
            assert_eq!(told(&upstream), want);
        };
        let turns = Balance::RoundRobin;
        check(&[(1, false)], turns, false, "localhost:1");
        check(
            &[(1, false), (2, false), (1, true)],
            turns,
            false,
            "localhost:1 and localhost:2 (weight 2) in turns, else localhost:3",
        );
        check(
            &[(1, false), (0, false)],
            Balance::LeastRequests,
            true,
            "localhost:1 and localhost:2 (weight 0), whichever has the fewest requests, kept by a cookie",
        );
        check(
            &[(1, true), (1, true)],
            Balance::ClientHash,
            false,
            "localhost:1 and localhost:2, by the client's address",
        );
    }
}
