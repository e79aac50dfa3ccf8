//! Where keys and values stand in the text, and what its form alone tells to be wrong.
//!
//! One pass over the parser's events finds syntax faults, duplicate keys at
//! every level, too deep nesting, and the parts of YAML that `sites.yaml` does
//! without; serde_yaml, which reads the values afterwards, misses or misplaces
//! all of these. The same pass gives path → place.
//!
//! A syntax fault does not end it: the lines that the fault stands in are left
//! out and the rest is read again, so that one run finds several.

mod syntax;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

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
pub(super) struct Located {
    pub(super) places: Places,
    pub(super) found: Vec<Diagnostic>,
    /// What is left to be read by serde_yaml; `None` where nothing sensible is.
    pub(super) text: Option<String>,
    /// Whether `text` is all of the document, so that what it lacks is absent.
    pub(super) whole: bool,
}

/// Reads the form of a text. Time is linear in its size, times the number of
/// syntax faults, which is bounded.
pub(super) fn locate(text: &str) -> Located {
    let mut lines: Vec<String> = lines(text).into_iter().map(str::to_owned).collect();
    let mut found = syntax::odd_characters(&mut lines);
    let mut whole = found.is_empty();
    for _ in 0..SYNTAX_FAULTS_MAX {
        let text = lines.join("\n");
        let mut walk = Walk::default();
        let Err(stop) = walk.read(&text, &lines) else {
            found.append(&mut walk.found);
            return Located {
                places: walk.places,
                found,
                text: Some(text),
                whole,
            };
        };
        let fault = syntax::fault(&lines, &stop, &walk);
        found.extend(fault.found);
        if !syntax::repair(&mut lines, fault.repair) {
            break;
        }
        whole = false;
    }
    Located {
        places: Places::default(),
        found,
        text: None,
        whole: false,
    }
}

