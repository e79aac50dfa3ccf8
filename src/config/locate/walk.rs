//! One pass over the parser's events: the place of each key and value, and what
//! is wrong with the form of a text that the parser takes.

use std::collections::hash_map::Entry;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{At, DEPTH_MAX, EXTRAS_MAX, Node, Places, Stop, text, unmask};
use crate::diagnostic::{Diagnostic, Place, Span, Step};

/// A list or mapping that has begun and not ended.
#[derive(Debug)]
pub(super) struct Open {
    node: usize,
    of: Collection,
    /// In brackets or braces.
    pub(super) flow: bool,
    pub(super) start: At,
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
pub(super) struct Scalar {
    pub(super) start: At,
    pub(super) end: At,
}

/// A reading of the parser's events from the first to the last, or to a fault.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) places: Places,
    pub(super) found: Vec<Diagnostic>,
    pub(super) open: Vec<Open>,
    pub(super) last: Option<Scalar>,
}

impl Walk {
    pub(super) fn read(&mut self, text: &str, lines: &[String]) -> Result<(), Stop> {
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
                    let span = if empty {
                        text::within(lines, start).wide(1)
                    } else if start.line < end.line {
                        // Underlined as far as its first line goes.
                        start.wide(text::content_from(lines, start).chars().count())
                    } else {
                        start.to(end)
                    };
                    self.scalar(&value, span, empty)?;
                }
                Event::Alias(_) => {
                    if self.found.len() < EXTRAS_MAX {
                        let word = text::word_at(lines, start);
                        self.found.push(sharing(start, word, "alias"));
                    }
                    self.scalar("", start.to(end), false)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.extras(lines, start, anchor, tag.is_some());
                    self.begin(Collection::List(0), start, span.start != span.end)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.extras(lines, start, anchor, tag.is_some());
                    self.begin(Collection::Mapping(None), start, span.start != span.end)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(start),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, span: Span, empty: bool) -> Result<(), Stop> {
        if let Some(Open {
            of: Collection::Mapping(key @ None),
            node,
            flow,
            ..
        }) = self.open.last_mut()
        {
            if empty {
                return Err(Stop::NoKey(At {
                    line: span.line,
                    column: span.column,
                }));
            }
            *key = Some((unmask(text), span));
            // A block mapping is pointed at by its first key.
            let value = &mut self.places.nodes[*node].value;
            if !*flow && value.line == span.line && value.column == span.column {
                *value = span;
            }
            return Ok(());
        }
        let node = self.attach(span);
        // Nothing can be underlined; its key can.
        if let (true, Some(key)) = (empty, self.places.nodes[node].key) {
            self.places.nodes[node].value = key;
        }
        Ok(())
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

    fn end(&mut self, last: At) {
        if let Some(open) = self.open.pop()
            && open.flow
        {
            let end = At {
                column: last.column + 1,
                ..last
            };
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
                    self.places.again.push((parent, text.clone(), id));
                }
            }
        }
        id
    }

    fn extras(&mut self, lines: &[String], start: At, anchor: usize, tag: bool) {
        if (anchor == 0 && !tag) || self.found.len() >= EXTRAS_MAX {
            return;
        }
        let word = text::word_at(lines, start);
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

pub(super) fn sharing(at: At, word: &str, what: &str) -> Diagnostic {
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
        .help(match key == "upstream" || key.contains('.') {
            true => "keep one of the two; several endpoints of one site are a list, such as `[8080, 8081]`",
            false => "keep one of the two",
        })
        .other(Place::Span(first), "first here")
}
