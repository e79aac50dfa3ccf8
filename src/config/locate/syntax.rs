//! Syntax faults, named for what the writer most likely did.
//!
//! The parser says where it could not go on, which is often a line after the
//! cause. Here the cause is looked for in the text around that place. Each
//! fault also tells which lines to leave out so that the rest can be read.

use std::ops::Range;

use super::{At, DEPTH_MAX, Open, STAR, Stop, Walk};
use crate::diagnostic::{Diagnostic, Place, Span};

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
            for line in lines.iter_mut().filter(|line| begins_with_star(line)) {
                *line = line.replacen('*', STAR.encode_utf8(&mut [0; 4]), 1);
                changed = true;
            }
        }
    }
    changed
}

/// Characters that look like others or like nothing at all. Their lines are
/// left out.
pub(super) fn odd_characters(lines: &mut [String]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (n, line) in lines.iter_mut().enumerate() {
        if line.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            continue;
        }
        let Some((column, c)) = odd_character(line) else {
            continue;
        };
        let place = At {
            line: n + 1,
            column: column + 1,
        };
        let code = format!("U+{:04X}", u32::from(c));
        let fault = if is_blank(c) {
            Diagnostic::error(
                Place::Span(place.wide(1)),
                format!("this blank is not a space ({code})"),
            )
            .label("looks like a space")
            .help("type a space in its place; text copied from a web page often has these")
        } else {
            Diagnostic::error(
                Place::Span(place.wide(1)),
                format!("the character {code} cannot stand here"),
            )
            .label("a control or invisible character")
            .help("remove it")
        };
        found.push(fault);
        line.clear();
    }
    found
}

fn odd_character(line: &str) -> Option<(usize, char)> {
    let mut plain = true; // neither in quotes nor in a comment
    for (column, c) in line.chars().enumerate() {
        match c {
            '\t' => {}
            '#' | '"' | '\'' => plain = false,
            '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => {
                return Some((column, c));
            }
            STAR => return Some((column, c)),
            c if c.is_control() => return Some((column, c)),
            c if plain && is_blank(c) => return Some((column, c)),
            _ => {}
        }
    }
    None
}

fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// The word that begins at a place.
pub(super) fn word_at(lines: &[String], at: At) -> &str {
    let rest = rest_of(lines, at);
    let end = rest.find([' ', '\t', ',', ']', '}']).unwrap_or(rest.len());
    &rest[..end]
}

/// Names the fault that a walk stopped at.
pub(super) fn fault(lines: &[String], stop: &Stop, walk: &Walk) -> Fault {
    let text = Text { lines };
    match stop {
        Stop::TooDeep(at) => {
            let fault = Diagnostic::error(
                Place::Span(at.wide(1)),
                format!("sites.yaml is nested deeper than {DEPTH_MAX} levels"),
            )
            .label("one level too many");
            text.one(fault, text.block(at.line - 1))
        }
        Stop::SecondDocument(at) => {
            let fault = Diagnostic::error(
                Place::Span(at.wide(text.content(at.line).chars().count())),
                "a second YAML document begins here",
            )
            .help("sites.yaml is one document: remove this line, or what follows it");
            text.one(fault, at.line - 1..lines.len())
        }
        Stop::KeyIsNoText(at) => text.one(key_is_no_text(&text, *at), text.block(at.line - 1)),
        Stop::Syntax { at, info } => syntax(&text, *at, info, walk),
    }
}

fn key_is_no_text(text: &Text<'_>, at: At) -> Diagnostic {
    let rest = rest_of(text.lines, at);
    let (key, _) = rest.split_once(": ").unwrap_or((rest, ""));
    let key = key.trim_end_matches(':').trim_end();
    let fault = Diagnostic::error(
        Place::Span(at.wide(key.chars().count())),
        "a key is a text, not a list or a mapping",
    );
    match key.ends_with(']') {
        true => fault
            .label("`[` begins a list")
            .help(format!("quote it: `\"{key}\"`")),
        false => fault.label("`?`, `[` and `{` cannot begin a key"),
    }
}

