//! A text as it stands: each key and value with the bytes that it takes, for
//! those who change some of them and leave the rest.
//!
//! A text with a fault of form has no tree, nor has one that shares its values
//! (anchors, aliases, tags): a change of one place would be one of others.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::DEPTH_MAX;

/// A value, or a key.
#[derive(Debug)]
pub(in crate::config) struct Node {
    /// In bytes. Of a block from its first key or item to the end of its last,
    /// without what follows on that line.
    pub(in crate::config) range: Range<usize>,
    pub(in crate::config) form: Form,
}

#[derive(Debug)]
pub(in crate::config) enum Form {
    /// Not a character of it; stands behind its `:` or `-`.
    Nothing,
    Scalar {
        text: String,
        style: Style,
    },
    List {
        flow: bool,
        items: Vec<Item>,
    },
    Mapping {
        flow: bool,
        entries: Vec<(Node, Node)>,
    },
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Style {
    Plain,
    Quoted,
    /// Behind `|` or `>`, which are not in its range.
    Block,
}

/// An item of a list.
#[derive(Debug)]
pub(in crate::config) struct Item {
    /// Where its `-` stands; in brackets, where it begins itself.
    pub(in crate::config) start: usize,
    pub(in crate::config) node: Node,
}

/// Why a text has no tree. Lines and columns are from 1.
#[derive(Debug)]
pub(in crate::config) enum NoTree {
    Fault {
        line: usize,
        column: usize,
        message: String,
    },
    /// Valid YAML that `sites.yaml` does without.
    Odd { line: usize, what: &'static str },
}

/// Reads a text without a byte order mark. Time is linear in its size.
pub(in crate::config) fn tree(text: &str) -> Result<Node, NoTree> {
    let mut offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    offsets.push(text.len());
    let mut grow = Grow {
        text,
        offsets,
        events: Parser::new_from_str(text),
    };
    let mut root = None;
    while let Some((event, span)) = grow.next()? {
        match event {
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Nothing => {}
            event @ (Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd) => {
                let node = grow.node(event, &span, 0)?;
                if root.replace(node).is_some() {
                    return Err(odd(&span, "a second document"));
                }
            }
        }
    }
    Ok(root.unwrap_or(Node {
        range: text.len()..text.len(),
        form: Form::Nothing,
    }))
}

struct Grow<'t> {
    text: &'t str,
    /// The byte at which each character begins.
    offsets: Vec<usize>,
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
}

impl<'t> Grow<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, NoTree> {
        self.events
            .next()
            .transpose()
            .map_err(|error| NoTree::Fault {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                message: error.info().to_owned(),
            })
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Node, NoTree> {
        if depth > DEPTH_MAX {
            return Err(odd(span, "nesting too deep"));
        }
        let start = self.byte(span.start.index());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                unshared(anchor, tag.is_some(), span)?;
                let end = self.byte(span.end.index());
                Ok(self.scalar(&text, style, start..end))
            }
            Event::SequenceStart(anchor, tag) => {
                unshared(anchor, tag.is_some(), span)?;
                self.list(start, depth)
            }
            Event::MappingStart(anchor, tag) => {
                unshared(anchor, tag.is_some(), span)?;
                self.mapping(start, depth)
            }
            Event::Alias(_) => Err(odd(span, "an alias")),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Err(odd(span, "an end without a beginning")),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, range: Range<usize>) -> Node {
        if text.is_empty() && style == ScalarStyle::Plain {
            return Node {
                range: range.start..range.start,
                form: Form::Nothing,
            };
        }
        let own = &self.text[range.clone()];
        // The parser's end may lie behind what follows, even behind a comment.
        let (style, length) = match style {
            ScalarStyle::Plain => (Style::Plain, own.trim_end().len()),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (Style::Quoted, quoted(own)),
            ScalarStyle::Literal | ScalarStyle::Folded => (Style::Block, own.trim_end().len()),
        };
        let text = text.to_owned();
        Node {
            range: range.start..range.start + length,
            form: Form::Scalar { text, style },
        }
    }

    fn list(&mut self, start: usize, depth: usize) -> Result<Node, NoTree> {
        let flow = self.text[start..].starts_with('[');
        let mut items: Vec<Item> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                let last = items.last().map(|item| item.node.range.end);
                let range = match (flow, items.first(), last) {
                    (false, Some(first), Some(last)) => first.start..last,
                    _ => start..self.closed(last.unwrap_or(start + 1)),
                };
                let form = Form::List { flow, items };
                return Ok(Node { range, form });
            }
            let node = self.node(event, &span, depth + 1)?;
            let start = match flow {
                true => node.range.start,
                false => self
                    .dash_before(node.range.start)
                    .ok_or_else(|| odd(&span, "an item whose `-` is not found"))?,
            };
            items.push(Item { start, node });
        }
        Err(self.unended())
    }

    fn mapping(&mut self, start: usize, depth: usize) -> Result<Node, NoTree> {
        let flow = self.text[start..].starts_with('{');
        let mut entries: Vec<(Node, Node)> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                let last = entries.last();
                let last = last.map(|(key, value)| key.range.end.max(value.range.end));
                let range = match (flow, last) {
                    (false, Some(last)) => start..last,
                    _ => start..self.closed(last.unwrap_or(start + 1)),
                };
                let form = Form::Mapping { flow, entries };
                return Ok(Node { range, form });
            }
            let key = self.node(event, &span, depth + 1)?;
            match &key.form {
                Form::Scalar { text, .. } if text == "<<" => return Err(odd(&span, "a merge key")),
                Form::Scalar { .. } => {}
                Form::Nothing | Form::List { .. } | Form::Mapping { .. } => {
                    return Err(odd(&span, "a key that is no text"));
                }
            }
            let Some((event, span)) = self.next()? else {
                break;
            };
            let mut value = self.node(event, &span, depth + 1)?;
            if matches!(value.form, Form::Nothing) {
                let at = self.behind_colon(key.range.end).unwrap_or(key.range.end);
                value.range = at..at;
            }
            entries.push((key, value));
        }
        Err(self.unended())
    }

    /// The `-` of an item that begins at a place: on its line, or on one above
    /// with nothing but comments between.
    fn dash_before(&self, item: usize) -> Option<usize> {
        let mut end = item;
        loop {
            let start = self.text[..end].rfind(['\n', '\r']).map_or(0, |at| at + 1);
            let line = &self.text[start..end];
            let content = line.trim_start();
            if content.starts_with('-') {
                // In `- - a`, the last.
                let own = match end == item {
                    true => line.rfind('-')?,
                    false => line.len() - content.len(),
                };
                return Some(start + own);
            }
            if !content.is_empty() && !content.starts_with('#') {
                return None;
            }
            end = start.checked_sub(1)?;
        }
    }

    /// Behind the bracket or brace that closes what has its last item or entry
    /// before a place. The parser tells that of a comma before it.
    fn closed(&self, last: usize) -> usize {
        let (mut comment, rest) = (false, self.text.get(last..).unwrap_or_default());
        let close = rest.find(|c| {
            comment = c == '#' || (comment && !matches!(c, '\n' | '\r'));
            !comment && matches!(c, ']' | '}')
        });
        last + close.map_or(0, |close| close + 1)
    }

    fn behind_colon(&self, key_end: usize) -> Option<usize> {
        let rest = &self.text[key_end..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest[blank..]
            .starts_with(':')
            .then_some(key_end + blank + 1)
    }

    /// Of a character, counted from 0.
    fn byte(&self, character: usize) -> usize {
        self.offsets
            .get(character)
            .copied()
            .unwrap_or(self.text.len())
    }

    fn unended(&self) -> NoTree {
        NoTree::Fault {
            line: self.text.lines().count().max(1),
            column: 1,
            message: "the text ends too early".to_owned(),
        }
    }
}

