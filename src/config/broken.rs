//! Sites that cannot be served as they are written.
//!
//! A fault that stands in one site harms that site alone: the others are
//! served, and its own visitors get a page that says so. A fault that stands
//! anywhere else is one of the file, which is then not taken over at all.

use super::{Config, Places};
use crate::diagnostic::{Diagnostic, Place, Severity, Step};
use crate::host::HostPattern;

/// A site with at least one error in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenSite {
    /// As the user wrote it; `fallback` for the fallback.
    pub name: String,
    /// Empty for the fallback, and where the name itself is none.
    pub hosts: Vec<HostPattern>,
    /// The line of its first error, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl BrokenSite {
    pub fn is_fallback(&self) -> bool {
        self.hosts.is_empty() && self.name == FALLBACK
    }
}

const FALLBACK: &str = "fallback";

/// Takes the sites that errors stand in out of those that are served. `None`
/// where an error is no site's own, or where nothing would be left to serve.
/// `found` is in the order of the text.
pub(super) fn take_out(
    mut config: Config,
    found: &[Diagnostic],
    places: &Places,
    whole: bool,
) -> Option<Config> {
    let errors = found
        .iter()
        .filter(|fault| fault.severity == Severity::Error);
    let mut any = false;
    for error in errors {
        any = true;
        let line = places.span(&error.place).map_or(0, |span| span.line);
        let name = owner(&error.place, places, whole)?;
        config.broken_by(&name, line, &error.message)?;
    }
    if !any {
        return Some(config);
    }
    // What was left unread is so for what is told next.
    for broken in &mut config.broken {
        if broken.message.is_empty() {
            let (line, message) = next_error(broken.line, found, places);
            (broken.line, broken.message) = (line, message);
        }
    }
    let serves = !config.sites.is_empty() || config.fallback.is_some();
    serves.then_some(config)
}

fn next_error(line: usize, found: &[Diagnostic], places: &Places) -> (usize, String) {
    let at = |fault: &Diagnostic| places.span(&fault.place).map_or(0, |span| span.line);
    let mut errors = found
        .iter()
        .filter(|fault| fault.severity == Severity::Error);
    let next = errors.find(|fault| at(fault) >= line);
    match next {
        Some(fault) => (at(fault), fault.message.clone()),
        None => (line, "it cannot be read".to_owned()),
    }
}

/// The site that a place is in.
fn owner(place: &Place, places: &Places, whole: bool) -> Option<String> {
    let path = match place {
        Place::File => return None,
        Place::Key(path) | Place::Value(path) => path.clone(),
        // With lines left out nobody knows what the rest of a site was.
        Place::Span(_) if !whole => return None,
        Place::Span(span) => places.around(*span)?,
    };
    match path.steps() {
        [Step::Key(top), Step::Key(name), ..] if top == "sites" => Some(name.clone()),
        [Step::Key(top), ..] if top == FALLBACK => Some(FALLBACK.to_owned()),
        _ => None,
    }
}

impl Config {
    /// A site, or the fallback, is broken by an error; `None` if there is none
    /// of this name.
    fn broken_by(&mut self, name: &str, line: usize, message: &str) -> Option<()> {
        let known = self.broken.iter_mut().find(|broken| broken.name == name);
        if let Some(known) = known {
            if known.message.is_empty() {
                known.line = line;
                message.clone_into(&mut known.message);
            }
            return Some(());
        }
        let mut hosts = Vec::new();
        let is_it = |site: &super::SiteConfig| site.name == name;
        let mut there = self.fallback.take_if(|site| is_it(site)).is_some();
        // Of two with one name nobody knows which is meant.
        self.sites.retain(|site| {
            if is_it(site) {
                there = true;
                hosts.clone_from(&site.hosts);
            }
            !is_it(site)
        });
        there.then(|| {
            self.broken.push(BrokenSite {
                name: name.to_owned(),
                hosts,
                line,
                message: message.to_owned(),
            });
        })
    }

    /// Whether a site is broken, so that it is not served as written.
    pub fn is_degraded(&self) -> bool {
        !self.broken.is_empty()
    }
}
