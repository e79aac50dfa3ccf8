//! A fault in `sites.yaml` (or in what it names), with the place it stands at.
//!
//! Meaning is checked with paths; a path is turned into line and column only
//! when something is wrong (`config::Places`).

mod draw;

use std::fmt;

use serde::Serialize;

pub use draw::{Colour, Source, lines};

/// One step into the document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// The way from the top of the document to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    pub fn root() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    #[must_use]
    pub fn at(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The last key on the way; empty at the top.
    pub fn name(&self) -> &str {
        self.0
            .iter()
            .rev()
            .find_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .unwrap_or_default()
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Path {
    /// `sites.a.com.endpoints[1]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if n == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Whether hostmux can run with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in the text: line and column, both from 1, and how many characters
/// to underline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// Where a diagnostic points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the file as a whole.
    File,
    /// At a key of the document.
    Key(Path),
    /// At a value of the document.
    Value(Path),
    /// At a part of the text.
    Span(Span),
}

/// One thing wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub place: Place,
    /// What is wrong, with the value that is.
    pub message: String,
    /// A few words beside the caret.
    pub label: String,
    /// What would be right.
    pub help: Option<String>,
    /// A second place that has to do with it (the other of two duplicates).
    pub other: Option<(Place, String)>,
}

impl Diagnostic {
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place,
            message: message.into(),
            label: String::new(),
            help: None,
            other: None,
        }
    }

    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, message)
        }
    }

    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..self
        }
    }

    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    #[must_use]
    pub fn other(self, place: Place, label: impl Into<String>) -> Self {
        Self {
            other: Some((place, label.into())),
            ..self
        }
    }
}

impl Diagnostic {
    /// The same as data, for `--json`.
    pub fn entry<'a>(&'a self, file: &'a str, find: impl Fn(&Place) -> Option<Span>) -> Entry<'a> {
        let span = find(&self.place);
        Entry {
            severity: self.severity,
            file,
            line: span.map(|span| span.line),
            column: span.map(|span| span.column),
            width: span.map(|span| span.width),
            message: &self.message,
            label: &self.label,
            help: self.help.as_deref(),
            path: match &self.place {
                Place::Key(path) | Place::Value(path) => Some(path.to_string()),
                Place::File | Place::Span(_) => None,
            },
            other: self.other.as_ref().and_then(|(place, label)| {
                find(place).map(|span| Other {
                    line: span.line,
                    column: span.column,
                    label,
                })
            }),
        }
    }
}

/// One diagnostic as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    severity: Severity,
    file: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    width: Option<usize>,
    message: &'a str,
    label: &'a str,
    help: Option<&'a str>,
    path: Option<String>,
    other: Option<Other<'a>>,
}

#[derive(Debug, Serialize)]
struct Other<'a> {
    line: usize,
    column: usize,
    label: &'a str,
}
