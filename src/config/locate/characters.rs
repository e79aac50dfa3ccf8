//! Characters that look like others, or like nothing at all.

use super::{At, STAR};
use crate::diagnostic::{Diagnostic, Place};

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
