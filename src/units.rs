//! Quantities with their units: `30s`, `10MiB`.
//!
//! A quantity is one whole number and one unit. A number alone is never
//! guessed at: HAProxy's "milliseconds unless stated" is the trap.

use std::time::Duration;

/// The longest duration that is taken, far below what a clock could not hold:
/// a hundred years.
pub const DURATION_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// The units of a duration, in milliseconds.
const DURATIONS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// The units of a size, in bytes.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
/// How else people write the units.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("ms", &["msec", "msecs", "millisecond", "milliseconds"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("d", &["day", "days"]),
    ("B", &["byte", "bytes"]),
    ("KiB", &["k", "kb", "ki"]),
    ("MiB", &["m", "mb", "mi"]),
    ("GiB", &["g", "gb", "gi"]),
    ("TiB", &["t", "tb", "ti"]),
];

/// What is wrong with a text that was to be a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAQuantity {
    #[error("a number and a unit are missing")]
    Empty,
    #[error("no number stands before the unit")]
    NoNumber,
    #[error("the unit is missing")]
    NoUnit {
        /// What was probably meant.
        meant: String,
    },
    #[error("`{unit}` is not a unit of {of}")]
    UnknownUnit {
        unit: String,
        of: &'static str,
        units: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    #[error("a quantity is a whole number")]
    Fraction,
    #[error("a quantity cannot be negative")]
    Negative,
    #[error("a quantity has one unit")]
    SeveralUnits,
    #[error("at most {most}")]
    TooLarge { most: String },
}

impl NotAQuantity {
    /// What would be right.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoUnit { meant } => Some(format!("did you mean `{meant}`?")),
            Self::UnknownUnit {
                meant: Some(meant),
                units,
                ..
            } => Some(format!("did you mean `{meant}`? The units are {units}")),
            Self::UnknownUnit {
                meant: None, units, ..
            } => Some(format!("the units are {units}")),
            Self::Fraction | Self::SeveralUnits => Some(
                "write a whole number of a smaller unit: `90m`, not `1.5h` or `1h30m`".to_owned(),
            ),
            Self::Empty | Self::NoNumber | Self::Negative | Self::TooLarge { .. } => None,
        }
    }
}

/// Reads a duration: `500ms`, `30s`, `5m`, `12h`, `365d`. At most [`DURATION_MAX`].
pub fn duration(text: &str) -> Result<Duration, NotAQuantity> {
    let too_large = || NotAQuantity::TooLarge {
        most: "100 years (`36500d`)".to_owned(),
    };
    let millis = quantity(text, "time", "s", DURATIONS)?.ok_or_else(too_large)?;
    let duration = Duration::from_millis(millis);
    if duration > DURATION_MAX {
        return Err(too_large());
    }
    Ok(duration)
}

/// Reads a size in bytes: `512B`, `64KiB`, `10MiB`, `1GiB`, `2TiB`.
pub fn size(text: &str) -> Result<u64, NotAQuantity> {
    quantity(text, "size", "MiB", SIZES)?.ok_or_else(|| NotAQuantity::TooLarge {
        most: "16777215TiB".to_owned(),
    })
}

/// A duration in the largest unit that holds it whole.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, DURATIONS, "s")
}

/// A size in the largest unit that holds it whole.
pub fn show_size(bytes: u64) -> String {
    show(bytes, SIZES, "B")
}

fn show(amount: u64, units: &[(&str, u64)], of_zero: &str) -> String {
    if amount == 0 {
        return format!("0{of_zero}");
    }
    let whole = units
        .iter()
        .rev()
        .find(|(_, factor)| amount.is_multiple_of(*factor));
    whole.map_or_else(
        || amount.to_string(),
        |(unit, factor)| format!("{}{unit}", amount / factor),
    )
}

