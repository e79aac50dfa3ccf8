//! One endpoint more or less: what the splices are, and whether they were right.

use super::page::{Entry, Members, Page, Splice, Stuck, endpoints, keys, members};
use super::place::{Endpoint, Place, scalar};
use super::refusal::TOLD_MAX;
use super::{Refusal, add, meaning, remove};
use crate::config::file::Value;
use crate::config::locate::tree::{self, NoTree, Node};

/// One change of the text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    Add(&'a Endpoint<'a>),
    /// The first that means the same; the last one only by force.
    Remove(&'a Endpoint<'a>, bool),
    RemoveAll,
}

/// Why there is no splice.
enum Halt {
    Refused(Refusal),
    Stuck(Stuck),
}

impl From<Stuck> for Halt {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck)
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Change<'_> {
    /// The text with this change in it.
    pub(super) fn of(self, text: &str, place: &Place) -> Result<String, Refusal> {
        let (mark, text) = match text.strip_prefix('\u{feff}') {
            Some(rest) => ("\u{feff}", rest),
            None => ("", text),
        };
        let root = tree::tree(text).map_err(|fault| self.no_tree(fault, place))?;
        let before = Value::read(text).map_err(|fault| {
            let (line, column) = fault.at.unwrap_or((1, 1));
            Refusal::Unreadable {
                line,
                column,
                message: fault.message,
            }
        })?;
        let page = Page::of(text, &root);
        let layout = |at, why| Refusal::Layout {
            line: page.lines.at(at) + 1,
            why,
            write: self.by_hand(place, &page),
        };
        let splices = self.splices(&page, place).map_err(|halt| match halt {
            Halt::Refused(refusal) => refusal,
            Halt::Stuck(stuck) => layout(stuck.at, stuck.why),
        })?;
        let at = splices.first().map_or(0, |splice| splice.range.start);
        let after = spliced(text, splices).filter(|after| self.is_meant(before, after, place));
        let after =
            after.ok_or_else(|| layout(at, "an edit of it would change more than is meant"))?;
        Ok(format!("{mark}{after}"))
    }

    fn splices(self, page: &Page<'_>, place: &Place) -> Result<Vec<Splice>, Halt> {
        let way = page.way(&place.steps)?;
        let whole = way.last().filter(|_| way.len() == place.steps.len());
        let Some(here) = whole else {
            return match self {
                Self::Add(endpoint) => Ok(add::add(page, &place.steps, endpoint.text)?),
                Self::Remove(..) | Self::RemoveAll => Err(absent(page, &way, place).into()),
            };
        };
        let (endpoint, force) = match self {
            Self::RemoveAll => return Ok(remove::whole(page, &way, place)?),
            Self::Add(endpoint) => (endpoint, None),
            Self::Remove(endpoint, force) => (endpoint, Some(force)),
        };
        let members = members(*here)?;
        let there = match &members {
            Members::In(entry) => endpoints(entry.value),
            Members::Without(..) => Vec::new(),
            Members::Redirect(redirect) => {
                return Err(Halt::Refused(Refusal::Redirect {
                    place: place.name(),
                    line: page.line(redirect.key),
                }));
            }
        };
        let found = there
            .iter()
            .position(|(_, text)| text.is_some_and(|text| endpoint.is(text)));
        match (force, found) {
            (None, Some(index)) => Err(Halt::Refused(Refusal::AlreadyThere {
                place: place.name(),
                endpoint: endpoint.text.to_owned(),
                line: page.line(there[index].0),
            })),
            (None, None) => Ok(add::add(page, &place.steps, endpoint.text)?),
            (Some(_), None) => Err(Halt::Refused(Refusal::NoSuchEndpoint {
                place: place.name(),
                endpoint: endpoint.text.to_owned(),
                there: told(there.iter().filter_map(|(_, text)| *text)),
            })),
            (Some(false), Some(_)) if there.len() == 1 => {
                Err(Halt::Refused(Refusal::LastEndpoint {
                    place: place.name(),
                    endpoint: endpoint.text.to_owned(),
                }))
            }
            (Some(true), Some(_)) if there.len() == 1 => Ok(remove::last(page, &way, place)?),
            (Some(_), Some(index)) => match members {
                Members::In(entry) => Ok(remove::member(page, &entry, index)?),
                Members::Without(..) | Members::Redirect(_) => Ok(Vec::new()),
            },
        }
    }

    /// Whether a text means what was there with this change in it, and can be
    /// read by all who read it.
    pub(super) fn is_meant(self, before: Value, after: &str, place: &Place) -> bool {
        let want = match self {
            Self::Add(endpoint) => meaning::add(before, place, endpoint),
            Self::Remove(endpoint, _) => meaning::remove(before, place, Some(endpoint)),
            Self::RemoveAll => meaning::remove(before, place, None),
        };
        let (Some(want), Ok(after_is)) = (want, Value::read(after)) else {
            return false;
        };
        meaning::same(&want, &after_is) && tree::tree(after).is_ok()
    }

    fn no_tree(self, fault: NoTree, place: &Place) -> Refusal {
        match fault {
            NoTree::Fault {
                line,
                column,
                message,
            } => Refusal::Unreadable {
                line,
                column,
                message,
            },
            NoTree::Odd { line, what } => Refusal::Layout {
                line,
                why: what,
                write: self.sentence(place),
            },
        }
    }

    /// What to write where the text cannot be edited: the whole line, if all
    /// that belongs on it is known.
    fn by_hand(self, place: &Place, page: &Page<'_>) -> String {
        let Self::Add(endpoint) = self else {
            return self.sentence(place);
        };
        let there = page.way(&place.steps).ok().and_then(|way| {
            let here = way.last().filter(|_| way.len() == place.steps.len())?;
            match members(*here).ok()? {
                Members::In(entry) => Some(endpoints(entry.value)),
                Members::Without(..) | Members::Redirect(_) => None,
            }
        });
        let there: Option<Vec<&str>> = there
            .unwrap_or_default()
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        let Some(mut all) = there.filter(|there| there.len() < TOLD_MAX) else {
            return self.sentence(place);
        };
        all.push(endpoint.text);
        let all: Vec<String> = all.into_iter().map(scalar).collect();
        let all = match all.as_slice() {
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        match place.prefix() {
            None => format!("`{}: {all}`", scalar(place.host())),
            Some(prefix) => format!(
                "`{}: {all}` under `routes` of `{}`",
                scalar(prefix),
                place.host()
            ),
        }
    }

    fn sentence(self, place: &Place) -> String {
        let name = place.name();
        match self {
            Self::Add(endpoint) => {
                format!(
                    "add `{}` to the endpoints of `{name}`",
                    scalar(endpoint.text)
                )
            }
            Self::Remove(endpoint, _) => {
                format!("remove `{}` from the endpoints of `{name}`", endpoint.text)
            }
            Self::RemoveAll => format!("remove `{name}`"),
        }
    }
}

/// What of a place is not there.
fn absent(page: &Page<'_>, way: &[Entry<'_>], place: &Place) -> Refusal {
    let site = way.get(place.site - 1);
    let host = place.host().to_owned();
    let names = |of: Option<&Node>| of.map_or_else(Vec::new, |of| told(keys(of)));
    match (site, place.prefix()) {
        (Some(_), Some(prefix)) => Refusal::NoSuchRoute {
            there: names(way.get(place.site).map(|routes| routes.value)),
            prefix: prefix.to_owned(),
            host,
        },
        (_, _) => Refusal::NoSuchSite {
            there: names(page.sites()),
            host,
        },
    }
}

fn told<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    names.take(TOLD_MAX).map(str::to_owned).collect()
}

/// A text with its splices; `None` if two of them are in each other's way.
fn spliced(text: &str, mut splices: Vec<Splice>) -> Option<String> {
    splices.sort_by_key(|splice| splice.range.start);
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for splice in splices {
        out.push_str(text.get(from..splice.range.start)?);
        out.push_str(&splice.text);
        from = splice.range.end;
    }
    out.push_str(text.get(from..)?);
    Some(out)
}
