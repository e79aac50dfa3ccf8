//! What probes add up to: the first decides alone, later ones only in a row.

use std::time::Duration;

use super::HealthCheck;

/// How often an endpoint that is down is asked, where `every` is longer.
const DOWN_EVERY: Duration = Duration::from_secs(1);
/// How much a pause is longer or shorter by chance, in parts of it: probes of
/// many endpoints, or of many hostmuxes, do not come all at once.
const JITTER: u32 = 10;

/// What a probe says, and what is thought of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Up,
    Down,
}

/// The probes of one endpoint so far.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// `None`: there was no probe yet.
    word: Option<Word>,
    /// Probes in a row that said otherwise.
    against: u32,
}

impl Count {
    /// One more probe; what is thought now, where that changes with it.
    pub(super) fn take(&mut self, said: Word, check: &HealthCheck) -> Option<Word> {
        if self.word == Some(said) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = match said {
            _ if self.word.is_none() => 1,
            Word::Up => check.up_after,
            Word::Down => check.down_after,
        };
        if self.against < enough {
            return None;
        }
        *self = Self {
            word: Some(said),
            against: 0,
        };
        Some(said)
    }

    /// From the beginning of a probe to that of the next.
    pub(super) fn pause(&self, every: Duration, dice: u32) -> Duration {
        let pause = match self.word {
            Some(Word::Down) => every.min(DOWN_EVERY),
            Some(Word::Up) | None => every,
        };
        let jitter = pause / JITTER;
        pause - jitter + jitter.mul_f64(2.0 * f64::from(dice) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    /// `probes`: `+` is well, `-` is not. `thought`: what is thought after each.
    fn thinks(probes: &str, thought: &str) {
        let check = check();
        let mut count = Count::default();
        let mut now = '?';
        let after: String = probes
            .chars()
            .map(|probe| {
                let said = if probe == '+' { Word::Up } else { Word::Down };
                if let Some(word) = count.take(said, &check) {
                    let is = if word == Word::Up { '+' } else { '-' };
                    assert_ne!(is, now, "nothing is told that does not change");
                    now = is;
                }
                now
            })
            .collect();
        assert_eq!(after, thought, "{probes}");
    }

    #[test]
    fn the_first_decides_alone_and_later_ones_in_a_row() {
        thinks("+", "+");
        thinks("-", "-");
        thinks("+--", "+++");
        thinks("+---", "+++-");
        thinks("+--+--+---", "+++++++++-");
        thinks("-+", "--");
        thinks("-++", "--+");
        thinks("-+-+-++", "------+");
        thinks("-++---++", "--+++--+");
    }

    #[test]
    fn one_each_changes_at_once() {
        let check = HealthCheck {
            down_after: 1,
            up_after: 1,
            ..check()
        };
        let mut count = Count::default();
        for word in [Word::Up, Word::Down, Word::Up] {
            assert_eq!(count.take(word, &check), Some(word));
            assert_eq!(count.take(word, &check), None);
        }
    }

    #[test]
    fn a_pause_is_a_tenth_off_at_most_and_short_for_one_that_is_down() {
        let of = |word, every_ms, dice| {
            let count = Count { word, against: 0 };
            count.pause(Duration::from_millis(every_ms), dice)
        };
        let ms = Duration::from_millis;
        assert_eq!(of(Some(Word::Up), 5000, 0), ms(4500));
        assert_eq!(of(Some(Word::Up), 5000, u32::MAX), ms(5500));
        assert_eq!(of(None, 5000, 0), ms(4500));
        assert_eq!(of(Some(Word::Down), 5000, 0), ms(900));
        assert_eq!(of(Some(Word::Down), 5000, u32::MAX), ms(1100));
        assert_eq!(of(Some(Word::Down), 100, 0), ms(90));
    }
}
