//! One value of a key: a text, a path, a switch, a word of a few, a quantity.
//!
//! The outer `None` of an answer means that a fault was told, the inner one
//! that the key is absent.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::IgnoredAny;

use super::{Check, words};
use crate::config::file::{Entries, Shape, Value};
use crate::diagnostic::{Diagnostic, Path, Place, Step};
use crate::units::{self, NotAQuantity};

/// The largest count that is taken: more than any machine has of anything here.
const COUNT_MAX: u32 = 1_000_000;

impl Check<'_> {
    pub(super) fn add(&mut self, fault: Diagnostic) {
        self.found.push(fault);
    }

    /// The text of a single value, with `${NAME}` replaced.
    pub(super) fn text(&mut self, value: &Value, at: &Path, what: &str) -> Option<Option<String>> {
        match value {
            Value::Absent => Some(None),
            Value::Switch(on) => Some(Some(on.to_string())),
            Value::Number(number) => Some(Some(number.clone())),
            Value::Text(text) => self.expanded(text, at).map(Some),
            Value::Null => {
                self.no_value(at, what);
                None
            }
            Value::List(_) => {
                self.wrong_kind(at, what, "a list");
                None
            }
            Value::Mapping(_) => {
                self.wrong_kind(at, what, "a mapping");
                None
            }
        }
    }

    pub(super) fn no_value(&mut self, at: &Path, what: &str) {
        // With lines left out, the value may stand in one of these.
        if !self.whole {
            return;
        }
        let name = at.name();
        let fault = |message| {
            Diagnostic::error(Place::Value(at.clone()), message).label(format!("expected {what}"))
        };
        self.add(if is_item(at) {
            fault(format!("an item of `{name}` is empty"))
        } else if words::REQUIRED.contains(&name) {
            fault(format!("`{name}` has no value"))
        } else {
            fault(format!("`{name}` has no value"))
                .help("remove the key where the default is meant")
        });
    }

    pub(super) fn wrong_kind(&mut self, at: &Path, what: &str, found: &str) {
        let name = at.name();
        let message = match is_item(at) {
            true => format!("an item of `{name}` cannot be {found}"),
            false => format!("`{name}` cannot be {found}"),
        };
        self.add(
            Diagnostic::error(Place::Value(at.clone()), message).label(format!("expected {what}")),
        );
    }

    /// A mapping with known keys.
    pub(super) fn mapping<'f, T>(
        &mut self,
        shape: &'f Shape<T>,
        at: &Path,
        what: &str,
    ) -> Option<Option<&'f T>> {
        match shape {
            Shape::Mapping(mapping) => Some(Some(mapping)),
            Shape::Other(Value::Absent) => Some(None),
            Shape::Other(Value::Null) if !self.whole => Some(None),
            Shape::Other(other) => {
                if let Some(kind) = kind(other) {
                    self.wrong_kind(at, what, kind);
                } else {
                    self.no_value(at, what);
                }
                None
            }
        }
    }

    pub(super) fn expanded(&mut self, text: &str, at: &Path) -> Option<String> {
        let place = || Place::Value(at.clone());
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.add(
                    Diagnostic::error(place(), "`${` is not closed")
                        .label("no `}` follows")
                        .help("write `${NAME}` for a variable of the environment"),
                );
                return None;
            };
            let valid = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !valid {
                self.add(
                    Diagnostic::error(place(), format!("`${{{name}}}` does not name a variable"))
                        .label("letters, digits and `_` make a name")
                        .help("write `${NAME}` for a variable of the environment"),
                );
                return None;
            }
            let Some(value) = (self.env)(name) else {
                self.add(
                    Diagnostic::error(place(), format!("the environment has no variable `{name}`"))
                        .label("not set")
                        .help("set it where hostmux is started"),
                );
                return None;
            };
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        if let Some(odd) = out.chars().find(|c| c.is_control()) {
            let code = format!("U+{:04X}", u32::from(odd));
            self.add(
                Diagnostic::error(
                    place(),
                    format!("a value cannot hold the control character {code}"),
                )
                .label("a line break or another control character"),
            );
            return None;
        }
        Some(out)
    }

    /// A text that is a text: `1.10` would lose its zero as a number.
    pub(super) fn word(&mut self, value: &Value, at: &Path, what: &str) -> Option<Option<String>> {
        let odd = match value {
            Value::Number(_) => "a number",
            Value::Switch(_) => "a truth value",
            Value::Absent | Value::Null | Value::Text(_) | Value::List(_) | Value::Mapping(_) => {
                return self.text(value, at, what);
            }
        };
        self.add(
            Diagnostic::error(
                Place::Value(at.clone()),
                format!("`{}` cannot be {odd}", at.name()),
            )
            .label(format!("expected {what}"))
            .help("put it in quotes if it is meant"),
        );
        None
    }

    pub(super) fn path(&mut self, value: &Value, at: &Path, what: &str) -> Option<Option<PathBuf>> {
        let Some(text) = self.word(value, at, what)? else {
            return Some(None);
        };
        if text.trim().is_empty() {
            self.add(
                Diagnostic::error(Place::Value(at.clone()), "a path is empty")
                    .label(format!("expected {what}")),
            );
            return None;
        }
        Some(Some(PathBuf::from(text)))
    }

    /// `on` or `off`, in the spellings that YAML has had for them.
    pub(super) fn switch(&mut self, value: &Value, at: &Path) -> Option<Option<bool>> {
        let Some(text) = self.text(value, at, "`on` or `off`")? else {
            return Some(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" => Some(Some(true)),
            "off" | "false" => Some(Some(false)),
            other => {
                let meant = match other {
                    "yes" | "y" | "1" | "enable" | "enabled" => Some("on"),
                    "no" | "n" | "0" | "disable" | "disabled" | "none" => Some("off"),
                    _ => None,
                };
                self.add(words::not_a_value(&text, at, &["on", "off"], meant));
                None
            }
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        value: &Value,
        at: &Path,
        choices: &[(&str, T)],
    ) -> Option<Option<T>> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let Some(text) = self.text(value, at, &words::listed(&names, "or"))? else {
            return Some(None);
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(Some(*choice));
        }
        self.add(words::not_a_value(&text, at, &names, None));
        None
    }

    pub(super) fn quantity<T>(
        &mut self,
        value: &Value,
        at: &Path,
        what: &str,
        parse: impl Fn(&str) -> Result<T, NotAQuantity>,
    ) -> Option<Option<T>> {
        let Some(text) = self.text(value, at, what)? else {
            return Some(None);
        };
        match parse(&text) {
            Ok(quantity) => Some(Some(quantity)),
            Err(wrong) => {
                self.add(not_a_quantity(&text, &wrong, at, what));
                None
            }
        }
    }

    pub(super) fn duration(&mut self, value: &Value, at: &Path) -> Option<Option<Duration>> {
        self.quantity(value, at, "a duration such as `30s`", units::duration)
    }

    /// A whole number from 1 to [`COUNT_MAX`].
    pub(super) fn count(&mut self, value: &Value, at: &Path) -> Option<Option<u32>> {
        let Some(text) = self.text(value, at, "a whole number from 1")? else {
            return Some(None);
        };
        let count = text.parse().ok();
        if let Some(count) = count.filter(|count| (1..=COUNT_MAX).contains(count)) {
            return Some(Some(count));
        }
        self.add(
            Diagnostic::error(
                Place::Value(at.clone()),
                format!("`{}` cannot be `{text}`", at.name()),
            )
            .label(match count {
                Some(0) => "at least 1".to_owned(),
                Some(_) => format!("at most {COUNT_MAX}"),
                None => format!("a whole number from 1 to {COUNT_MAX}"),
            }),
        );
        None
    }

    /// A duration that is a bound, which would let nothing through at zero.
    pub(super) fn bound(&mut self, value: &Value, at: &Path) -> Option<Option<Duration>> {
        let bound = self.duration(value, at)?;
        if bound.is_some_and(|bound| bound.is_zero()) {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    format!("a `{}` of zero lets nothing through", at.name()),
                )
                .label("more than zero"),
            );
            return None;
        }
        Some(bound)
    }

    pub(super) fn keys(
        &mut self,
        unknown: &Entries<IgnoredAny>,
        at: &Path,
        known: &[&str],
        of: &str,
    ) {
        for (key, _) in &unknown.0 {
            self.unknown_key(key, &at.key(key), known, of);
        }
    }

    pub(super) fn unknown_key(&mut self, key: &str, at: &Path, known: &[&str], of: &str) {
        // Told by the first pass.
        if key != "<<" {
            self.add(words::unknown_key(key, at, known, of));
        }
    }
}

/// Whether a value is `off`, in the spellings that YAML has had for it.
pub(super) fn is_off(value: &Value) -> bool {
    match value {
        Value::Switch(on) => !on,
        Value::Text(text) => ["off", "false"]
            .iter()
            .any(|off| text.eq_ignore_ascii_case(off)),
        Value::Absent | Value::Null | Value::Number(_) | Value::List(_) | Value::Mapping(_) => {
            false
        }
    }
}

pub(super) fn not_a_quantity(
    text: &str,
    wrong: &NotAQuantity,
    at: &Path,
    what: &str,
) -> Diagnostic {
    let fault = Diagnostic::error(Place::Value(at.clone()), format!("`{text}` is not {what}"))
        .label(wrong.to_string());
    Diagnostic {
        help: wrong.help(),
        ..fault
    }
}

/// Whether a path leads to an item of a list.
fn is_item(at: &Path) -> bool {
    matches!(at.steps().last(), Some(Step::Index(_)))
}

/// What a value is where it should be a mapping; `None` for no value.
fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Absent | Value::Null => None,
        Value::Switch(_) | Value::Number(_) | Value::Text(_) => Some("a single value"),
        Value::List(_) => Some("a list"),
        Value::Mapping(_) => Some("a mapping"),
    }
}
