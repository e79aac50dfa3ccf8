//! `balance`: which of an upstream's endpoints a request goes to.
//!
//! ```yaml
//! app.example.com: { upstream: { endpoints: [8080, { address: 8081, weight: 2 }], balance: least_requests } }
//! ```
//!
//! Pure: turn, dice and client are passed in, so that tests are exact. What is
//! usable at all is decided before, in the table of an upstream.

/// How endpoints are chosen. Each heeds the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turns; a heavier one has more of them, spread over the round (smooth
    /// weighted round robin, as nginx has it).
    #[default]
    RoundRobin,
    Random,
    /// The one with the fewest requests under way, by its weight; in turns among equals.
    LeastRequests,
    /// The better of two taken at random: nearly as even as [`Self::LeastRequests`], and no herd.
    TwoChoices,
    /// The same client always to the same endpoint: the highest score of client and endpoint
    /// (rendezvous hashing). When one goes, only its clients move.
    ClientHash,
}

impl Balance {
    pub const ALL: [Self; 5] = [
        Self::RoundRobin,
        Self::Random,
        Self::LeastRequests,
        Self::TwoChoices,
        Self::ClientHash,
    ];

    /// One word, in `sites.yaml` and in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastRequests => "least_requests",
            Self::TwoChoices => "two_choices",
            Self::ClientHash => "client_hash",
        }
    }
}

/// What a choice may look at of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Stays the same for the same endpoint, in every process.
    pub key: u64,
    /// At least 1.
    pub weight: u16,
    pub in_flight: usize,
}

/// What a choice depends on besides.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Counts up by one a choice.
    pub turn: usize,
    pub dice: u64,
    /// Stays the same for the same client.
    pub client: u64,
}

/// Chooses one. `round`: the places in a round, see [`round`]; at least one.
/// `look`: the candidate of a place; `None`: not for this request. `None` if
/// there is no candidate.
pub fn choose(
    balance: Balance,
    round: &[u16],
    draw: Draw,
    look: impl Fn(u16) -> Option<Candidate>,
) -> Option<u16> {
    let places = |from: usize| {
        let len = round.len();
        (0..len).map(move |step| round[(from + step) % len])
    };
    let first_from = |from: usize| places(from).find(|place| look(*place).is_some());
    match balance {
        Balance::RoundRobin => first_from(draw.turn % round.len().max(1)),
        Balance::Random => first_from(scaled(draw.dice, round.len())),
        Balance::LeastRequests => least(places(draw.turn % round.len().max(1)), look),
        Balance::TwoChoices => {
            let first = first_from(scaled(draw.dice, round.len()))?;
            let from = scaled(draw.dice.rotate_left(32), round.len());
            let second = places(from).find(|place| *place != first && look(*place).is_some());
            least([Some(first), second].into_iter().flatten(), look)
        }
        Balance::ClientHash => {
            let mut best: Option<(f64, u16)> = None;
            for place in places(0) {
                if let Some(candidate) = look(place) {
                    let score = score(draw.client, candidate);
                    if best.is_none_or(|(most, _)| score > most) {
                        best = Some((score, place));
                    }
                }
            }
            best.map(|(_, place)| place)
        }
    }
}

/// The first of those with the fewest requests for their weight.
fn least(
    places: impl Iterator<Item = u16>,
    look: impl Fn(u16) -> Option<Candidate>,
) -> Option<u16> {
    let mut best: Option<(Candidate, u16)> = None;
    for place in places {
        let Some(candidate) = look(place) else {
            continue;
        };
        // in_flight / weight, without dividing. Where nothing is under way all are
        // equal: the places of a round then give each its share.
        let load = |a: Candidate, b: Candidate| a.in_flight as u64 * u64::from(b.weight);
        if best.is_none_or(|(least, _)| load(candidate, least) < load(least, candidate)) {
            best = Some((candidate, place));
        }
    }
    best.map(|(_, place)| place)
}

/// Weighted rendezvous hashing (Schindelhauer and Schomaker): −weight ÷ ln(h),
/// h the hash as a number between 0 and 1.
fn score(client: u64, candidate: Candidate) -> f64 {
    let hash = mix(client ^ mix(candidate.key)) >> 11;
    let unit = (hash as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(candidate.weight) / unit.ln()
}

/// The finalizer of splitmix64 (Steele, Lea and Flood).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash that is the same in every process (FNV-1a, mixed).
pub fn stable_hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// A number below `len`, evenly, from the upper half of a random one.
fn scaled(dice: u64, len: usize) -> usize {
    (((dice >> 32) * len as u64) >> 32) as usize
}

/// The most turns of a round: it is made anew while requests wait for it.
/// Weights that need more are rounded.
const TURNS_MAX: u32 = 2048;

/// One round of smooth weighted turns: each place as often as its weight says,
/// and its turns as far apart as they can be.
///
/// After each turn the one that had it steps back by the sum of all weights,
/// and each goes forward by its own: who is in front has the next.
pub fn round(weights: &[(u16, u16)]) -> Vec<u16> {
    let divisor = weights.iter().fold(0, |a, (_, weight)| gcd(a, *weight));
    let turns: u32 = weights
        .iter()
        .map(|(_, weight)| u32::from(weight / divisor.max(1)))
        .sum();
    let weights: Vec<(u16, i64)> = weights
        .iter()
        .map(|(place, weight)| {
            let whole = u32::from(weight / divisor.max(1));
            // Rounded, and nobody's down to nothing.
            let fits = (whole * TURNS_MAX.min(turns) + turns / 2) / turns.max(1);
            (*place, i64::from(fits.max(u32::from(*weight > 0))))
        })
        .collect();
    let sum: i64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut ahead = vec![0i64; weights.len()];
    let mut turns = Vec::with_capacity(usize::try_from(sum).unwrap_or_default());
    for _ in 0..sum {
        let mut front = 0;
        for (n, (_, weight)) in weights.iter().enumerate() {
            ahead[n] += weight;
            if ahead[n] > ahead[front] {
                front = n;
            }
        }
        ahead[front] -= sum;
        turns.push(weights[front].0);
    }
    turns
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
