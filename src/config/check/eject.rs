//! `eject`: when an endpoint is left alone.

use std::time::Duration;

use super::{Check, value, words};
use crate::config::file::{self, Shape, Value};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::upstream::eject::{self, Eject};

const FORMS: &str = "`on`, `off`, or `{ after: 5, for: 10s }`";

impl Check<'_> {
    /// The outer `None`: a fault was told; the inner one: nobody is left alone.
    pub(super) fn eject(
        &mut self,
        written: &Shape<file::Eject>,
        at: &Path,
    ) -> Option<Option<Eject>> {
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(Value::Absent) => return Some(Some(Eject::default())),
            Shape::Other(value) if value::is_off(value) => return Some(None),
            Shape::Other(value) => {
                let text = self.text(value, at, FORMS)??;
                if ["on", "true"]
                    .iter()
                    .any(|on| text.eq_ignore_ascii_case(on))
                {
                    return Some(Some(Eject::default()));
                }
                self.add(
                    words::not_a_value(&text, at, &["on", "off"], None)
                        .help(format!("it can be {FORMS}")),
                );
                return None;
            }
        };
        self.keys(&written.unknown, at, words::EJECT, "`eject`");
        let after = self.count(&written.after, &at.key("after"));
        let first = self.time_out(&written.length, &at.key("for"));
        Some(Some(Eject {
            after: after?.unwrap_or(eject::AFTER),
            first: first?.unwrap_or(eject::FOR),
        }))
    }

    fn time_out(&mut self, value: &Value, at: &Path) -> Option<Option<Duration>> {
        let length = self.duration(value, at)?;
        if length.is_some_and(|length| length.is_zero()) {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    "an endpoint cannot be left alone for no time",
                )
                .label("more than zero")
                .help("`eject: off` leaves none alone"),
            );
            return None;
        }
        Some(length)
    }
}
