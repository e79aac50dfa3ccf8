//! The lines of a text, by the byte: where each begins, and what is on it.

use std::ops::Range;

/// Lines are counted from 0.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Without the line break.
    content: Vec<Range<usize>>,
}

impl<'t> Lines<'t> {
    /// By YAML's own line breaks (YAML 1.2.2 §5.4): LF, CR LF, and CR alone.
    pub(super) fn of(text: &'t str) -> Self {
        let (mut content, mut start) = (Vec::new(), 0);
        let bytes = text.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let breaks = match byte {
                b'\n' => true,
                b'\r' => bytes.get(at + 1) != Some(&b'\n'),
                _ => false,
            };
            if breaks {
                let end = start + text[start..at].trim_end_matches('\r').len();
                content.push(start..end);
                start = at + 1;
            }
        }
        if start < text.len() {
            content.push(start..text.len());
        }
        Self { text, content }
    }

    pub(super) fn count(&self) -> usize {
        self.content.len()
    }

    /// The line that a byte stands on.
    pub(super) fn at(&self, byte: usize) -> usize {
        self.content
            .partition_point(|line| line.start <= byte)
            .saturating_sub(1)
    }

    pub(super) fn start(&self, line: usize) -> usize {
        self.content
            .get(line)
            .map_or(self.text.len(), |line| line.start)
    }

    /// Where the content of a line ends and its break begins.
    pub(super) fn end(&self, line: usize) -> usize {
        self.content
            .get(line)
            .map_or(self.text.len(), |line| line.end)
    }

    pub(super) fn text(&self, line: usize) -> &'t str {
        &self.text[self.start(line)..self.end(line)]
    }

    pub(super) fn indent(&self, line: usize) -> usize {
        let line = self.text(line);
        line.len() - line.trim_start_matches(' ').len()
    }

    /// Also of a line that is not there.
    pub(super) fn is_blank(&self, line: usize) -> bool {
        self.text(line).trim().is_empty()
    }

    pub(super) fn is_comment(&self, line: usize) -> bool {
        self.text(line).trim_start().starts_with('#')
    }

    /// How many characters stand before a byte on its line, if all are spaces.
    pub(super) fn column(&self, byte: usize) -> Option<usize> {
        let start = self.start(self.at(byte));
        let before = &self.text[start..byte];
        before
            .trim_start_matches(' ')
            .is_empty()
            .then_some(byte - start)
    }

    /// The last line of what ends on `line` and is indented by `indent`:
    /// comments below it that are deeper belong to it, as a key that was
    /// commented out belongs to its site.
    pub(super) fn end_of_block(&self, line: usize, indent: usize) -> usize {
        let mut last = line;
        for next in line + 1..self.count() {
            if self.is_comment(next) && self.indent(next) > indent {
                last = next;
            } else if !self.is_blank(next) {
                break;
            }
        }
        last
    }

    /// The line break that the text uses.
    pub(super) fn line_break(&self) -> &'static str {
        let first = self.content.first().map_or(0, |line| line.end);
        let rest = &self.text[first..];
        match rest {
            _ if rest.starts_with("\r\n") => "\r\n",
            _ if rest.starts_with('\r') => "\r",
            _ => "\n",
        }
    }
}