fn syntax(text: &Text<'_>, at: At, info: &str, walk: &Walk) -> Fault {
    let about = |what: &str| info.contains(what);
    let here = text.char_at(at);
    if about("tab") && (about("tabs") || about("a tab") || about("tab cannot"))
        || about("cannot start any token") && here == Some('\t')
    {
        return tabs(text, at);
    }
    if here == Some('*') && (about("anchor") || about("alias")) {
        return star(text, at);
    }
    if let Some(c) = here
        && (about("unexpected character")
            || about("cannot start any token")
            || about("plain scalar cannot start"))
    {
        return text.one(cannot_begin(text, at, c), text.block(at.line - 1));
    }
    if about("quoted scalar") {
        return quotes(text, at, info);
    }
    if about("misplaced bracket") {
        let bracket = here.unwrap_or(']');
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            format!("this `{bracket}` closes nothing"),
        )
        .label("nothing is open here")
        .help("remove it, or open it further up");
        return text.one(fault, text.block(at.line - 1));
    }
    if let Some(open) = walk.open.iter().rfind(|open| open.flow) {
        return flow(text, at, info, open, walk);
    }
    if about("mapping values are not allowed") {
        return second_colon(text, at, walk);
    }
    if about("simple key expect") || about("could not find expected ':'") {
        return no_colon(text, at);
    }
    if about("did not find expected key") || about("block mapping") {
        return match text.begins_line(at) {
            true => dedent(text, at),
            false => after_value(text, at),
        };
    }
    if about("document start") {
        return first_indented(text, at, walk);
    }
    if about("'-' indicator") && text.begins_line(at) {
        let fault = Diagnostic::error(
            Place::Span(text.word(at.line)),
            "a list goes on with `- `, not with a key",
        )
        .label("not an item of the list above")
        .help("begin it with `- `, or indent it like the key that the list belongs to");
        return text.one(fault, text.rest_of_block(at.line - 1));
    }
    if about("block sequence entries") {
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            "a list with `-` cannot begin on the line of its key",
        )
        .label("`-` begins a line")
        .help("write it on lines of its own below, or as `[8080, 8081]`");
        return text.one(fault, text.block(at.line - 1));
    }
    if about("node content") && here == Some(',') {
        let fault = Diagnostic::error(Place::Span(at.wide(1)), "a value is missing before `,`")
            .label("unexpected `,`");
        return text.one(fault, text.block(at.line - 1));
    }
    let at = text.inside(at);
    if text.begins_line(at) && text.deeper_than_above(at.line) {
        return over_indented(text, at.line);
    }
    let fault =
        Diagnostic::error(Place::Span(at.wide(1)), "this is not valid YAML").label(info.to_owned());
    text.one(fault, text.block(at.line - 1))
}

fn tabs(text: &Text<'_>, at: At) -> Fault {
    let begins_with_tab = |line: &String| {
        let blank: &str = &line[..line.len() - line.trim_start().len()];
        blank.contains('\t') && !line.trim().is_empty()
    };
    let start = at.line - 1;
    // The parser may stop at the value before, which the tab seems to go on with.
    let first = (start..text.lines.len().min(start + 3)).find(|n| begins_with_tab(&text.lines[*n]));
    let Some(first) = first else {
        let column = rest_of(text.lines, at)
            .chars()
            .position(|c| c == '\t')
            .unwrap_or(0);
        let place = At {
            line: at.line,
            column: at.column + column,
        };
        let fault = Diagnostic::error(Place::Span(place.wide(1)), "a tab cannot stand here")
            .label("a tab")
            .help("write spaces");
        return text.one(fault, text.block(at.line - 1));
    };
    let more = text.lines[first..]
        .iter()
        .take_while(|line| begins_with_tab(line) || line.trim().is_empty())
        .count();
    let count = text.lines[first..first + more]
        .iter()
        .filter(|line| begins_with_tab(line))
        .count();
    let column = text.lines[first]
        .chars()
        .position(|c| c == '\t')
        .unwrap_or(0);
    let place = At {
        line: first + 1,
        column: column + 1,
    };
    let help = match count {
        1 => "YAML is indented with spaces alone: write two for each level".to_owned(),
        2 => "YAML is indented with spaces alone: write two for each level; the next line has a tab too".to_owned(),
        _ => format!(
            "YAML is indented with spaces alone: write two for each level; the next {} lines have tabs too",
            count - 1
        ),
    };
    let fault = Diagnostic::error(Place::Span(place.wide(1)), "a tab cannot indent")
        .label("a tab")
        .help(help);
    text.one(fault, first..first + more)
}

