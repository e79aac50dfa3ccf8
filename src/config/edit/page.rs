//! A text with its tree: the way to a site, and where its endpoints stand.

use std::ops::Range;

use super::lines::Lines;
use super::place::Step;
use crate::config::locate::tree::{Form, Node, Style};

/// How deep a file is indented whose sites do not tell.
const INDENT: usize = 2;

/// What cannot be edited, and at which byte.
#[derive(Debug)]
pub(super) struct Stuck {
    pub(super) at: usize,
    pub(super) why: &'static str,
}

/// A part of the text, and what to put there.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

impl Splice {
    pub(super) fn insert(at: usize, text: impl Into<String>) -> Self {
        Self {
            range: at..at,
            text: text.into(),
        }
    }

    pub(super) fn delete(range: Range<usize>) -> Self {
        Self {
            range,
            text: String::new(),
        }
    }

    pub(super) fn replace(range: Range<usize>, text: impl Into<String>) -> Self {
        Self {
            range,
            text: text.into(),
        }
    }
}

/// A key with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'t> {
    /// The mapping it stands in.
    pub(super) of: &'t Node,
    pub(super) index: usize,
    pub(super) key: &'t Node,
    pub(super) value: &'t Node,
}

impl Entry<'_> {
    pub(super) fn in_flow(&self) -> bool {
        matches!(self.of.form, Form::Mapping { flow: true, .. })
    }

    pub(super) fn range(&self) -> Range<usize> {
        range(self.key, self.value)
    }
}

/// Where the endpoints of a site or a route stand.
#[derive(Debug)]
pub(super) enum Members<'t> {
    /// The value of this entry: one, a list, or nothing yet.
    In(Entry<'t>),
    /// They would stand in the mapping of this entry, behind a key that it lacks.
    Without(Entry<'t>, &'static str),
    /// Requests are sent elsewhere instead.
    Redirect(Entry<'t>),
}

pub(super) struct Page<'t> {
    pub(super) text: &'t str,
    pub(super) root: &'t Node,
    pub(super) lines: Lines<'t>,
}

impl<'t> Page<'t> {
    pub(super) fn of(text: &'t str, root: &'t Node) -> Self {
        Self {
            text,
            root,
            lines: Lines::of(text),
        }
    }

    /// The entries on the way, as far as they are there.
    pub(super) fn way(&self, steps: &[Step]) -> Result<Vec<Entry<'t>>, Stuck> {
        let (mut at, mut way) = (self.root, Vec::new());
        for step in steps {
            let Some(entry) = child(at, |key| step.is(key))? else {
                break;
            };
            way.push(entry);
            at = entry.value;
        }
        Ok(way)
    }

    /// The place behind the `:` of an entry.
    pub(super) fn behind_colon(&self, entry: &Entry<'_>) -> Option<usize> {
        let rest = &self.text[entry.key.range.end..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest[blank..]
            .starts_with(':')
            .then(|| entry.key.range.end + blank + 1)
    }

    /// How many spaces stand before a key or item that begins its line.
    pub(super) fn column(&self, at: usize) -> Result<usize, Stuck> {
        self.lines.column(at).ok_or(Stuck {
            at,
            why: "more than spaces before the key or item",
        })
    }

    /// The line of a node, from 1.
    pub(super) fn line(&self, node: &Node) -> usize {
        self.lines.at(node.range.start) + 1
    }

    /// What stands behind `sites`.
    pub(super) fn sites(&self) -> Option<&'t Node> {
        let sites = child(self.root, |key| key == "sites").ok().flatten();
        sites.map(|sites| sites.value)
    }

    /// How much deeper each level of the file is indented.
    pub(super) fn indent(&self) -> usize {
        let first = self.sites().and_then(|sites| match &sites.form {
            Form::Mapping {
                flow: false,
                entries,
            } => entries.first(),
            Form::Mapping { .. } | Form::Nothing | Form::Scalar { .. } | Form::List { .. } => None,
        });
        first
            .and_then(|(key, _)| self.lines.column(key.range.start))
            .filter(|column| *column > 0)
            .unwrap_or(INDENT)
    }

    /// The last line of an entry or item, with the comments that are its own.
    pub(super) fn last_line(&self, end: usize, indent: usize) -> usize {
        self.lines.end_of_block(self.lines.at(end), indent)
    }

    /// A splice that puts lines below a line.
    pub(super) fn below(&self, line: usize, new: &[String]) -> Splice {
        let eol = self.lines.line_break();
        let text: String = new.iter().flat_map(|new| [eol, new]).collect();
        Splice::insert(self.lines.end(line), text)
    }

    /// The first place of a `,` between two others, outside of comments.
    pub(super) fn comma(&self, from: usize, to: usize) -> Option<usize> {
        let mut comment = false;
        for (at, c) in self.text[from..to].char_indices() {
            match c {
                '\n' | '\r' => comment = false,
                '#' => comment = true,
                ',' if !comment => return Some(from + at),
                _ => {}
            }
        }
        None
    }

    pub(super) fn has_comment(&self, from: usize, to: usize) -> bool {
        self.text[from..to].contains('#')
    }
}

