//! The spread of each policy, with counts.

use proptest::prelude::*;

use super::*;

const ROUNDS: usize = 3000;

fn weighted(weights: &[u16]) -> Vec<u16> {
    let places: Vec<(u16, u16)> = (0u16..).zip(weights.iter().copied()).collect();
    round(&places)
}

/// How often each of these endpoints is chosen; requests end at once.
fn counts(balance: Balance, weights: &[u16], down: &[u16]) -> Vec<usize> {
    let round = weighted(weights);
    let mut counts = vec![0; weights.len()];
    for turn in 0..ROUNDS {
        let draw = Draw {
            turn,
            dice: mix(turn as u64),
            client: mix(turn as u64 + 7_000_000),
        };
        let place = choose(balance, &round, draw, |place| {
            (!down.contains(&place)).then(|| Candidate {
                key: u64::from(place),
                weight: weights[usize::from(place)],
                in_flight: 0,
            })
        });
        counts[usize::from(place.unwrap())] += 1;
    }
    counts
}

/// Within so many of a hundred of what the weights say.
fn check(balance: Balance, weights: &[u16], percent: usize) {
    let counts = counts(balance, weights, &[]);
    let sum: usize = weights.iter().copied().map(usize::from).sum();
    for (count, weight) in counts.iter().zip(weights) {
        let want = ROUNDS * usize::from(*weight) / sum;
        assert!(
            count.abs_diff(want) * 100 <= want * percent,
            "{balance:?} {weights:?}: {counts:?}"
        );
    }
}

#[test]
fn each_policy_spreads_by_weight() {
    check(Balance::RoundRobin, &[1, 1, 1], 0);
    check(Balance::RoundRobin, &[5, 1, 4], 0);
    check(Balance::Random, &[1, 1, 1], 10);
    check(Balance::Random, &[5, 1, 4], 15);
    check(Balance::LeastRequests, &[1, 1, 1], 0);
    check(Balance::TwoChoices, &[1, 1, 1], 10);
    check(Balance::ClientHash, &[1, 1, 1], 10);
    check(Balance::ClientHash, &[5, 1, 4], 15);
}

#[test]
fn turns_of_a_heavy_endpoint_are_spread_over_the_round() {
    assert_eq!(weighted(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(weighted(&[2, 4]), [1, 0, 1]);
    assert_eq!(weighted(&[7]), [0]);
}

/// 256 endpoints, none of whose weights divide another's, made a round of tens of
/// thousands of turns while requests waited.
#[test]
fn a_round_is_bounded_whatever_the_weights() {
    let weights: Vec<u16> = (0..256).map(|n| 255 - (n % 2)).collect();
    let turns = weighted(&weights);
    assert!(
        turns.len() <= TURNS_MAX as usize + weights.len(),
        "{}",
        turns.len()
    );
    for place in 0..256 {
        assert!(turns.contains(&place), "{place} has a turn");
    }
    let mut lopsided = vec![256; 100];
    lopsided.push(1);
    assert!(weighted(&lopsided).contains(&100), "the lightest too");
}

#[test]
fn the_fewest_requests_for_the_weight_win() {
    let check = |balance, loads: &[(u16, usize)], want: u16| {
        let weights: Vec<u16> = loads.iter().map(|(weight, _)| *weight).collect();
        for turn in 0..100 {
            let draw = Draw {
                turn,
                dice: mix(turn as u64),
                client: 0,
            };
            let look = |place: u16| {
                let (weight, in_flight) = loads[usize::from(place)];
                Some(Candidate {
                    key: u64::from(place),
                    weight,
                    in_flight,
                })
            };
            let chosen = choose(balance, &weighted(&weights), draw, look);
            assert_eq!(chosen, Some(want), "{balance:?} {loads:?} {turn}");
        }
    };
    check(Balance::LeastRequests, &[(1, 3), (1, 2), (1, 4)], 1);
    check(Balance::LeastRequests, &[(1, 2), (4, 6), (1, 4)], 1);
    check(Balance::TwoChoices, &[(1, 3), (1, 2)], 1);
    check(Balance::TwoChoices, &[(1, 1), (9, 2)], 1);
}

#[test]
fn a_client_stays_and_only_those_of_a_lost_endpoint_move() {
    let of = |client: u64, down: Option<u16>| {
        let draw = Draw {
            turn: client as usize * 31,
            dice: mix(client),
            client: mix(client + 1),
        };
        choose(
            Balance::ClientHash,
            &weighted(&[1, 2, 1, 1]),
            draw,
            |place| {
                (Some(place) != down).then_some(Candidate {
                    key: u64::from(place) + 40,
                    weight: [1, 2, 1, 1][usize::from(place)],
                    in_flight: 9,
                })
            },
        )
    };
    let moved = (0..1000).filter(|client| {
        let before = of(*client, None);
        let after = of(*client, Some(2));
        assert!(before == after || before == Some(2), "{before:?} {after:?}");
        before != after
    });
    let moved = moved.count();
    assert!(
        (150..250).contains(&moved),
        "{moved} of 1000, a fifth of the weight"
    );
}

#[test]
fn one_that_is_out_is_never_chosen() {
    for balance in [
        Balance::RoundRobin,
        Balance::Random,
        Balance::LeastRequests,
        Balance::TwoChoices,
        Balance::ClientHash,
    ] {
        let counts = counts(balance, &[1, 1, 1], &[1]);
        assert_eq!(counts[1], 0, "{balance:?}");
        let draw = Draw {
            turn: 0,
            dice: 0,
            client: 0,
        };
        assert_eq!(choose(balance, &weighted(&[1, 1]), draw, |_| None), None);
        assert_eq!(choose(balance, &[], draw, |_| None), None);
    }
}

proptest! {
    /// Round robin is within one of even over every window, however long.
    #[test]
    fn turns_are_even_over_any_window(endpoints in 1u16..20, from in 0usize..10_000, len in 0usize..500) {
        let round = weighted(&vec![3; usize::from(endpoints)]);
        let mut counts = vec![0usize; usize::from(endpoints)];
        for turn in from..from + len {
            let candidate = Candidate { key: 0, weight: 3, in_flight: 0 };
            let draw = Draw { turn, dice: 0, client: 0 };
            let place = choose(Balance::RoundRobin, &round, draw, |_| Some(candidate)).unwrap();
            counts[usize::from(place)] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{counts:?}");
    }

    /// With weights each has exactly its share of a round, and from any start
    /// of one is never further than its number of endpoints from its share.
    #[test]
    fn weighted_turns_keep_to_their_shares(weights in proptest::collection::vec(1u16..30, 1..8)) {
        let round = weighted(&weights);
        let sum: usize = weights.iter().copied().map(usize::from).sum();
        let mut counts = vec![0usize; weights.len()];
        for (n, place) in round.iter().enumerate() {
            counts[usize::from(*place)] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let share = (n + 1) as f64 * f64::from(*weight) / sum as f64;
                prop_assert!((*count as f64 - share).abs() < 1.0 + weights.len() as f64 / 2.0);
            }
        }
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert_eq!(count * sum, usize::from(*weight) * round.len());
        }
    }
}
