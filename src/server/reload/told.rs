//! What the log says of a file that was taken over.

use std::path::Path;

use super::changes::Now;
use super::{Cause, Changes};

/// Sites of one kind, certificates or warnings that the log names each; the rest
/// is counted.
pub const TOLD_MAX: usize = 20;

/// Tells what has changed. `was_refused`: the file has been until now.
/// `waits_anew`: other keys wait than before.
pub(super) fn tell(
    file: &Path,
    changes: &Changes,
    cause: Cause,
    was_refused: bool,
    waits_anew: bool,
) {
    let (config, cause) = (file.display(), cause.as_str());
    if waits_anew && !changes.waiting.is_empty() {
        tracing::warn!(
            keys = changes.waiting.join(", "),
            help = "hostmux upgrade",
            "these keys wait for a restart or an upgrade"
        );
    }
    if changes.is_empty() && !was_refused {
        tracing::info!(%config, cause, "configuration read again: nothing has changed");
        return;
    }
    tracing::info!(
        %config,
        added = changes.added.len(),
        removed = changes.removed.len(),
        changed = changes.changed.len(),
        mended = changes.mended.len(),
        broken = changes.broken.len(),
        certificates = changes.certificates.len(),
        settings = changes.settings.join(", "),
        was_refused,
        cause,
        "configuration taken over",
    );
    let kinds = [
        ("added", &changes.added),
        ("removed", &changes.removed),
        ("changed", &changes.changed),
        ("mended", &changes.mended),
    ];
    for (now, sites) in kinds {
        for site in sites.iter().take(TOLD_MAX) {
            tracing::info!(site = site.site, line = site.line, now, "site {now}");
        }
    }
    for site in changes.broken.iter().take(TOLD_MAX) {
        let fault = site.fault.as_deref().unwrap_or_default();
        broken(&site.site, site.line, fault);
    }
    for certificate in changes.certificates.iter().take(TOLD_MAX) {
        let (names, until) = (&certificate.names, &certificate.until);
        match certificate.now {
            Now::Added => tracing::info!(names, until, now = "added", "certificate added"),
            // Its names get another one, perhaps of the local CA.
            Now::Removed => tracing::warn!(names, until, now = "removed", "certificate removed"),
        }
    }
}

/// Tells of a site that is not served as it is written.
pub fn broken(site: &str, line: usize, fault: &str) {
    tracing::error!(site, line, fault, "site broken: the others are served");
}
