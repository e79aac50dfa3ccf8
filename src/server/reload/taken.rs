//! What is told of a file that was read again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Changes, Loaded};

/// A file that is what runs now, or would be.
pub struct Taken {
    pub changes: Changes,
    /// With all that was found in it; configuration and inventory are taken out.
    pub loaded: Loaded,
    /// Since when all that it says is served, but for `changes`.
    pub since: SystemTime,
    /// Whether a site of it is not served as it is written.
    pub degraded: bool,
}

/// The files that are watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The one that is served, then those that it names. Absolute.
    pub paths: Arc<[PathBuf]>,
    /// When they were read first, or a little before.
    pub read_at: SystemTime,
}
