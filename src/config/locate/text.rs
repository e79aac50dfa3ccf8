//! The lines of a text, asked from many sides by those who look for the cause
//! of a syntax fault. Outside of the text there are empty lines.

use std::ops::Range;

use super::At;
use crate::diagnostic::Span;

/// A place, or the end of the text where it lies beyond that.
pub(super) fn within(lines: &[String], at: At) -> At {
    match lines.last() {
        Some(last) if at.line > lines.len() => At {
            line: lines.len(),
            column: last.chars().count() + 1,
        },
        Some(_) | None => at,
    }
}

/// The word that begins at a place.
pub(super) fn word_at(lines: &[String], at: At) -> &str {
    let rest = rest_of(lines, at);
    let end = rest.find([' ', '\t', ',', ']', '}']).unwrap_or(rest.len());
    &rest[..end]
}

pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

pub(super) fn blank(line: &str) -> bool {
    let content = line.trim_start();
    content.is_empty() || content.starts_with('#')
}

pub(super) fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.split_once(" #")
        .map_or(line, |(content, _)| content)
        .trim_end()
}

/// The line from a place to its end.
pub(super) fn rest_of(lines: &[String], at: At) -> &str {
    let Some(line) = lines.get(at.line.wrapping_sub(1)) else {
        return "";
    };
    let start = line.char_indices().nth(at.column - 1);
    start.map_or("", |(start, _)| &line[start..])
}

/// What stands from a place to the end of its line, without a comment.
pub(super) fn content_from(lines: &[String], at: At) -> &str {
    without_comment(rest_of(lines, at)).trim_end()
}

/// The lines, asked from many sides. Line numbers from 1 unless a range.
pub(super) struct Text<'a> {
    pub(super) lines: &'a [String],
}

impl Text<'_> {
    /// A line, from 0.
    pub(super) fn line(&self, n: usize) -> &str {
        self.lines.get(n).map_or("", String::as_str)
    }

    pub(super) fn char_at(&self, at: At) -> Option<char> {
        rest_of(self.lines, at).chars().next()
    }

    pub(super) fn char_before(&self, at: At) -> Option<char> {
        let line = self.lines.get(at.line.wrapping_sub(1))?;
        line.chars().nth(at.column.checked_sub(2)?)
    }

    pub(super) fn is_blank(&self, n: usize) -> bool {
        self.lines.get(n).is_none_or(|line| blank(line))
    }

    pub(super) fn begins_line(&self, at: At) -> bool {
        self.lines
            .get(at.line.wrapping_sub(1))
            .is_some_and(|line| indent(line) + 1 == at.column && !blank(line))
    }

    pub(super) fn begins_with(&self, line: usize, what: &str) -> bool {
        self.lines
            .get(line.wrapping_sub(1))
            .is_some_and(|line| line.trim_start().starts_with(what))
    }

    /// Whether the `:` at a place ends the first word of its line.
    pub(super) fn key_begins_at(&self, colon: At) -> bool {
        self.lines
            .get(colon.line.wrapping_sub(1))
            .is_some_and(|line| {
                let before: String = line.chars().take(colon.column - 1).collect();
                !before.trim().is_empty() && !before.trim().contains(char::is_whitespace)
            })
            && self.deeper_than_above(colon.line)
    }

    pub(super) fn deeper_than_above(&self, line: usize) -> bool {
        let above = (0..line - 1).rev().find(|n| !self.is_blank(*n));
        above.is_some_and(|above| indent(self.line(above)) < indent(self.line(line - 1)))
    }

    /// A place in the text: at its end, the last line that is not blank.
    pub(super) fn inside(&self, at: At) -> At {
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
    pub(super) fn content(&self, line: usize) -> &str {
        self.lines
            .get(line.wrapping_sub(1))
            .map_or("", |line| without_comment(line).trim_start())
    }

    /// What stands from a place to the end of its line, without a comment.
    pub(super) fn value_from(&self, at: At) -> &str {
        content_from(self.lines, at)
    }

    /// The first word of a line, without its colon.
    pub(super) fn word(&self, line: usize) -> Span {
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
    pub(super) fn last_word_before(&self, at: At) -> Option<Span> {
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
    pub(super) fn block(&self, n: usize) -> Range<usize> {
        let n = n.min(self.lines.len().saturating_sub(1));
        let own = self.lines.get(n).map_or(0, |line| indent(line));
        n..self.end(n + 1, own + 1)
    }

    /// A line (from 0) and all below it that are as deep or deeper.
    pub(super) fn rest_of_block(&self, n: usize) -> Range<usize> {
        let own = self.lines.get(n).map_or(0, |line| indent(line));
        n..self.end(n + 1, own.max(1))
    }

    pub(super) fn end(&self, from: usize, least: usize) -> usize {
        let shallower = |n: &usize| !self.is_blank(*n) && indent(self.line(*n)) < least;
        (from..self.lines.len())
            .find(shallower)
            .unwrap_or(self.lines.len())
    }

    /// The line that closes the bracket or brace at a place.
    pub(super) fn closed_at(&self, at: At) -> Option<usize> {
        let mut depth = 0_usize;
        let mut quote = None;
        let below = self.lines.iter().skip(at.line).map(String::as_str);
        for (n, line) in std::iter::once(rest_of(self.lines, at))
            .chain(below)
            .enumerate()
        {
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
                            return Some(at.line + n);
                        }
                    }
                    (None, _) => {}
                }
                before = c;
            }
        }
        None
    }
}
