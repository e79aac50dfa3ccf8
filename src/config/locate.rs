//! Where keys and values stand in the text, and what its form alone tells to be wrong.
//!
//! One pass over the parser's events finds syntax faults, duplicate keys at
//! every level, too deep nesting, and the parts of YAML that `sites.yaml` does
//! without; serde_yaml, which reads the values afterwards, misses or misplaces
//! all of these. The same pass gives path → place.
//!
//! A syntax fault does not end it: the lines that the fault stands in are left
//! out and the rest is read again, so that one run finds several.

mod characters;
mod syntax;
mod text;
pub(super) mod tree;
mod walk;

use std::collections::HashMap;

use saphyr_parser::{Marker, ScanError};

use self::walk::{Open, Walk};

use crate::diagnostic::{Diagnostic, Path, Place, Span, Step, lines};

/// Levels of nesting. What `sites.yaml` can say needs six; serde_yaml's time
/// is quadratic in them.
const DEPTH_MAX: usize = 64;
/// Syntax faults that are looked for: each costs another reading of the text.
const SYNTAX_FAULTS_MAX: usize = 10;
/// Anchors, aliases and tags that are told: each costs a look at its line.
const EXTRAS_MAX: usize = 100;
/// Stands for the `*` of an unquoted `*.host` while the rest is read. A
/// private-use character, which the text itself may not hold.
const STAR: char = '\u{e000}';

/// The place of every key and value of a document.
#[derive(Debug, Default)]
pub struct Places {
    /// The first is the document itself.
    nodes: Vec<Node>,
    children: HashMap<(usize, Step), usize>,
    /// Keys that are in their mapping already: which mapping, and the node.
    again: Vec<(usize, String, usize)>,
}

/// Where the entries of the document and of its top-level keys begin, in the
/// order of the text.
#[derive(Debug)]
pub(super) struct TopEntries(Vec<((usize, usize), Path)>);

impl TopEntries {
    /// The way to the entry that a place is in: the last that begins before it,
    /// or at it.
    pub(super) fn around(&self, span: Span) -> Option<&Path> {
        let place = (span.line, span.column);
        let before = self.0.partition_point(|(start, _)| *start <= place);
        let (_, path) = self.0.get(before.checked_sub(1)?)?;
        Some(path)
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: Option<Span>,
    value: Span,
}

impl Places {
    /// Looks a place up. Of a path that is not in the document, the nearest
    /// part of it that is; `None` only for [`Place::File`].
    pub fn span(&self, place: &Place) -> Option<Span> {
        match place {
            Place::File => None,
            Place::Span(span) => Some(*span),
            Place::Key(path) => Some(
                self.node(path.steps())
                    .map_or(TOP, |n| n.key.unwrap_or(n.value)),
            ),
            Place::Value(path) => Some(self.node(path.steps()).map_or(TOP, |n| n.value)),
        }
    }