fn star(text: &Text<'_>, at: At) -> Fault {
    if !text.begins_line(at) {
        let word = word_at(text.lines, at).trim_end_matches(':');
        let fault = Diagnostic::error(
            Place::Span(at.wide(word.chars().count())),
            format!("`{word}` is not quoted, so that YAML takes it for an alias"),
        )
        .label("a plain text cannot begin with `*`")
        .help(format!("quote it: `\"{word}\"`"));
        return text.one(fault, text.block(at.line - 1));
    }
    // All of them at once: a file with one often has many.
    let stars = text
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| begins_with_star(line));
    let found = stars.map(|(n, line)| {
        let host = line
            .trim_start()
            .split([':', ' ', '\t'])
            .next()
            .unwrap_or_default();
        let place = At {
            line: n + 1,
            column: indent(line) + 1,
        };
        Diagnostic::error(
            Place::Span(place.wide(host.chars().count())),
            format!("`{host}` is not quoted, so that YAML takes it for an alias"),
        )
        .label("a plain text cannot begin with `*`")
        .help(format!("quote it: `\"{host}\":`"))
    });
    Fault {
        found: found.collect(),
        repair: Repair::Stars,
    }
}

fn cannot_begin(text: &Text<'_>, at: At, c: char) -> Diagnostic {
    let value = text.value_from(at);
    let quoted = if value.contains('"') || value.contains('\\') {
        format!("'{value}'")
    } else {
        format!("\"{value}\"")
    };
    Diagnostic::error(
        Place::Span(at.wide(1)),
        format!("a plain text cannot begin with `{c}`"),
    )
    .label("has a meaning of its own in YAML")
    .help(format!("quote it: `{quoted}`"))
}

fn quotes(text: &Text<'_>, at: At, info: &str) -> Fault {
    if info.contains("escape") || info.contains("hexadecimal") {
        return bad_escape(text, at);
    }
    if info.contains("trailing content") {
        let quote = text.char_before(at).unwrap_or('"');
        // The quote that closes here may have been meant to open: then one above is unclosed.
        let odd = |n: &usize| text.lines[*n].matches(quote).count() % 2 == 1;
        let above = (0..at.line - 1)
            .rev()
            .take(8)
            .find(odd)
            .filter(|_| odd(&(at.line - 1)));
        if let Some(above) = above {
            let column = text.lines[above]
                .chars()
                .position(|c| c == quote)
                .unwrap_or(0);
            let place = At {
                line: above + 1,
                column: column + 1,
            };
            return text.one(unclosed_quote(place, quote), text.block(above));
        }
        return after_value(text, at);
    }
    let quote = text.char_at(at).unwrap_or('"');
    text.one(unclosed_quote(at, quote), text.block(at.line - 1))
}

fn unclosed_quote(at: At, quote: char) -> Diagnostic {
    Diagnostic::error(Place::Span(at.wide(1)), "a quoted text does not end")
        .label(format!("this `{quote}` is not closed on its line"))
        .help(format!("add the closing `{quote}`"))
}

fn bad_escape(text: &Text<'_>, at: At) -> Fault {
    let line: Vec<char> = text.lines[at.line - 1].chars().collect();
    let mut column = at.column;
    while column + 1 < line.len() {
        match (line[column], line[column + 1]) {
            ('\\', c) if !"0abtnvfre \"/\\N_LPxuU\t".contains(c) => break,
            ('\\', 'x' | 'u' | 'U') => {
                let digits = line[column + 2..]
                    .iter()
                    .take_while(|c| c.is_ascii_hexdigit())
                    .count();
                if digits < 2 {
                    break;
                }
                column += 2;
            }
            ('\\', _) => column += 2,
            _ => column += 1,
        }
    }
    let place = if column + 1 < line.len() {
        At {
            line: at.line,
            column: column + 1,
        }
        .wide(2)
    } else {
        at.wide(1)
    };
    let fault = Diagnostic::error(Place::Span(place), "this escape is not one of YAML's")
        .label("`\\` begins an escape in double quotes")
        .help("write `\\\\` for a backslash, or use single quotes, where it is a character like others");
    text.one(fault, text.block(at.line - 1))
}

