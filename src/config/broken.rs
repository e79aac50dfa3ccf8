//! Sites that cannot be served as they are written.
//!
//! A fault that stands in one site harms that site alone: the others are
//! served, and its own visitors get a page that says so. A fault that stands
//! anywhere else is one of the file, which is then not taken over at all.

use std::cell::LazyCell;
use std::collections::HashMap;

use super::locate::TopEntries;
use super::{CertificateFiles, Config, Places, SiteConfig};
use crate::diagnostic::{Diagnostic, Path, Place, Severity, Step};
use crate::host::HostPattern;

/// A site with at least one error in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenSite {
    /// As the user wrote it; `fallback` for the fallback.
    pub name: String,
    /// Of a name that is none, what it was most likely meant for. Empty for
    /// the fallback, and where nothing can be made of the name.
    pub hosts: Vec<HostPattern>,
    /// What its visitors are shown over TLS, as far as that can be read.
    pub certificate: Option<CertificateFiles>,
    /// The line of its first error, from 1.
    pub line: usize,
    /// What is wrong there, cut where it is long: each request tells it.
    pub message: String,
}

impl BrokenSite {
    pub fn is_fallback(&self) -> bool {
        self.hosts.is_empty() && self.name == FALLBACK
    }

    /// Where it stands.
    pub fn path(&self) -> Path {
        match self.is_fallback() {
            true => Path::root().key(FALLBACK),
            false => Path::root().key("sites").key(&self.name),
        }
    }
}

const FALLBACK: &str = "fallback";
/// A message quotes what was written, which may be as long as the file.
const MESSAGE_CHARS_MAX: usize = 400;

fn clip(message: &str) -> String {
    let mut chars = message.chars();
    let mut clipped: String = chars.by_ref().take(MESSAGE_CHARS_MAX).collect();
    if chars.next().is_some() {
        clipped.push('…');
    }
    clipped
}

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
    // The first one of each site, by its name.
    let mut firsts: HashMap<String, First<'_>> = HashMap::new();
    let entries = LazyCell::new(|| places.entries());
    for error in errors {
        let name = owner(&error.place, &entries, whole)?;
        firsts.entry(name).or_insert_with(|| First {
            line: places.span(&error.place).map_or(0, |span| span.line),
            message: &error.message,
        });
    }
    if firsts.is_empty() {
        return Some(config);
    }
    config.break_those(firsts)?;
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

/// An error of a site.
struct First<'a> {
    line: usize,
    message: &'a str,
}

fn next_error(line: usize, found: &[Diagnostic], places: &Places) -> (usize, String) {
    let at = |fault: &Diagnostic| places.span(&fault.place).map_or(0, |span| span.line);
    let mut errors = found
        .iter()
        .filter(|fault| fault.severity == Severity::Error);
    let next = errors.find(|fault| at(fault) >= line);
    match next {
        Some(fault) => (at(fault), clip(&fault.message)),
        None => (line, "it cannot be read".to_owned()),
    }
}

/// The site that a place is in.
fn owner(place: &Place, entries: &TopEntries, whole: bool) -> Option<String> {
    let path = match place {
        Place::File => return None,
        Place::Key(path) | Place::Value(path) => path,
        // With lines left out nobody knows what the rest of a site was.
        Place::Span(_) if !whole => return None,
        Place::Span(span) => entries.around(*span)?,
    };
    match path.steps() {
        [Step::Key(top), Step::Key(name), ..] if top == "sites" => Some(name.clone()),
        [Step::Key(top), ..] if top == FALLBACK => Some(FALLBACK.to_owned()),
        _ => None,
    }
}

impl Config {
    /// Sites, or the fallback, are broken by an error each; `None` if there is
    /// none of one of these names.
    fn break_those(&mut self, mut firsts: HashMap<String, First<'_>>) -> Option<()> {
        for known in &mut self.broken {
            let Some(first) = firsts.remove(&known.name) else {
                continue;
            };
            if known.message.is_empty() {
                known.line = first.line;
                known.message = clip(first.message);
            }
        }
        let is_one = |site: &mut SiteConfig| firsts.contains_key(&site.name);
        let taken: Vec<SiteConfig> = self.sites.extract_if(.., is_one).collect();
        let fallback = self.fallback.take_if(is_one);
        for site in taken.into_iter().chain(fallback) {
            let first = firsts.remove(&site.name)?;
            self.broken.push(BrokenSite {
                name: site.name,
                hosts: site.hosts,
                certificate: site.certificate,
                line: first.line,
                message: clip(first.message),
            });
        }
        firsts.is_empty().then_some(())
    }

    /// Whether a site is broken, so that it is not served as written.
    pub fn is_degraded(&self) -> bool {
        !self.broken.is_empty()
    }
}