/// The amount in the smallest unit; `None` where that overflows.
fn quantity(
    text: &str,
    of: &'static str,
    usual: &str,
    units: &[(&str, u64)],
) -> Result<Option<u64>, NotAQuantity> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NotAQuantity::Empty);
    }
    if text
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Err(NotAQuantity::Negative);
    }
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit = unit.trim_start();
    if digits.is_empty() {
        return Err(NotAQuantity::NoNumber);
    }
    if unit.is_empty() {
        return Err(NotAQuantity::NoUnit {
            meant: format!("{digits}{usual}"),
        });
    }
    if unit.starts_with(['.', ',', '_']) {
        return Err(NotAQuantity::Fraction);
    }
    if unit.contains(|c: char| c.is_ascii_digit()) {
        return Err(NotAQuantity::SeveralUnits);
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(NotAQuantity::UnknownUnit {
            unit: unit.to_owned(),
            of,
            units: listed(units),
            meant: meant(unit, units).map(|unit| format!("{digits}{unit}")),
        });
    };
    // Digits alone fail to parse only when there are too many of them.
    Ok(digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor)))
}

fn meant<'a>(unit: &str, units: &[(&'a str, u64)]) -> Option<&'a str> {
    let lower = unit.to_ascii_lowercase();
    let spelt = |name: &str| {
        name.eq_ignore_ascii_case(unit)
            || SPELLINGS
                .iter()
                .any(|(of, spellings)| *of == name && spellings.contains(&lower.as_str()))
    };
    units.iter().map(|(name, _)| *name).find(|name| spelt(name))
}

fn listed(units: &[(&str, u64)]) -> String {
    let names: Vec<String> = units.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        let check = |text: &str, millis: u64, shown: &str| {
            let got = duration(text).unwrap();
            assert_eq!(got, Duration::from_millis(millis), "{text}");
            assert_eq!(show_duration(got), shown, "{text}");
        };
        check("500ms", 500, "500ms");
        check("30s", 30_000, "30s");
        check("90s", 90_000, "90s");
        check("300s", 300_000, "5m");
        check("5 m", 300_000, "5m");
        check("24h", 86_400_000, "1d");
        check("365d", 31_536_000_000, "365d");
        check("0s", 0, "0s");
        check("36500d", 3_153_600_000_000, "36500d");
    }

    #[test]
    fn sizes_are_read_and_shown() {
        let check = |text: &str, bytes: u64, shown: &str| {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
            assert_eq!(show_size(bytes), shown, "{text}");
        };
        check("0B", 0, "0B");
        check("1500B", 1_500, "1500B");
        check("64KiB", 65_536, "64KiB");
        check("1024MiB", 1 << 30, "1GiB");
        check("2TiB", 2 << 40, "2TiB");
    }

    #[test]
    fn what_is_no_quantity_is_told() {
        let check = |got: Option<NotAQuantity>, want: &str, help: &str| {
            let got = got.unwrap();
            assert_eq!(got.to_string(), want);
            assert!(got.help().unwrap_or_default().starts_with(help), "{got:?}");
        };
        let time = |text| duration(text).err();
        check(time(""), "a number and a unit are missing", "");
        check(time("5"), "the unit is missing", "did you mean `5s`?");
        check(
            time("5sec"),
            "`sec` is not a unit of time",
            "did you mean `5s`?",
        );
        check(
            time("5S"),
            "`S` is not a unit of time",
            "did you mean `5s`?",
        );
        check(
            time("5w"),
            "`w` is not a unit of time",
            "the units are `ms`, `s`",
        );
        check(time("1.5h"), "a quantity is a whole number", "write");
        check(time("1h30m"), "a quantity has one unit", "write");
        check(time("-5s"), "a quantity cannot be negative", "");
        check(time("s"), "no number stands before the unit", "");
        check(
            time("99999999999999999999s"),
            "at most 100 years (`36500d`)",
            "",
        );
        check(time("36501d"), "at most 100 years (`36500d`)", "");
        let bytes = |text| size(text).err();
        check(bytes("10"), "the unit is missing", "did you mean `10MiB`?");
        check(
            bytes("10MB"),
            "`MB` is not a unit of size",
            "did you mean `10MiB`?",
        );
        check(
            bytes("10m"),
            "`m` is not a unit of size",
            "did you mean `10MiB`?",
        );
        check(bytes("16777216TiB"), "at most 16777215TiB", "");
    }
}
