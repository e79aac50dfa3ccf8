//! Texts that lack quotes, or one of the two.

use super::{Fault, Repair, one};
use crate::config::locate::text::{Text, indent, rest_of, without_comment, word_at};
use crate::config::locate::{At, walk};
use crate::diagnostic::{Diagnostic, Place};

pub(super) fn key_is_no_text(text: &Text<'_>, at: At) -> Diagnostic {
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

pub(super) fn star(text: &Text<'_>, at: At) -> Fault {
    if !(text.begins_line(at) && begins_with_star(text.line(at.line - 1))) {
        let word = word_at(text.lines, at).trim_end_matches(':');
        if !word.starts_with("*.") {
            return one(
                text,
                walk::sharing(at, word, "alias"),
                text.block(at.line - 1),
            );
        }
        let fault = Diagnostic::error(
            Place::Span(at.wide(word.chars().count())),
            format!("`{word}` is not quoted, so that YAML takes it for an alias"),
        )
        .label("a plain text cannot begin with `*`")
        .help(format!("quote it: `\"{word}\"`"));
        return one(text, fault, text.block(at.line - 1));
    }
    // All of them at once: a file with one often has many.
    let stars = text
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| begins_with_star(line));
    let found = stars.filter_map(|(n, line)| {
        let host = line
            .trim_start()
            .split([':', ' ', '\t'])
            .next()
            .unwrap_or_default();
        let place = At {
            line: n + 1,
            column: indent(line) + 1,
        };
        let fault = Diagnostic::error(
            Place::Span(place.wide(host.chars().count())),
            format!("`{host}` is not quoted, so that YAML takes it for an alias"),
        )
        .label("a plain text cannot begin with `*`")
        .help(format!("quote it: `\"{host}\":`"));
        // `*` alone would be no host even in quotes, which is told later.
        (host != "*").then_some(fault)
    });
    Fault {
        found: found.collect(),
        repair: Repair::Stars,
    }
}

pub(super) fn cannot_begin(text: &Text<'_>, at: At, c: char) -> Diagnostic {
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

pub(super) fn quotes(text: &Text<'_>, at: At, info: &str) -> Fault {
    if info.contains("escape") || info.contains("hexadecimal") {
        return bad_escape(text, at);
    }
    if info.contains("trailing content") {
        // A closing quote may have been meant to open: then one above is unclosed.
        let line = text.line(at.line - 1);
        let quote = text.char_before(at).unwrap_or('"');
        let before = line
            .chars()
            .take(at.column - 1)
            .filter(|c| *c == quote)
            .count();
        let odd = |n: &usize| text.line(*n).matches(quote).count() % 2 == 1;
        let above = (0..at.line - 1)
            .rev()
            .take(8)
            .find(odd)
            .filter(|_| before % 2 == 1);
        if let Some(above) = above {
            let column = text
                .line(above)
                .chars()
                .position(|c| c == quote)
                .unwrap_or(0);
            let place = At {
                line: above + 1,
                column: column + 1,
            };
            return one(text, unclosed_quote(place, quote), text.block(above));
        }
        return after_value(text, at);
    }
    let quote = text.char_at(at).unwrap_or('"');
    one(text, unclosed_quote(at, quote), text.block(at.line - 1))
}

fn unclosed_quote(at: At, quote: char) -> Diagnostic {
    Diagnostic::error(Place::Span(at.wide(1)), "a quoted text does not end")
        .label(format!("this `{quote}` is not closed on its line"))
        .help(format!("add the closing `{quote}`"))
}

fn bad_escape(text: &Text<'_>, at: At) -> Fault {
    let line: Vec<char> = text.line(at.line - 1).chars().collect();
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
    one(text, fault, text.block(at.line - 1))
}

/// Something after a value that is complete.
pub(super) fn after_value(text: &Text<'_>, at: At) -> Fault {
    let rest = text.value_from(at);
    let line = without_comment(text.line(at.line - 1));
    let value = line.split_once(": ").map_or("", |(_, value)| value.trim());
    let mut fault = Diagnostic::error(
        Place::Span(at.wide(rest.chars().count())),
        "unexpected text after the value",
    )
    .label("the value has ended before this");
    if !value.is_empty() && !value.contains('"') {
        fault = fault.help(format!("quote the whole: `\"{value}\"`"));
    }
    one(text, fault, text.block(at.line - 1))
}

pub(super) fn begins_with_star(line: &str) -> bool {
    line.trim_start_matches(' ')
        .strip_prefix('*')
        .is_some_and(|rest| rest.contains(':'))
}