/// How long the text in quotes is that begins another one, with its quotes.
fn quoted(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else {
        return 0;
    };
    let mut chars = chars.peekable();
    while let Some((at, c)) = chars.next() {
        // `''` in single quotes and `\"` in double ones end nothing.
        let next = chars.peek().map(|(_, next)| *next);
        if (c == '\\' && quote == '"') || (c == quote && quote == '\'' && next == Some(quote)) {
            chars.next();
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.trim_end().len()
}

fn unshared(anchor: usize, tag: bool, span: &Span) -> Result<(), NoTree> {
    match (anchor, tag) {
        (0, false) => Ok(()),
        (0, true) => Err(odd(span, "a tag")),
        (_, _) => Err(odd(span, "an anchor")),
    }
}

fn odd(span: &Span, what: &'static str) -> NoTree {
    NoTree::Odd {
        line: span.start.line(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every node by its text, from the outside in.
    fn shown(text: &str, node: &Node, out: &mut Vec<String>) {
        out.push(text[node.range.clone()].to_owned());
        match &node.form {
            Form::Nothing | Form::Scalar { .. } => {}
            Form::List { items, .. } => items.iter().for_each(|item| {
                assert!(text[item.start..=item.node.range.start].starts_with(['-', '1', '[']));
                shown(text, &item.node, out);
            }),
            Form::Mapping { entries, .. } => entries.iter().for_each(|(key, value)| {
                shown(text, key, out);
                shown(text, value, out);
            }),
        }
    }

    #[test]
    fn every_node_knows_its_bytes() {
        let check = |text: &str, want: &[&str]| {
            let mut out = Vec::new();
            shown(text, &tree(text).unwrap(), &mut out);
            assert_eq!(out, want, "{text}");
        };
        check("ü: 1 # x\r\n", &["ü: 1", "ü", "1"]);
        check("a: 'x''y' # '\n", &["a: 'x''y'", "a", "'x''y'"]);
        check("a: \"x\\\"\"  # \"\n", &["a: \"x\\\"\"", "a", "\"x\\\"\""]);
        check(
            "a:\n- 1\n- \n# x\n",
            &["a:\n- 1\n- ", "a", "- 1\n- ", "1", ""],
        );
        check(
            "a : # x\n  -\n   # y\n   1\n",
            &["a : # x\n  -\n   # y\n   1", "a", "-\n   # y\n   1", "1"],
        );
        check(
            "{a: [1, [1]], } # }\n",
            &["{a: [1, [1]], }", "a", "[1, [1]]", "1", "[1]", "1"],
        );
        check(
            "{a: {b: 1 # }\n }}",
            &["{a: {b: 1 # }\n }}", "a", "{b: 1 # }\n }", "b", "1"],
        );
        check(
            "a:\nb: |\n  x\n\n# y\n",
            &["a:\nb: |\n  x", "a", "", "b", "x"],
        );
        check("# none\n", &[""]);
    }

    #[test]
    fn what_is_shared_or_at_fault_has_no_tree() {
        let check = |text: &str, want: &str| {
            let told = format!("{:?}", tree(text).unwrap_err());
            assert!(told.contains(want), "{text}: {told}");
        };
        check("a: &x 1\nb: *x\n", "line: 1, what: \"an anchor\"");
        check("a: !x 1\n", "a tag");
        check("a: 1\n---\nb: 1\n", "line: 3, what: \"a second document\"");
        check("a:\n  <<: 1\n", "line: 2, what: \"a merge key\"");
        check("{}: 1\n", "a key that is no text");
        check("a: [1\n", "Fault");
        check(&"[".repeat(1000), "e");
        check(
            &format!("{}1{}", "[".repeat(65), "]".repeat(65)),
            "nesting too deep",
        );
    }
}
