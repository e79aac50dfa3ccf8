//! A site's own pair: the one that lies there, or the one that was read before.

use std::time::SystemTime;

use super::pair::Pair;
use crate::diagnostic::{self, Diagnostic, Place, Severity};
use crate::tls::SiteSettings;
use crate::tls::identity::{Identity, Validity, told};
use crate::tls::kept::{Read, kept};

/// What a site gets of its pair, and what is to be said of it.
pub(super) struct Own {
    pub(super) taken: Option<Read>,
    pub(super) found: Vec<Diagnostic>,
}

/// Judges a pair that was read now. `before`: the same pair, as it was good
/// at the last reading. What was served goes on being served: where what lies
/// there now is of no use to the site, it gets what it had, with a warning.
pub(super) fn judge(
    pair: Pair,
    before: Option<&Read>,
    site: &SiteSettings,
    now: SystemTime,
) -> Own {
    let at = site.at.key("certificate");
    let findings = pair.findings.into_iter();
    let mut found: Vec<_> = findings.map(|finding| finding.at(&at)).collect();
    let new = pair.identity.map(|identity| Read { identity, at: now });
    let uncovered = new
        .as_ref()
        .and_then(|new| uncovering(&new.identity, site, &at));
    found.extend(uncovered);
    let is_valid = |read: &Read| read.identity.validity(now) == Validity::Valid;
    let fits = |read: &Read| is_valid(read) && covers(&read.identity, site);
    let taken = match (new, before) {
        (None, Some(before)) => {
            soften(&mut found, before.at);
            found.extend(uncovering(&before.identity, site, &at));
            Some(before.clone())
        }
        (Some(new), Some(before)) if !fits(&new) && fits(before) => {
            soften(&mut found, before.at);
            Some(before.clone())
        }
        // It ran out while it was served: no reload fails by time alone.
        (Some(new), Some(before)) if !is_valid(before) && covers(&new.identity, site) => {
            for found in &mut found {
                found.severity = Severity::Warning;
            }
            Some(new)
        }
        (new, _) => new,
    };
    Own { taken, found }
}

fn covers(identity: &Identity, site: &SiteSettings) -> bool {
    site.hosts.iter().all(|host| identity.covers_pattern(host))
}

/// What is wrong with an identity that is not for all of a site's names.
fn uncovering(
    identity: &Identity,
    site: &SiteSettings,
    at: &diagnostic::Path,
) -> Option<Diagnostic> {
    if covers(identity, site) {
        return None;
    }
    let bare = site
        .hosts
        .iter()
        .filter(|host| !identity.covers_pattern(host));
    let bare: Vec<_> = bare.cloned().collect();
    let message = format!("the certificate does not cover {}", told(&bare));
    Some(
        Diagnostic::error(Place::Value(at.key("chain")), message)
            .label(format!("covers {}", identity.told_names()))
            .help(
                "name a certificate that does; without `certificate` one is \
                 found by its names",
            ),
    )
}

/// Errors that do no harm, because what was read before is kept.
fn soften(found: &mut [Diagnostic], read_at: SystemTime) {
    for found in found {
        if found.severity == Severity::Error {
            *found = kept(found.clone(), read_at);
        }
    }
}