    /// The entries of the document and of its top-level keys, those that are
    /// here twice too.
    pub(super) fn entries(&self) -> TopEntries {
        let known = self.children.iter();
        let known = known.filter_map(|((of, step), node)| match step {
            Step::Key(key) => Some((*of, key, *node)),
            Step::Index(_) => None,
        });
        let again = self.again.iter().map(|(of, key, node)| (*of, key, *node));
        let all = || known.clone().chain(again.clone());
        let tops: HashMap<usize, &String> = all()
            .filter(|(of, ..)| *of == 0)
            .map(|(_, key, node)| (node, key))
            .collect();
        let entries = all().filter_map(|(of, key, node)| {
            let at = self.nodes.get(node)?.key?;
            let above = if of == 0 {
                Path::root()
            } else {
                Path::root().key(tops.get(&of)?)
            };
            Some(((at.line, at.column), above.key(key)))
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|(start, _)| *start);
        TopEntries(entries)
    }

    /// Whether a path is in the document.
    pub(super) fn has(&self, path: &Path) -> bool {
        let mut at = 0;
        path.steps()
            .iter()
            .all(|step| match self.children.get(&(at, step.clone())) {
                Some(child) => {
                    at = *child;
                    true
                }
                None => false,
            })
    }

    fn node(&self, steps: &[Step]) -> Option<&Node> {
        let mut at = 0;
        for step in steps {
            match self.children.get(&(at, step.clone())) {
                Some(child) => at = *child,
                None => break,
            }
        }
        self.nodes.get(at)
    }
}

const TOP: Span = Span {
    line: 1,
    column: 1,
    width: 1,
};

/// A text as far as its form goes.
#[derive(Debug)]
pub(super) struct Located<T> {
    pub(super) places: Places,
    pub(super) found: Vec<Diagnostic>,
    /// What was read; `None` where nothing sensible is left to read.
    pub(super) file: Option<T>,
    /// Whether `file` is all of the document, so that what it lacks is absent.
    pub(super) whole: bool,
}

/// Why a text could not be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) message: String,
    /// Line and column, both from 1.
    pub(super) at: Option<(usize, usize)>,
}

/// Reads the form of a text, and by `read` its values. Time is linear in its
/// size, times the number of syntax faults, which is bounded.
pub(super) fn locate<T>(text: &str, read: impl Fn(&str) -> Result<T, Unreadable>) -> Located<T> {
    let mut lines: Vec<String> = lines(text).into_iter().map(str::to_owned).collect();
    let mut found = characters::odd_characters(&mut lines);
    let mut whole = found.is_empty();
    for _ in 0..SYNTAX_FAULTS_MAX {
        let text = lines.join("\n");
        let mut walk = Walk::default();
        let stop = match walk.read(&text, &lines) {
            Err(stop) => stop,
            Ok(()) => match read(&text) {
                Ok(file) => {
                    found.append(&mut walk.found);
                    return Located {
                        places: walk.places,
                        found,
                        file: Some(file),
                        whole,
                    };
                }
                // Tags and aliases, which the walk has told, are in the way.
                Err(_) if !walk.found.is_empty() => {
                    found.append(&mut walk.found);
                    break;
                }
                Err(error) => error.into(),
            },
        };
        let fault = syntax::fault(&lines, &stop, &walk);
        found.extend(fault.found);
        whole &= matches!(fault.repair, syntax::Repair::Stars);
        if !syntax::repair(&mut lines, fault.repair) {
            break;
        }
    }
    Located {
        places: Places::default(),
        found,
        file: None,
        whole: false,
    }
}

/// A key as the user wrote it.
pub(super) fn unmask(key: &str) -> String {
    key.replace(STAR, "*")
}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    line: usize,
    column: usize,
}

impl From<&Marker> for At {
    fn from(mark: &Marker) -> Self {
        Self {
            line: mark.line(),
            column: mark.col() + 1,
        }
    }
}

impl At {
    fn to(self, end: Self) -> Span {
        let width = if end.line == self.line {
            end.column.saturating_sub(self.column)
        } else {
            0
        };
        self.wide(width)
    }

    fn wide(self, width: usize) -> Span {
        Span {
            line: self.line,
            column: self.column,
            width: width.max(1),
        }
    }
}

/// Why a walk ended early.
#[derive(Debug)]
enum Stop {
    Syntax {
        at: At,
        info: String,
    },
    TooDeep(At),
    /// A list or mapping where a key stands.
    KeyIsNoText(At),
    /// Nothing where a key stands.
    NoKey(At),
    SecondDocument(At),
}

impl From<Unreadable> for Stop {
    fn from(error: Unreadable) -> Self {
        let (line, column) = error.at.unwrap_or((1, 1));
        Self::Syntax {
            at: At { line, column },
            info: error.message,
        }
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        // The parser looks ahead, and has a limit of its own.
        if error.info().contains("recursion limit") {
            return Self::TooDeep(error.marker().into());
        }
        Self::Syntax {
            at: error.marker().into(),
            info: error.info().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_place() {
        let text = "sites:\r\n  ü.com: [80, \"81\"]\r\n  b.com:\r\n    upstream: 82\r\nempty:\r\nlist:\r\n- a\r\n";
        let located = locate(text, |_| Ok(()));
        assert_eq!(located.found, []);
        let check = |place: Place, want: (usize, usize, usize)| {
            let span = located.places.span(&place).unwrap();
            assert_eq!((span.line, span.column, span.width), want, "{place:?}");
        };
        let sites = Path::root().key("sites");
        check(Place::Key(sites.clone()), (1, 1, 5));
        check(Place::Value(sites.clone()), (2, 3, 5));
        check(Place::Key(sites.key("ü.com")), (2, 3, 5));
        check(Place::Value(sites.key("ü.com")), (2, 10, 10));
        check(Place::Value(sites.key("ü.com").at(1)), (2, 15, 4));
        check(Place::Value(sites.key("b.com").key("upstream")), (4, 15, 2));
        check(Place::Value(sites.key("b.com").key("nothing")), (4, 5, 8));
        check(Place::Value(Path::root().key("empty")), (5, 1, 5));
        check(Place::Value(Path::root().key("list").at(0)), (7, 3, 1));
        assert_eq!(located.places.span(&Place::File), None);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
        let located = locate(&deep, |_| Ok(()));
        assert_eq!(located.found.len(), 1, "{:?}", located.found);
        assert!(located.found[0].message.contains("64 levels"));
    }
}