/// An entry of a mapping, by its key.
pub(super) fn child(node: &Node, is: impl Fn(&str) -> bool) -> Result<Option<Entry<'_>>, Stuck> {
    let Form::Mapping { entries, .. } = &node.form else {
        return Ok(None);
    };
    let mut found = None;
    for (index, (key, value)) in entries.iter().enumerate() {
        if !text(key).is_some_and(&is) {
            continue;
        }
        if found.is_some() {
            return Err(Stuck {
                at: key.range.start,
                why: "the key is there twice",
            });
        }
        found = Some(Entry {
            of: node,
            index,
            key,
            value,
        });
    }
    Ok(found)
}

/// From a key to the end of what stands behind it.
pub(super) fn entry_range((key, value): &(Node, Node)) -> Range<usize> {
    range(key, value)
}

fn range(key: &Node, value: &Node) -> Range<usize> {
    key.range.start..value.range.end.max(key.range.end)
}

/// Where the endpoints of a site or a route stand.
pub(super) fn members(place: Entry<'_>) -> Result<Members<'_>, Stuck> {
    if !is_mapping(place.value) {
        return Ok(Members::In(place));
    }
    let Some(upstream) = child(place.value, |key| key == "upstream")? else {
        let redirect = child(place.value, |key| key == "redirect")?;
        return Ok(match redirect {
            Some(redirect) => Members::Redirect(redirect),
            None => Members::Without(place, "upstream"),
        });
    };
    if !is_mapping(upstream.value) {
        return Ok(Members::In(upstream));
    }
    let endpoints = child(upstream.value, |key| key == "endpoints")?;
    Ok(endpoints.map_or(Members::Without(upstream, "endpoints"), Members::In))
}

/// The endpoints of a value, each with its text if it has one.
pub(super) fn endpoints(value: &Node) -> Vec<(&Node, Option<&str>)> {
    match &value.form {
        _ if is_null(value) => Vec::new(),
        Form::List { items, .. } => items
            .iter()
            .map(|item| (&item.node, endpoint(&item.node)))
            .collect(),
        Form::Nothing | Form::Scalar { .. } | Form::Mapping { .. } => {
            vec![(value, endpoint(value))]
        }
    }
}

/// The text of an endpoint in short or in long.
fn endpoint(node: &Node) -> Option<&str> {
    match &node.form {
        Form::Mapping { .. } => {
            let address = child(node, |key| key == "address").ok().flatten()?;
            text(address.value)
        }
        Form::Nothing | Form::Scalar { .. } | Form::List { .. } => text(node),
    }
}

pub(super) fn text(node: &Node) -> Option<&str> {
    match &node.form {
        Form::Scalar { text, .. } => Some(text),
        Form::Nothing | Form::List { .. } | Form::Mapping { .. } => None,
    }
}

/// Nothing, or a word for it.
pub(super) fn is_null(node: &Node) -> bool {
    match &node.form {
        Form::Nothing => true,
        Form::Scalar { text, style } => {
            *style == Style::Plain && matches!(text.as_str(), "~" | "null" | "Null" | "NULL")
        }
        Form::List { .. } | Form::Mapping { .. } => false,
    }
}

pub(super) fn is_mapping(node: &Node) -> bool {
    matches!(node.form, Form::Mapping { .. })
}

/// The keys of a mapping.
pub(super) fn keys(node: &Node) -> impl Iterator<Item = &str> {
    let entries = match &node.form {
        Form::Mapping { entries, .. } => entries.as_slice(),
        Form::Nothing | Form::Scalar { .. } | Form::List { .. } => &[],
    };
    entries.iter().filter_map(|(key, _)| text(key))
}