fn flow(text: &Text<'_>, at: At, info: &str, open: &Open, walk: &Walk) -> Fault {
    let opener = text.char_at(open.start).unwrap_or('[');
    let closer = if opener == '{' { '}' } else { ']' };
    let here = text.char_at(at);
    let lines = open.start.line - 1
        ..text
            .block(open.start.line - 1)
            .end
            .max(at.line.min(text.lines.len()));
    if matches!(here, Some(']' | '}')) && here != Some(closer) {
        let wrong = here.unwrap_or(closer);
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            format!("`{wrong}` cannot close `{opener}`"),
        )
        .label(format!("`{closer}` is expected before this"))
        .other(Place::Span(open.start.wide(1)), "opened here");
        return text.one(fault, lines);
    }
    if !text.closes(open.start) {
        let fault = Diagnostic::error(
            Place::Span(open.start.wide(1)),
            format!("this `{opener}` is never closed"),
        )
        .label(format!("no `{closer}` follows"))
        .help(format!("add the closing `{closer}`"));
        return text.one(fault, text.block(open.start.line - 1));
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
        return text.one(fault, lines);
    }
    if here == Some('{') && text.char_before(at).is_some_and(|c| !c.is_whitespace()) {
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            "a text with `{` must be quoted inside brackets and braces",
        )
        .label("YAML takes this for a mapping")
        .help("put the whole text in double quotes");
        return text.one(fault, lines);
    }
    if here == Some(',') {
        let fault = Diagnostic::error(Place::Span(at.wide(1)), "nothing stands before this `,`")
            .label("one too many")
            .help("remove it");
        return text.one(fault, lines);
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
        return text.one(fault, lines);
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
    text.one(fault, lines)
}

/// A `:` where the value of a key has already begun.
fn second_colon(text: &Text<'_>, at: At, walk: &Walk) -> Fault {
    let begun = walk
        .last
        .as_ref()
        .filter(|last| last.start.line < at.line && last.end.line == at.line);
    let Some(begun) = begun else {
        if text.begins_with(at.line, "- ") || text.key_begins_at(at) {
            return over_indented(text, at.line);
        }
        let fault = Diagnostic::error(
            Place::Span(at.wide(1)),
            "a mapping cannot begin on the line of its key",
        )
        .label("a second `:` on this line")
        .help("write it on lines of its own below, indented by two spaces; or quote the text");
        return text.one(fault, text.block(at.line - 1));
    };
    if text.begins_line(begun.start) {
        // A line without `: ` that the next line seemed to go on with.
        return no_colon_in(text, begun.start.line - 1);
    }
    let next = (begun.start.line..at.line)
        .find(|n| !text.is_blank(*n))
        .unwrap_or(at.line - 1);
    over_indented(text, next + 1)
}

/// A line that is deeper than the ones above without belonging to them.
fn over_indented(text: &Text<'_>, line: usize) -> Fault {
    let own = indent(&text.lines[line - 1]);
    let mut fault = Diagnostic::error(Place::Span(text.word(line)), "unexpected indentation");
    let above = (0..line - 1).rev().find(|n| !text.is_blank(*n));
    fault = match above {
        Some(above) if indent(&text.lines[above]) < own => {
            let spaces = indent(&text.lines[above]);
            fault
                .label(format!("indented by {}", counted(own)))
                .help(format!(
                    "the line above has its value already: indent this one like it, by {}",
                    counted(spaces)
                ))
                .other(
                    Place::Span(text.word(above + 1)),
                    format!("indented by {}", counted(spaces)),
                )
        }
        _ => fault.label("indented as if it belonged to the line above"),
    };
    text.one(fault, text.rest_of_block(line - 1))
}

/// A line that is indented like none of the lines it could stand beside.
fn dedent(text: &Text<'_>, at: At) -> Fault {
    let own = at.column - 1;
    let (mut below, mut above, mut least) = (None, None, usize::MAX);
    for n in (0..at.line - 1).rev().filter(|n| !text.is_blank(*n)) {
        let spaces = indent(&text.lines[n]);
        if spaces >= least {
            continue;
        }
        least = spaces;
        if spaces > own {
            above = Some((spaces, n));
        } else {
            below = Some((spaces, n));
            break;
        }
    }
    let mut fault = Diagnostic::error(Place::Span(text.word(at.line)), "unexpected indentation")
        .label(format!("indented by {}", counted(own)));
    match (below, above) {
        (Some((below, _)), Some((above, n))) if below < own => {
            fault = fault
                .help(format!(
                    "indent it by {} or by {above}, like the lines above",
                    counted(below)
                ))
                .other(
                    Place::Span(text.word(n + 1)),
                    format!("indented by {}", counted(above)),
                );
        }
        (_, Some((above, n))) => {
            fault = fault
                .help(format!(
                    "indent it by {}, like the line above",
                    counted(above)
                ))
                .other(
                    Place::Span(text.word(n + 1)),
                    format!("indented by {}", counted(above)),
                );
        }
        (_, None) => fault = fault.help("indent it like the lines above"),
    }
    text.one(fault, text.rest_of_block(at.line - 1))
}

