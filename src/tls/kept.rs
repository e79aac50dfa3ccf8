//! What was read before, and is kept while what lies there now does not load.
//!
//! A renewal writes a chain and its key one after the other: who reads in
//! between finds two that do not belong together. What was served goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::identity::{Identity, moment};
use crate::diagnostic::{Diagnostic, Severity};

/// An identity, and when it was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) identity: Arc<Identity>,
    pub(super) at: SystemTime,
}

/// A fault that does no harm, because what was read before is kept.
pub(super) fn kept(fault: Diagnostic, at: SystemTime) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        message: format!("{}; the one read at {} is kept", fault.message, moment(at)),
        ..fault
    }
}

/// A path as it is known again, however the configuration file was named.
/// Links are not followed: who watches it sees where they lead.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
