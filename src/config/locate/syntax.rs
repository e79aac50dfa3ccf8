//! Syntax faults, named for what the writer most likely did.
//!
//! The parser says where it could not go on, which is often a line after the
//! cause. Here the cause is looked for in the text around that place. Each
//! fault also tells which lines to leave out so that the rest can be read.

mod brackets;
mod colon;
mod indentation;
mod quoting;

use std::ops::Range;

use super::text::{Text, rest_of, word_at};
use super::{At, DEPTH_MAX, STAR, Stop, Walk};
use crate::diagnostic::{Diagnostic, Place};

/// What one syntax fault comes to.
pub(super) struct Fault {
    pub(super) found: Vec<Diagnostic>,
    pub(super) repair: Repair,
}

/// How to go on after a fault.
pub(super) enum Repair {
    /// Lines to leave out, from 0.
    Without(Range<usize>),
    /// Every `*` that begins a line is a character of a key.
    Stars,
}

/// Changes the lines so that they can be read again; false where that would
/// change nothing.
pub(super) fn repair(lines: &mut [String], how: Repair) -> bool {
    let mut changed = false;
    match how {
        Repair::Without(range) => {
            for line in lines.get_mut(range).unwrap_or_default() {
                changed |= !line.trim().is_empty();
                line.clear();
            }
        }
        Repair::Stars => {
            for line in lines
                .iter_mut()
                .filter(|line| quoting::begins_with_star(line))
            {
                *line = line.replacen('*', STAR.encode_utf8(&mut [0; 4]), 1);
                changed = true;
            }
        }
    }
    changed
}

/// Names the fault that a walk stopped at.
pub(super) fn fault(lines: &[String], stop: &Stop, walk: &Walk) -> Fault {
    let text = &Text { lines };
    match stop {
        Stop::TooDeep(at) => {
            let fault = Diagnostic::error(
                Place::Span(at.wide(1)),
                format!("sites.yaml is nested deeper than {DEPTH_MAX} levels"),
            )
            .label("one level too many");
            one(text, fault, text.block(at.line - 1))
        }
        Stop::SecondDocument(at) => {
            let fault = Diagnostic::error(
                Place::Span(at.wide(text.content(at.line).chars().count())),
                "a second YAML document begins here",
            )
            .help("sites.yaml is one document: remove this line, or what follows it");
            one(text, fault, at.line - 1..lines.len())
        }
        Stop::KeyIsNoText(at) => one(
            text,
            quoting::key_is_no_text(text, *at),
            text.block(at.line - 1),
        ),
        Stop::NoKey(at) => no_key(text, *at),
        Stop::Syntax { at, info } => syntax(text, *at, info, walk),
    }
}

fn no_key(text: &Text<'_>, at: At) -> Fault {
    let fault = Diagnostic::error(Place::Span(at.wide(1)), "a key is missing before `:`")
        .label("expected a key before this");
    one(text, fault, text.block(at.line - 1))
}

fn syntax(text: &Text<'_>, at: At, info: &str, walk: &Walk) -> Fault {
    let about = |what: &str| info.contains(what);
    let here = text.char_at(at);
    if about("tab") && (about("tabs") || about("a tab") || about("tab cannot"))
        || about("cannot start any token") && here == Some('\t')
        || about("valid YAML whitespace")
    {
        return indentation::tabs(text, at);
    }
    if here == Some(':') && text.begins_line(at) {
        return no_key(text, at);
    }
    if here == Some('*') && (about("anchor") || about("alias")) {
        return quoting::star(text, at);
    }
    if let Some(c) = here
        && (about("unexpected character")
            || about("cannot start any token")
            || about("plain scalar cannot start")
            || about("block scalar") && matches!(c, '|' | '>'))
    {
        return one(
            text,
            quoting::cannot_begin(text, at, c),
            text.block(at.line - 1),
        );
    }
    if about("quoted scalar") {
        return quoting::quotes(text, at, info);
    }
    if about("misplaced bracket") {
        let bracket = here.unwrap_or(']');
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            format!("this `{bracket}` closes nothing"),
        )
        .label("nothing is open here")
        .help("remove it, or open it further up");
        return one(text, fault, text.block(at.line - 1));
    }
    if let Some(open) = walk.open.iter().rfind(|open| open.flow) {
        return brackets::flow(text, at, info, open, walk);
    }
    if about("comment intercepting") {
        let next = (at.line..text.lines.len())
            .find(|n| !text.is_blank(*n))
            .unwrap_or(at.line - 1);
        return indentation::over_indented(text, next + 1);
    }
    if about("mapping values are not allowed") {
        return colon::second_colon(text, at, walk);
    }
    if about("simple key expect") || about("could not find expected ':'") {
        return colon::no_colon(text, at);
    }
    if about("did not find expected key") || about("block mapping") {
        return match text.begins_line(at) {
            true => indentation::dedent(text, at),
            false => quoting::after_value(text, at),
        };
    }
    if about("document start") || about("directive") {
        return indentation::first_indented(text, at, walk);
    }
    if about("'-' indicator") && text.begins_line(at) {
        let fault = Diagnostic::error(
            Place::Span(text.word(at.line)),
            "a list goes on with `- `, not with a key",
        )
        .label("not an item of the list above");
        let list = walk.open.last().map_or(at, |list| list.start);
        let owner = (0..list.line - 1).rev().find(|n| !text.is_blank(*n));
        // A list of sites is a fault itself: then the rest of it is not looked at.
        if owner.is_some_and(|n| text.content(n + 1) == "sites:") {
            let fault =
                fault.help("`sites` is not a list: write each site without the `- ` before it");
            return one(
                text,
                fault,
                list.line - 1..text.rest_of_block(at.line - 1).end,
            );
        }
        let fault =
            fault.help("begin it with `- `, or indent it like the key that the list belongs to");
        return one(text, fault, text.rest_of_block(at.line - 1));
    }
    if about("block sequence entries") {
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            "a list with `-` cannot begin on the line of its key",
        )
        .label("`-` begins a line")
        .help("write it on lines of its own below, or as `[8080, 8081]`");
        return one(text, fault, text.block(at.line - 1));
    }
    if about("node content") && rest_of(text.lines, at).starts_with("::") {
        let word = word_at(text.lines, at);
        let fault = Diagnostic::error(
            Place::Span(at.wide(word.chars().count())),
            "a text that begins with `:` must be quoted here",
        )
        .label("YAML takes the `:` for a mapping")
        .help(format!("quote it: `\"{word}\"`"));
        return one(text, fault, text.block(at.line - 1));
    }
    if about("node content") && here == Some(',') {
        let fault = Diagnostic::error(Place::Span(at.wide(1)), "a value is missing before `,`")
            .label("unexpected `,`");
        return one(text, fault, text.block(at.line - 1));
    }
    let at = text.inside(at);
    if text.begins_line(at) && text.deeper_than_above(at.line) {
        return indentation::over_indented(text, at.line);
    }
    let fault = Diagnostic::error(Place::Span(at.wide(1)), "this is not valid YAML")
        .label(info.split(" at line").next().unwrap_or(info).to_owned());
    one(text, fault, text.block(at.line - 1))
}

/// A fault, and the lines to leave out after it.
fn one(text: &Text<'_>, fault: Diagnostic, without: Range<usize>) -> Fault {
    Fault {
        found: vec![fault],
        repair: Repair::Without(without.start..without.end.min(text.lines.len())),
    }
}
