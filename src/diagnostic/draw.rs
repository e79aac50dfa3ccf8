//! Diagnostics as a compiler draws them, by hand: the output is exact and stays
//! as it is.

use std::fmt::Write as _;

use super::{Diagnostic, Place, Severity, Span};

/// What a tab is drawn as; a terminal's own tab stops would move the caret.
const TAB: &str = "    ";
/// Characters of a source line that are drawn; of a longer one, those around the place.
const LINE_CHARS_MAX: usize = 160;
/// Characters drawn before the place in a line that is cut.
const LINE_CHARS_BEFORE: usize = 60;

/// The text that diagnostics point into.
#[derive(Debug)]
pub struct Source<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Source<'a> {
    /// `name` is what the reader calls the file.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Self {
            name,
            lines: lines(text),
        }
    }

    fn line(&self, number: usize) -> &'a str {
        self.lines.get(number.wrapping_sub(1)).unwrap_or(&"")
    }
}

/// The lines of a text by YAML's own line breaks (YAML 1.2.2 §5.4): LF, CR LF,
/// and CR alone. A byte order mark at the beginning belongs to no line.
pub fn lines(text: &str) -> Vec<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<&str> = text
        .split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
        .collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    lines
}

/// Whether the output goes to a terminal that shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Plain,
    Ansi,
}

impl Colour {
    fn paint(self, style: &str, text: &str) -> String {
        match self {
            Self::Ansi if !text.is_empty() => format!("\x1b[{style}m{text}\x1b[0m"),
            Self::Ansi | Self::Plain => text.to_owned(),
        }
    }
}

const BOLD: &str = "1";
const BLUE: &str = "1;34";
const RED: &str = "1;31";
const YELLOW: &str = "1;33";

/// A place in the text with the word beside it.
struct Mark<'a> {
    span: Span,
    sign: char,
    style: &'static str,
    label: &'a str,
}

impl Diagnostic {
    /// Draws it as a compiler does, with a newline at the end. `find` looks a
    /// place up; without an answer the message stands without a source line.
    pub fn render(
        &self,
        source: &Source<'_>,
        find: impl Fn(&Place) -> Option<Span>,
        colour: Colour,
    ) -> String {
        let style = match self.severity {
            Severity::Error => RED,
            Severity::Warning => YELLOW,
        };
        let mut out = colour.paint(style, self.severity.word());
        let message = format!(": {}", visible(&self.message));
        let _ = writeln!(out, "{}", colour.paint(BOLD, &message));

        let at = find(&self.place);
        let mut marks = Vec::new();
        if let Some(span) = at {
            marks.push(Mark {
                span,
                sign: '^',
                style,
                label: &self.label,
            });
        }
        if let (Some(_), Some((place, label))) = (at, &self.other)
            && let Some(span) = find(place)
        {
            marks.push(Mark {
                span,
                sign: '-',
                style: BLUE,
                label,
            });
        }
        marks.sort_by_key(|mark| (mark.span.line, mark.span.column));
        let last = marks.iter().map(|mark| mark.span.line).max();
        let gutter = last.map_or(0, |line| line.to_string().len());

        let arrow = format!("{:gutter$}{}", "", colour.paint(BLUE, "-->"));
        match at {
            Some(span) => {
                let _ = writeln!(out, "{arrow} {}:{}:{}", source.name, span.line, span.column);
                let bar = format!("{:gutter$} {}", "", colour.paint(BLUE, "|"));
                let _ = writeln!(out, "{bar}");
                draw(&mut out, source, &marks, gutter, &bar, colour);
            }
            None => {
                let _ = writeln!(out, " {arrow} {}", source.name);
            }
        }
        if let Some(help) = &self.help {
            let lead = format!("{:gutter$} {} ", "", colour.paint(BLUE, "="));
            let mut lines = help.lines();
            let first = visible(lines.next().unwrap_or_default());
            let _ = writeln!(out, "{lead}{}: {first}", colour.paint(BOLD, "help"));
            for line in lines {
                let _ = writeln!(out, "{:gutter$}         {}", "", visible(line));
            }
        }
        out
    }
}

