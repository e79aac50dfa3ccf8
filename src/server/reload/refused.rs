//! A file that was not taken over: why, and what runs in its place.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::{Loaded, OpenFault};
use crate::diagnostic::Severity;
use crate::rt::date;

/// A file that was not taken over, as `status` tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// When it was first refused for this.
    pub at: String,
    pub errors: usize,
    /// Of the first error; none: of the file as a whole.
    pub line: Option<usize>,
    pub message: String,
    /// Each as `check --json` tells it; the errors first, not all of many.
    pub faults: Value,
    /// What is served in its place.
    pub instead: String,
}

/// What a refused file leaves, unless it was refused at the start.
const BEFORE: &str = "what ran before";

impl Refused {
    pub fn of(loaded: &Loaded, now: SystemTime) -> Self {
        let checked = &loaded.checked;
        let mut errors = checked.found.iter();
        let first = errors.find(|fault| fault.severity == Severity::Error);
        let place = first.and_then(|fault| checked.places.span(&fault.place));
        Self {
            at: date::rfc3339(now),
            errors: checked.errors(),
            line: place.map(|span| span.line),
            message: first.map_or_else(
                || "it cannot be read".to_owned(),
                |fault| fault.message.clone(),
            ),
            faults: loaded.told(),
            instead: BEFORE.to_owned(),
        }
    }

    pub(super) fn for_opening(fault: &OpenFault, now: SystemTime) -> Self {
        let cause = std::error::Error::source(fault);
        Self {
            at: date::rfc3339(now),
            errors: 1,
            line: None,
            message: cause.map_or_else(|| fault.to_string(), |cause| format!("{fault}: {cause}")),
            faults: Value::Array(Vec::new()),
            instead: BEFORE.to_owned(),
        }
    }

    /// For the same reasons as another.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        (self.line, &self.message, &self.faults) == (other.line, &other.message, &other.faults)
    }
}
