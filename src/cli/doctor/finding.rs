//! What a check found: how bad it is, why it matters, and what to do.

use std::time::Duration;

use serde_json::{Value, json};

/// How bad it is; the worst of all is how `doctor` exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It was looked at, and is as it should be.
    Ok,
    /// Good to know; also what could not be looked at.
    Note,
    /// Some client is worse off, or will be.
    Warning,
    /// hostmux would not start, or a site does not work.
    Error,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A family of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Configuration,
    Ports,
    Permissions,
    Names,
    Certificates,
    Endpoints,
    Clock,
    Descriptors,
    Service,
}

impl Check {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Ports => "ports",
            Self::Permissions => "permissions",
            Self::Names => "names",
            Self::Certificates => "certificates",
            Self::Endpoints => "endpoints",
            Self::Clock => "clock",
            Self::Descriptors => "descriptors",
            Self::Service => "service",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub check: Check,
    /// What is so.
    pub what: String,
    /// Why it matters; empty where all is well.
    pub why: String,
    /// Commands or edits, each of which mends it; the first is the best.
    pub fixes: Vec<String>,
}

impl Finding {
    pub fn new(severity: Severity, check: Check, what: impl Into<String>) -> Self {
        Self {
            severity,
            check,
            what: what.into(),
            why: String::new(),
            fixes: Vec::new(),
        }
    }

    pub fn ok(check: Check, what: impl Into<String>) -> Self {
        Self::new(Severity::Ok, check, what)
    }

    pub fn note(check: Check, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, check, what)
    }

    pub fn warning(check: Check, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, check, what)
    }

    pub fn error(check: Check, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, check, what)
    }

    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }

    /// Only so many of a kind are looked at; the rest is told of.
    pub fn left_out(check: Check, left: usize, of: &str, most: usize) -> Option<Self> {
        (left > 0).then(|| {
            Self::note(check, format!("{left} more {of} were not looked at"))
                .why(format!("{most} are looked at, the first of the file"))
        })
    }

    /// Some were given up, so that the rest is told.
    pub fn too_late(check: Check, late: usize, time: Duration) -> Option<Self> {
        (late > 0).then(|| {
            Self::warning(check, format!("{late} did not end within {time:?}"))
                .why("many that do not answer keep the others waiting; what is not told here was not looked at")
                .fix("mend what is told, and run it again")
        })
    }

    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.as_str(),
            "check": self.check.as_str(),
            "what": self.what,
            "why": self.why,
            "fixes": self.fixes,
        })
    }
}

/// The worst of all.
pub fn worst(findings: &[Finding]) -> Severity {
    let severities = findings.iter().map(|finding| finding.severity);
    severities.max().unwrap_or(Severity::Ok)
}