/// What serde_yaml found wrong in a text that this parser takes.
pub(super) fn refused(text: &str, line: usize, column: usize, info: &str) -> Vec<Diagnostic> {
    let lines: Vec<String> = lines(text).into_iter().map(str::to_owned).collect();
    let stop = Stop::Syntax {
        at: At { line, column },
        info: info.to_owned(),
    };
    syntax::fault(&lines, &stop, &Walk::default()).found
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
    SecondDocument(At),
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

/// A list or mapping that has begun and not ended.
#[derive(Debug)]
struct Open {
    node: usize,
    of: Collection,
    /// In brackets or braces.
    flow: bool,
    start: At,
}

#[derive(Debug)]
enum Collection {
    /// With the key whose value is awaited.
    Mapping(Option<(String, Span)>),
    /// With the next index.
    List(usize),
}

/// The last scalar seen, which many syntax faults have to do with.
#[derive(Debug)]
struct Scalar {
    start: At,
    end: At,
}

#[derive(Debug, Default)]
struct Walk {
    places: Places,
    found: Vec<Diagnostic>,
    open: Vec<Open>,
    last: Option<Scalar>,
}

impl Walk {
    fn read(&mut self, text: &str, lines: &[String]) -> Result<(), Stop> {
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event?;
            let (start, end) = (At::from(&span.start), At::from(&span.end));
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Stop::SecondDocument(start));
                    }
                }
                Event::Scalar(value, style, anchor, tag) => {
                    self.extras(lines, start, anchor, tag.is_some());
                    self.last = Some(Scalar { start, end });
                    let empty = value.is_empty() && style == ScalarStyle::Plain;
                    self.scalar(&value, start.to(end), empty);
                }
                Event::Alias(_) => {
                    if self.found.len() < EXTRAS_MAX {
                        let word = syntax::word_at(lines, start);
                        self.found.push(sharing(start, word, "alias"));
                    }
                    self.scalar("", start.to(end), false);
                }
                Event::SequenceStart(anchor, tag) => {
                    self.extras(lines, start, anchor, tag.is_some());
                    self.begin(Collection::List(0), start, span.start != span.end)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.extras(lines, start, anchor, tag.is_some());
                    self.begin(Collection::Mapping(None), start, span.start != span.end)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(end),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, span: Span, empty: bool) {
        if let Some(Open {
            of: Collection::Mapping(key @ None),
            node,
            flow,
            ..
        }) = self.open.last_mut()
        {
            *key = Some((unmask(text), span));
            // A block mapping is pointed at by its first key.
            let value = &mut self.places.nodes[*node].value;
            if !*flow && value.line == span.line && value.column == span.column {
                *value = span;
            }
            return;
        }
        let node = self.attach(span);
        // Nothing can be underlined; its key can.
        if let (true, Some(key)) = (empty, self.places.nodes[node].key) {
            self.places.nodes[node].value = key;
        }
    }

    fn begin(&mut self, of: Collection, start: At, flow: bool) -> Result<(), Stop> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Stop::TooDeep(start));
        }
        if let Some(Open {
            of: Collection::Mapping(None),
            ..
        }) = self.open.last()
        {
            return Err(Stop::KeyIsNoText(start));
        }
        let node = self.attach(start.wide(1));
        self.open.push(Open {
            node,
            of,
            flow,
            start,
        });
        Ok(())
    }

    fn end(&mut self, end: At) {
        if let Some(open) = self.open.pop()
            && open.flow
        {
            self.places.nodes[open.node].value = open.start.to(end);
        }
    }

    /// Puts a value where the open collection awaits one.
    fn attach(&mut self, value: Span) -> usize {
        let id = self.places.nodes.len();
        let Some(open) = self.open.last_mut() else {
            self.places.nodes.push(Node { key: None, value });
            return id;
        };
        let (step, key) = match &mut open.of {
            Collection::List(next) => {
                let index = *next;
                *next += 1;
                (Step::Index(index), None)
            }
            Collection::Mapping(key) => {
                let (text, span) = key.take().unwrap_or_else(|| (String::new(), value));
                (Step::Key(text), Some(span))
            }
        };
        self.places.nodes.push(Node { key, value });
        let parent = open.node;
        if let (Step::Key(text), Some(span)) = (&step, key)
            && text == "<<"
        {
            self.found.push(merge_key(span));
        }
        match self.places.children.entry((parent, step)) {
            Entry::Vacant(entry) => {
                entry.insert(id);
            }
            Entry::Occupied(entry) => {
                let first = self.places.nodes[*entry.get()].key;
                if let ((_, Step::Key(text)), Some(first), Some(again)) = (entry.key(), first, key)
                {
                    self.found.push(twice(text, first, again));
                }
            }
        }
        id
    }

    fn extras(&mut self, lines: &[String], start: At, anchor: usize, tag: bool) {
        if (anchor == 0 && !tag) || self.found.len() >= EXTRAS_MAX {
            return;
        }
        let word = syntax::word_at(lines, start);
        if anchor > 0 {
            self.found.push(sharing(start, word, "anchor"));
        } else {
            let place = Place::Span(start.wide(word.chars().count()));
            self.found.push(
                Diagnostic::error(place, format!("sites.yaml has no tags, such as `{word}`"))
                    .label("a YAML tag")
                    .help("remove it, or quote the text if it begins with `!`"),
            );
        }
    }
}

fn sharing(at: At, word: &str, what: &str) -> Diagnostic {
    let place = Place::Span(at.wide(word.chars().count()));
    Diagnostic::error(
        place,
        format!("sites.yaml has no anchors and aliases, such as `{word}`"),
    )
    .label(format!("a YAML {what}"))
    .help("write the value where it is used; what all sites share can stand under `defaults`")
}

fn merge_key(key: Span) -> Diagnostic {
    Diagnostic::error(Place::Span(key), "sites.yaml has no merge keys (`<<`)")
        .label("a YAML merge key")
        .help("write the keys where they are used; what all sites share can stand under `defaults`")
}

fn twice(key: &str, first: Span, again: Span) -> Diagnostic {
    Diagnostic::error(Place::Span(again), format!("`{key}` is here twice"))
        .label("again here")
        .help(
            "keep one of the two; several endpoints of one site are a list, such as `[8080, 8081]`",
        )
        .other(Place::Span(first), "first here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_place() {
        let text = "sites:\r\n  ü.com: [80, \"81\"]\r\n  b.com:\r\n    upstream: 82\r\nempty:\r\nlist:\r\n- a\r\n";
        let located = locate(text);
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
        let located = locate(&deep);
        assert_eq!(located.found.len(), 1, "{:?}", located.found);
        assert!(located.found[0].message.contains("64 levels"));
    }
}
