//! Faults between brackets or braces.

use super::{Fault, one};
use crate::config::locate::text::{Text, word_at};
use crate::config::locate::{At, Open, Walk};
use crate::diagnostic::{Diagnostic, Place};

pub(super) fn flow(text: &Text<'_>, at: At, info: &str, open: &Open, walk: &Walk) -> Fault {
    let opener = text.char_at(open.start).unwrap_or('[');
    let closer = if opener == '{' { '}' } else { ']' };
    let here = text.char_at(at);
    let first = open.start.line - 1;
    let closed = text.closed_at(open.start);
    let end = closed.unwrap_or(at.line).max(at.line).min(text.lines.len());
    let lines = first..text.block(first).end.max(end);
    if matches!(here, Some(']' | '}')) && here != Some(closer) {
        let wrong = here.unwrap_or(closer);
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            format!("`{wrong}` cannot close `{opener}`"),
        )
        .label(format!("`{closer}` is expected before this"))
        .other(Place::Span(open.start.wide(1)), "opened here");
        return one(text, fault, lines);
    }
    if closed.is_none() {
        let fault = Diagnostic::error(
            Place::Span(open.start.wide(1)),
            format!("this `{opener}` is never closed"),
        )
        .label(format!("no `{closer}` follows"))
        .help(format!("add the closing `{closer}`"));
        return one(text, fault, text.block(open.start.line - 1));
    }
    if here == Some('{') && text.char_before(at) == Some('$') {
        let at = At {
            column: at.column - 1,
            ..at
        };
        let value = word_at(text.lines, at);
        let fault = Diagnostic::error(
            Place::Span(at.wide(value.chars().count() + 1)),
            "`${NAME}` must be quoted inside brackets and braces",
        )
        .label("YAML takes this `{` for a mapping")
        .help(format!("quote it: `\"{value}}}\"`"));
        return one(text, fault, lines);
    }
    if here == Some('{') && text.char_before(at).is_some_and(|c| !c.is_whitespace()) {
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            "a text with `{` must be quoted inside brackets and braces",
        )
        .label("YAML takes this for a mapping")
        .help("put the whole text in double quotes");
        return one(text, fault, lines);
    }
    if here == Some(',') {
        let fault = Diagnostic::error(Place::Span(at.wide(1)), "nothing stands before this `,`")
            .label("one too many")
            .help("remove it");
        return one(text, fault, lines);
    }
    if here == Some(':')
        && let Some(last) = &walk.last
        && (last.end == at || last.end.line < at.line)
        && let Some(key) = text.last_word_before(at)
    {
        let fault = Diagnostic::error(Place::Span(key), "a `,` is missing")
            .label("expected before this")
            .help(format!(
                "what stands between `{opener}` and `{closer}` is parted by commas"
            ));
        return one(text, fault, lines);
    }
    let at = text.inside(at);
    let fault = Diagnostic::error(
        Place::Span(at.wide(1)),
        format!("expected `,` or `{closer}`"),
    )
    .label(if info.contains("indentation") {
        "must be indented further than the key it belongs to"
    } else {
        "not expected here"
    })
    .other(Place::Span(open.start.wide(1)), "opened here");
    one(text, fault, lines)
}