fn draw(
    out: &mut String,
    source: &Source<'_>,
    marks: &[Mark<'_>],
    gutter: usize,
    bar: &str,
    colour: Colour,
) {
    let mut drawn = None;
    for mark in marks {
        let number = mark.span.line;
        let (line, before, width) = window(source.line(number), mark.span);
        if drawn != Some(number) {
            if drawn.is_some_and(|drawn| drawn + 1 < number) {
                let _ = writeln!(out, "{}", colour.paint(BLUE, "..."));
            }
            let lead = colour.paint(BLUE, &format!("{number:>gutter$} |"));
            let _ = writeln!(out, "{}", format!("{lead} {line}").trim_end());
            drawn = Some(number);
        }
        let sign = mark.sign.to_string().repeat(width);
        let under = match mark.label {
            "" => sign,
            label => format!("{sign} {}", visible(label)),
        };
        let _ = writeln!(
            out,
            "{bar} {:before$}{}",
            "",
            colour.paint(mark.style, &under)
        );
    }
}

/// A source line as it is drawn, with how many characters stand before the
/// mark and how many under it.
fn window(line: &str, span: Span) -> (String, usize, usize) {
    let column = span.column.max(1) - 1;
    let long = line.chars().nth(LINE_CHARS_MAX).is_some();
    let cut = long && column > LINE_CHARS_MAX - LINE_CHARS_BEFORE;
    let start = if cut { column - LINE_CHARS_BEFORE } else { 0 };
    let mut drawn = String::new();
    if cut {
        drawn.push('…');
    }
    let mut count = drawn.chars().count();
    let (mut before, mut end) = (count, None);
    let mut rest = line.chars().skip(start);
    let mut at = start;
    for c in rest.by_ref().take(LINE_CHARS_MAX) {
        if at == column {
            before = count;
        }
        if at == column + span.width.max(1) {
            end = Some(count);
        }
        match c {
            '\t' => {
                drawn.push_str(TAB);
                count += TAB.len();
            }
            c => {
                drawn.push(picture(c));
                count += 1;
            }
        }
        at += 1;
    }
    // A mark just past the end of the line.
    if at <= column {
        before = count + (column - at);
    }
    let end = end.unwrap_or_else(|| count.max(before + 1));
    if rest.next().is_some() {
        drawn.push('…');
    }
    (drawn, before, (end - before).max(1))
}

/// A text with its control characters made visible.
fn visible(text: &str) -> String {
    text.chars().map(picture).collect()
}

/// What is drawn for a character: its own picture, unless it would move or
/// reorder what stands on the terminal.
fn picture(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, column: usize, width: usize) -> String {
        let span = Span {
            line: 1,
            column,
            width,
        };
        Diagnostic::error(Place::Span(span), "wrong")
            .label("here")
            .render(&Source::new("f", text), |_| Some(span), Colour::Plain)
    }

    #[test]
    fn the_caret_stands_under_its_character() {
        let check = |text: &str, column: usize, width: usize, want: &str| {
            let got = drawn(text, column, width);
            let lines: Vec<&str> = got.lines().skip(3).collect();
            assert_eq!(lines.join("\n"), want, "{text:?}");
        };
        check("a: bcd", 4, 3, "1 | a: bcd\n  |    ^^^ here");
        check("ü: bcd", 4, 3, "1 | ü: bcd\n  |    ^^^ here");
        check("\ta: b", 5, 1, "1 |     a: b\n  |        ^ here");
        check("a:", 4, 1, "1 | a:\n  |    ^ here");
        check("a\x1bb", 2, 1, "1 | a␛b\n  |  ^ here");
        check("a\u{202e}b", 3, 1, "1 | a\u{fffd}b\n  |   ^ here");
        check("", 1, 1, "1 |\n  | ^ here");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}!{}", "a".repeat(1_000), "b".repeat(1_000));
        let got = drawn(&line, 1_001, 1);
        let lines: Vec<&str> = got.lines().collect();
        assert!(lines[3].chars().count() < LINE_CHARS_MAX + 8);
        let caret = lines[4].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[3].chars().nth(caret), Some('!'));
    }

    #[test]
    fn lines_end_as_yaml_says() {
        assert_eq!(lines("a\nb\r\nc\rd\n"), ["a", "b", "c", "d"]);
        assert_eq!(lines("\u{feff}a\n\n"), ["a", ""]);
        assert!(lines("").is_empty());
    }

    #[test]
    fn colour_only_where_asked() {
        let diagnostic = Diagnostic::warning(Place::File, "w").help("h");
        let source = Source::new("f", "");
        let plain = diagnostic.render(&source, |_| None, Colour::Plain);
        assert_eq!(plain, "warning: w\n --> f\n = help: h\n");
        assert!(
            diagnostic
                .render(&source, |_| None, Colour::Ansi)
                .contains("\x1b[1;33m")
        );
    }
}
