//! Lines that stand too far in or out, and tabs.

use super::{Fault, one};
use crate::config::locate::text::{Text, blank, indent};
use crate::config::locate::{At, Walk};
use crate::diagnostic::{Diagnostic, Place};

pub(super) fn tabs(text: &Text<'_>, at: At) -> Fault {
    let begins_with_tab = |line: &str| {
        let blank: &str = &line[..line.len() - line.trim_start().len()];
        blank.contains('\t') && !line.trim().is_empty()
    };
    let start = at.line - 1;
    // The parser may stop at the value before, which the tab seems to go on with.
    let first = (start..text.lines.len().min(start + 3)).find(|n| begins_with_tab(text.line(*n)));
    let Some(first) = first else {
        let line = text.line(start);
        let place = At {
            line: at.line,
            column: line.chars().position(|c| c == '\t').unwrap_or(0) + 1,
        };
        let fault = Diagnostic::error(Place::Span(place.wide(1)), "a tab cannot stand here")
            .label("a tab")
            .help("write a space in its place");
        return one(text, fault, text.block(at.line - 1));
    };
    let more = text.lines[first..]
        .iter()
        .take_while(|line| begins_with_tab(line) || line.trim().is_empty())
        .count();
    let count = text.lines[first..first + more]
        .iter()
        .filter(|line| begins_with_tab(line))
        .count();
    let column = text
        .line(first)
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
    one(text, fault, first..first + more)
}

/// A line that is deeper than the ones above without belonging to them.
pub(super) fn over_indented(text: &Text<'_>, line: usize) -> Fault {
    let own = indent(text.line(line - 1));
    let mut fault = Diagnostic::error(Place::Span(text.word(line)), "unexpected indentation");
    let above = (0..line - 1).rev().find(|n| !text.is_blank(*n));
    fault = match above {
        Some(above) if indent(text.line(above)) < own => {
            let spaces = indent(text.line(above));
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
    one(text, fault, text.rest_of_block(line - 1))
}

/// A line that is indented like none of the lines it could stand beside.
pub(super) fn dedent(text: &Text<'_>, at: At) -> Fault {
    let own = at.column - 1;
    let (mut below, mut above, mut least) = (None, None, usize::MAX);
    for n in (0..at.line - 1).rev().filter(|n| !text.is_blank(*n)) {
        let spaces = indent(text.line(n));
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
                .help(match below {
                    0 => format!(
                        "indent it by {}, like the line above, or not at all",
                        counted(above)
                    ),
                    _ => format!("indent it by {below} spaces or by {above}, like the lines above"),
                })
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
    one(text, fault, text.rest_of_block(at.line - 1))
}

/// The first key was indented and a later one is not.
pub(super) fn first_indented(text: &Text<'_>, at: At, walk: &Walk) -> Fault {
    if let Some(directive) = text.lines.iter().position(|line| line.starts_with('%')) {
        let place = At {
            line: directive + 1,
            column: 1,
        };
        let fault = Diagnostic::error(Place::Span(place.wide(1)), "a line cannot begin with `%`")
            .label("begins a YAML directive")
            .help("quote the text, or remove the line");
        return one(text, fault, directive..directive + 1);
    }
    let at = text.inside(at);
    let first = text.lines.iter().position(|line| !blank(line)).unwrap_or(0);
    let spaces = indent(text.line(first));
    if spaces == 0 || walk.last.is_none() {
        let fault = Diagnostic::error(Place::Span(text.word(at.line)), "nothing can follow here")
            .label("the document has ended above");
        return one(text, fault, text.rest_of_block(at.line - 1));
    }
    let fault = Diagnostic::error(Place::Span(text.word(first + 1)), "unexpected indentation")
        .label(format!("indented by {}", counted(spaces)))
        .help("begin the keys at the top of the file at the first column")
        .other(Place::Span(text.word(at.line)), "at the first column");
    one(text, fault, text.rest_of_block(first))
}

fn counted(spaces: usize) -> String {
    match spaces {
        0 => "no space".to_owned(),
        1 => "1 space".to_owned(),
        n => format!("{n} spaces"),
    }
}