/// The first key was indented and a later one is not.
fn first_indented(text: &Text<'_>, at: At, walk: &Walk) -> Fault {
    let first = text.lines.iter().position(|line| !blank(line)).unwrap_or(0);
    let spaces = indent(&text.lines[first]);
    if spaces == 0 || walk.last.is_none() {
        let fault = Diagnostic::error(Place::Span(text.word(at.line)), "nothing can follow here")
            .label("the document has ended above");
        return text.one(fault, text.rest_of_block(at.line - 1));
    }
    let fault = Diagnostic::error(Place::Span(text.word(first + 1)), "unexpected indentation")
        .label(format!("indented by {}", counted(spaces)))
        .help("begin the keys at the top of the file at the first column")
        .other(Place::Span(text.word(at.line)), "at the first column");
    text.one(fault, text.rest_of_block(first))
}

fn no_colon(text: &Text<'_>, at: At) -> Fault {
    // The parser notices on the next line.
    let line = if text.begins_line(at) || at.line > text.lines.len() {
        (0..at.line - 1)
            .rev()
            .find(|n| !text.is_blank(*n))
            .unwrap_or(0)
    } else {
        at.line - 1
    };
    no_colon_in(text, line)
}

/// A line (from 0) that should be `key: value` and is not.
fn no_colon_in(text: &Text<'_>, n: usize) -> Fault {
    let line = &text.lines[n];
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
                Some((key, value)) => format!("write `{key}: {}`", value.trim()),
                None => format!("write `{key}:` and its value behind it"),
            })
    };
    let end = text.block(n).end;
    text.one(fault, n..end)
}

/// Something after a value that is complete.
fn after_value(text: &Text<'_>, at: At) -> Fault {
    let rest = text.value_from(at);
    let line = without_comment(&text.lines[at.line - 1]);
    let value = line.split_once(": ").map_or("", |(_, value)| value.trim());
    let mut fault = Diagnostic::error(
        Place::Span(at.wide(rest.chars().count())),
        "unexpected text after the value",
    )
    .label("the value has ended before this");
    if !value.is_empty() && !value.contains('"') {
        fault = fault.help(format!("quote the whole: `\"{value}\"`"));
    }
    text.one(fault, text.block(at.line - 1))
}

fn counted(spaces: usize) -> String {
    match spaces {
        0 => "no space".to_owned(),
        1 => "1 space".to_owned(),
        n => format!("{n} spaces"),
    }
}

fn begins_with_star(line: &str) -> bool {
    line.trim_start_matches(' ')
        .strip_prefix('*')
        .is_some_and(|rest| rest.contains(':'))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn blank(line: &str) -> bool {
    let content = line.trim_start();
    content.is_empty() || content.starts_with('#')
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.split_once(" #")
        .map_or(line, |(content, _)| content)
        .trim_end()
}

/// The line from a place to its end.
fn rest_of(lines: &[String], at: At) -> &str {
    let Some(line) = lines.get(at.line.wrapping_sub(1)) else {
        return "";
    };
    let start = line.char_indices().nth(at.column - 1);
    start.map_or("", |(start, _)| &line[start..])
}

/// The lines, asked from many sides. Line numbers from 1 unless a range.
struct Text<'a> {
    lines: &'a [String],
}