#[cfg(test)]
mod slips;
#[cfg(test)]
mod tests {
    use super::MESSAGE_CHARS_MAX;
    use crate::config::{Checked, check};

    fn read(text: &str) -> Checked {
        check(text, &|_| None)
    }

    /// Who is broken by a text, where and why; `None`: the file as a whole.
    fn broken(text: &str) -> Option<Vec<(String, usize, String)>> {
        let config = read(text).config?;
        let told = config.broken.into_iter();
        Some(
            told.map(|site| (site.name, site.line, site.message))
                .collect(),
        )
    }

    #[track_caller]
    fn breaks(text: &str, want: &[(&str, usize)]) {
        let got = broken(text).unwrap_or_else(|| panic!("nothing is served of {text:?}"));
        let got: Vec<(&str, usize)> = got
            .iter()
            .map(|(name, line, _)| (name.as_str(), *line))
            .collect();
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn a_fault_is_that_of_the_site_it_stands_in() {
        breaks("sites:\n  a.test: 1\n", &[]);
        breaks("sites:\n  a.test: 1\n  b.test: 2O\n", &[("b.test", 3)]);
        breaks(
            "sites:\n  a.test:\n    upstream: 1\n    hots: on\n  b.test: 2\n",
            &[("a.test", 4)],
        );
        breaks("sites:\n  a.test: 1\nfallback: 0\n", &[("fallback", 3)]);
        breaks(
            "sites:\n  a.test: 1\n  b.test:\n  upstream: 2\n",
            &[("b.test", 4), ("upstream", 4)],
        );
        // Of two spellings of a name the first one has it.
        breaks("sites:\n  a.test: 1\n  A.test: 2\n", &[("A.test", 3)]);
        breaks(
            "sites:\n  b.test: 2\n  a.test: 1\n  a.test: 1\n",
            &[("a.test", 4)],
        );
        // The site that stands before the second one has nothing to do with it.
        breaks(
            "sites:\n  a.test: 1\n  b.test: 2\n  a.test: 1\n  c.test: 3\n",
            &[("a.test", 4)],
        );
        breaks(
            "sites: { a.test: 1, b.test: 2, c.test: 3, b.test: &x 2 }\n",
            &[("b.test", 1)],
        );
        breaks(
            "fallback: 1\nsites:\n  a.test: 1\nfallback: 2\n",
            &[("fallback", 4)],
        );
    }

    #[test]
    fn what_is_told_at_each_request_is_short() {
        let long = "y".repeat(1_000_000);
        let told = broken(&format!("sites:\n  a.test: 1\n  b.test: {long}\n")).unwrap();
        let [(_, 3, message)] = told.as_slice() else {
            panic!("{}", told.len());
        };
        assert_eq!(message.chars().count(), MESSAGE_CHARS_MAX + 1);
        assert!(message.starts_with("`yyy") && message.ends_with('…'));
    }

    #[test]
    fn a_fault_that_is_no_sites_own_is_the_files() {
        for text in [
            "sites:\n  a.test: 1\nlisten: 1\n",
            "sites:\n  a.test: 1\ndefaults: { hots: on }\n",
            "sites:\n  a.test: 1\nlog: 1\n",
            "sites:\n  a.test: 1\n  b.test: [1\n",
            "sites:\n  a.test: 1\n\tb.test: 1\n",
            "sites:\n  a.test: 1\n  fallback: 1\n",
            // A key of the file once more, after the sites.
            "sites:\n  a.test: 1\n  b.test: 2\nsites:\n  c.test: 3\n",
            "listen: { https: 1 }\nsites:\n  a.test: 2\n  b.test: 3\nlisten: { https: 2 }\n",
            // Nothing would be left.
            "sites:\n  a.test: 0\n",
            "",
        ] {
            assert!(broken(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_broken_site_shows_its_own_certificate() {
        let pair = "certificate: { chain: b.pem, key: b.key }";
        let of = |upstream: &str| {
            let text = format!(
                "sites:\n  a.test: {{ upstream: 1, certificate: {{ chain: a.pem, key: a.key }} }}\n  \
                 b.test: {{ upstream: {upstream}, {pair} }}\n  c.test:\n"
            );
            let broken = read(&text).config.unwrap().broken;
            let chains = broken.into_iter().map(|site| {
                let chain = site.certificate.map(|pair| pair.chain);
                (site.name, chain)
            });
            chains.collect::<Vec<_>>()
        };
        let mut want = vec![("b.test".to_owned(), Some("b.pem".into()))];
        want.push(("c.test".to_owned(), None));
        assert_eq!(of("0"), want);
        want.swap(0, 1);
        assert_eq!(of("1, hots: on"), want);
    }
}
