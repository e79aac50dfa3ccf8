//! A `: ` too few or too many.

use super::{Fault, indentation, one, quoting};
use crate::config::locate::text::{Text, indent, without_comment};
use crate::config::locate::{At, Walk};
use crate::diagnostic::{Diagnostic, Place};

/// A `:` where the value of a key has already begun.
pub(super) fn second_colon(text: &Text<'_>, at: At, walk: &Walk) -> Fault {
    let begun = walk
        .last
        .as_ref()
        .filter(|last| last.start.line < at.line && last.end.line == at.line);
    let Some(begun) = begun else {
        if text.begins_with(at.line, "- ") || text.key_begins_at(at) {
            return indentation::over_indented(text, at.line);
        }
        if text.value_from(at) == ":" && !text.deeper_than_above(at.line + 1) {
            let fault = Diagnostic::error(Place::Span(at.wide(1)), "a second `:` on one line")
                .label("one too many")
                .help("remove it, or quote the text");
            return one(text, fault, text.block(at.line - 1));
        }
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            "a mapping cannot begin on the line of its key",
        )
        .label("a second `:` on this line")
        .help("write it on lines of its own below, indented by two spaces; or quote the text");
        return one(text, fault, text.block(at.line - 1));
    };
    if text.begins_line(begun.start) {
        // A line without `: ` that the next line seemed to go on with.
        return no_colon_in(text, begun.start.line - 1);
    }
    let next = (begun.start.line..at.line)
        .find(|n| !text.is_blank(*n))
        .unwrap_or(at.line - 1);
    indentation::over_indented(text, next + 1)
}

pub(super) fn no_colon(text: &Text<'_>, at: At) -> Fault {
    // The parser notices on the next line.
    let line = if text.begins_line(at) || at.line > text.lines.len() {
        (0..at.line - 1)
            .rev()
            .find(|n| !text.is_blank(*n))
            .unwrap_or(0)
    } else {
        at.line - 1
    };
    no_colon_in(text, above(text, line).unwrap_or(line))
}

/// The line without a `:` that one with a `:` stands below, and is indented from:
/// to the parser both are one text.
fn above(text: &Text<'_>, line: usize) -> Option<usize> {
    let has_colon = |n: usize| {
        let content = without_comment(text.line(n)).trim_end();
        content.ends_with(':') || content.contains(": ")
    };
    if !has_colon(line) {
        return None;
    }
    let mut lines = (0..line).rev().filter(|n| !text.is_blank(*n));
    let parent = lines.find(|n| indent(text.line(*n)) < indent(text.line(line)))?;
    (!has_colon(parent)).then_some(parent)
}

/// A line (from 0) that should be `key: value` and is not.
fn no_colon_in(text: &Text<'_>, n: usize) -> Fault {
    let line = text.line(n);
    if quoting::begins_with_star(line) {
        let column = indent(line) + 1;
        return quoting::star(
            text,
            At {
                line: n + 1,
                column,
            },
        );
    }
    let content = without_comment(line);
    let start = indent(line);
    let fused = content.char_indices().find(|(at, c)| {
        *c == ':'
            && *at > start
            && content[at + 1..].starts_with(|next: char| !next.is_whitespace())
    });
    let fault = if let Some((colon, _)) = fused {
        let place = At {
            line: n + 1,
            column: content[..colon].chars().count() + 1,
        };
        let (key, value) = content.trim().split_once(':').unwrap_or_default();
        Diagnostic::error(
            Place::Span(place.wide(1)),
            "a space is missing after the colon",
        )
        .label("YAML wants `: ` between a key and its value")
        .help(format!("write `{key}: {value}`"))
    } else {
        let word = text.word(n + 1);
        let key: String = line
            .chars()
            .skip(word.column - 1)
            .take(word.width)
            .collect();
        Diagnostic::error(Place::Span(word), format!("`:` is missing after `{key}`"))
            .label("a key without a colon")
            .help(match content.trim().split_once(char::is_whitespace) {
                Some((key, value)) => {
                    format!(
                        "write `{key}: {}`",
                        value.trim_start_matches(['=', '>', '-', ' '])
                    )
                }
                None if text.deeper_than_above(n + 2) => format!("write `{key}:`"),
                None => format!("write `{key}:` and its value behind it"),
            })
    };
    let end = text.block(n).end;
    one(text, fault, n..end)
}