impl Text<'_> {
    fn one(&self, fault: Diagnostic, without: Range<usize>) -> Fault {
        Fault {
            found: vec![fault],
            repair: Repair::Without(without.start..without.end.min(self.lines.len())),
        }
    }

    fn char_at(&self, at: At) -> Option<char> {
        rest_of(self.lines, at).chars().next()
    }

    fn char_before(&self, at: At) -> Option<char> {
        let line = self.lines.get(at.line.wrapping_sub(1))?;
        line.chars().nth(at.column.checked_sub(2)?)
    }

    fn is_blank(&self, n: usize) -> bool {
        self.lines.get(n).is_none_or(|line| blank(line))
    }

    fn begins_line(&self, at: At) -> bool {
        self.lines
            .get(at.line.wrapping_sub(1))
            .is_some_and(|line| indent(line) + 1 == at.column && !blank(line))
    }

    fn begins_with(&self, line: usize, what: &str) -> bool {
        self.lines
            .get(line.wrapping_sub(1))
            .is_some_and(|line| line.trim_start().starts_with(what))
    }

    /// Whether the `:` at a place ends the first word of its line.
    fn key_begins_at(&self, colon: At) -> bool {
        self.lines
            .get(colon.line.wrapping_sub(1))
            .is_some_and(|line| {
                let before: String = line.chars().take(colon.column - 1).collect();
                !before.trim().is_empty() && !before.trim().contains(char::is_whitespace)
            })
            && self.deeper_than_above(colon.line)
    }

    fn deeper_than_above(&self, line: usize) -> bool {
        let above = (0..line - 1).rev().find(|n| !self.is_blank(*n));
        above.is_some_and(|above| indent(&self.lines[above]) < indent(&self.lines[line - 1]))
    }

    /// A place in the text: at its end, the last line that is not blank.
    fn inside(&self, at: At) -> At {
        if at.line <= self.lines.len() && !self.is_blank(at.line - 1) {
            return at;
        }
        let n = (0..self.lines.len().min(at.line))
            .rev()
            .find(|n| !self.is_blank(*n))
            .unwrap_or(0);
        At {
            line: n + 1,
            column: self.lines.get(n).map_or(1, |line| indent(line) + 1),
        }
    }

    /// The line without indentation and comment.
    fn content(&self, line: usize) -> &str {
        self.lines
            .get(line.wrapping_sub(1))
            .map_or("", |line| without_comment(line).trim_start())
    }

    /// What stands from a place to the end of its line, without a comment.
    fn value_from(&self, at: At) -> &str {
        without_comment(rest_of(self.lines, at)).trim_end()
    }

    /// The first word of a line, without its colon.
    fn word(&self, line: usize) -> Span {
        let content = self.content(line);
        let word = content.split([' ', '\t']).next().unwrap_or_default();
        let word = match word.trim_end_matches(':') {
            "" => word,
            key => key,
        };
        let column = self
            .lines
            .get(line.wrapping_sub(1))
            .map_or(1, |line| indent(line) + 1);
        At { line, column }.wide(word.chars().count())
    }

    /// The word that ends at a place.
    fn last_word_before(&self, at: At) -> Option<Span> {
        let line = self.lines.get(at.line.wrapping_sub(1))?;
        let before: Vec<char> = line.chars().take(at.column - 1).collect();
        let start = before
            .iter()
            .rposition(|c| c.is_whitespace() || "[{,".contains(*c))
            .map_or(0, |n| n + 1);
        (start < before.len()).then(|| {
            At {
                line: at.line,
                column: start + 1,
            }
            .wide(before.len() - start)
        })
    }

    /// A line (from 0) and the deeper ones below it.
    fn block(&self, n: usize) -> Range<usize> {
        let n = n.min(self.lines.len().saturating_sub(1));
        let own = self.lines.get(n).map_or(0, |line| indent(line));
        n..self.end(n + 1, own + 1)
    }

    /// A line (from 0) and all below it that are as deep or deeper.
    fn rest_of_block(&self, n: usize) -> Range<usize> {
        let own = self.lines.get(n).map_or(0, |line| indent(line));
        n..self.end(n + 1, own.max(1))
    }

    fn end(&self, from: usize, least: usize) -> usize {
        let shallower = |n: &usize| !self.is_blank(*n) && indent(&self.lines[*n]) < least;
        (from..self.lines.len())
            .find(shallower)
            .unwrap_or(self.lines.len())
    }

    /// Whether the bracket or brace at a place is closed anywhere.
    fn closes(&self, at: At) -> bool {
        let mut depth = 0_usize;
        let mut quote = None;
        let below = self.lines.iter().skip(at.line).map(String::as_str);
        for line in std::iter::once(rest_of(self.lines, at)).chain(below) {
            let mut before = ' ';
            for c in line.chars() {
                match (quote, c) {
                    (Some(open), c) if c == open => quote = None,
                    (Some(_), _) => {}
                    (None, '#') if before.is_whitespace() => break,
                    (None, '"' | '\'') if before.is_whitespace() || "[{,:".contains(before) => {
                        quote = Some(c)
                    }
                    (None, '[' | '{') => depth += 1,
                    (None, ']' | '}') => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 {
                            return true;
                        }
                    }
                    (None, _) => {}
                }
                before = c;
            }
        }
        false
    }
}
