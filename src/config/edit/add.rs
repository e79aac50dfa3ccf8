//! An endpoint more: the splices that add it.

use std::ops::Range;

use super::page::{Entry, Members, Page, Splice, Stuck, entry_range, is_mapping, is_null, members};
use super::place::{Step, is_plain_in_flow, scalar};
use crate::config::locate::tree::{Form, Node, Style};

/// Adds an endpoint, with the site and the route that it needs.
pub(super) fn add(page: &Page<'_>, steps: &[Step], endpoint: &str) -> Result<Vec<Splice>, Stuck> {
    let new = scalar(endpoint);
    let way = page.way(steps)?;
    let missing = &steps[way.len()..];
    match way.last() {
        Some(place) if missing.is_empty() => match members(*place)? {
            Members::In(entry) => join(page, &entry, &new),
            Members::Without(entry, key) => lead(page, &entry, key, &new),
            Members::Redirect(redirect) => Err(Stuck {
                at: redirect.key.range.start,
                why: "a redirect stands there",
            }),
        },
        last => put(page, last, missing, &new),
    }
}

/// Puts an endpoint beside those of an entry.
fn join(page: &Page<'_>, entry: &Entry<'_>, new: &str) -> Result<Vec<Splice>, Stuck> {
    let value = entry.value;
    match &value.form {
        Form::Nothing => behind(page, entry, new),
        Form::Scalar { .. } if is_null(value) => {
            Ok(vec![Splice::replace(value.range.clone(), new)])
        }
        Form::Scalar { text, style } => {
            let own = &page.text[value.range.clone()];
            match style {
                Style::Plain if !is_plain_in_flow(own) => Ok(vec![Splice::replace(
                    value.range.clone(),
                    format!("[{}, {new}]", scalar(text)),
                )]),
                Style::Plain | Style::Quoted => Ok(wrap(value, "[", &format!(", {new}]"))),
                Style::Block => Err(Stuck {
                    at: value.range.start,
                    why: "a text behind `|` or `>`",
                }),
            }
        }
        Form::Mapping { flow: true, .. } => Ok(wrap(value, "[", &format!(", {new}]"))),
        Form::Mapping { flow: false, .. } => Err(Stuck {
            at: value.range.start,
            why: "one endpoint in long that is no item of a list",
        }),
        Form::List { flow: true, items } => {
            let last = items.last().map(|item| item.node.range.clone());
            Ok(append(page, value, last, new))
        }
        Form::List { flow: false, items } => {
            let Some(last) = items.last() else {
                return Err(Stuck {
                    at: value.range.start,
                    why: "a list without an item",
                });
            };
            let column = page.column(last.start)?;
            // The blanks behind its `-` are the file's own.
            let blanks = &page.text[last.start + 1..last.node.range.start];
            let blanks = match blanks.is_empty() || blanks.contains(['\n', '\r', '\t', '#']) {
                true => " ",
                false => blanks,
            };
            let line = page.last_line(last.node.range.end, column);
            let item = format!("{}-{blanks}{new}", " ".repeat(column));
            Ok(vec![page.below(line, &[item])])
        }
    }
}

/// Puts a key that leads to the endpoint first into the mapping of an entry.
fn lead(
    page: &Page<'_>,
    entry: &Entry<'_>,
    key: &'static str,
    new: &str,
) -> Result<Vec<Splice>, Stuck> {
    let Form::Mapping { flow, entries } = &entry.value.form else {
        return Ok(Vec::new());
    };
    let Some((first, _)) = entries.first() else {
        return Ok(append(page, entry.value, None, &format!("{key}: {new}")));
    };
    if *flow {
        return Ok(vec![Splice::insert(
            first.range.start,
            format!("{key}: {new}, "),
        )]);
    }
    let column = page.column(first.range.start)?;
    let line = page.lines.at(entry.key.range.end);
    let lead = format!("{}{key}: {new}", " ".repeat(column));
    Ok(vec![page.below(line, &[lead])])
}

/// Puts the steps that are missing below the last one that is there.
fn put(
    page: &Page<'_>,
    holder: Option<&Entry<'_>>,
    missing: &[Step],
    new: &str,
) -> Result<Vec<Splice>, Stuck> {
    let value = holder.map_or(page.root, |holder| holder.value);
    let routes = missing.len() == 2 && matches!(missing[0], Step::Key("routes"));
    match (&value.form, holder) {
        (Form::Mapping { flow, entries }, _) if !entries.is_empty() => match flow {
            true => {
                let last = entries.last().map(entry_range);
                Ok(append(page, value, last, &inline(missing, new)))
            }
            false => last(page, value, entries, holder.is_none(), missing, new),
        },
        (Form::Mapping { .. }, None) => Ok(append(page, value, None, &inline(missing, new))),
        (Form::Mapping { .. }, Some(holder)) => match empty_on_a_line(page, holder) {
            true => below(page, holder, missing, new),
            false => Ok(append(page, value, None, &inline(missing, new))),
        },
        (_, Some(holder)) if is_null(value) => below(page, holder, missing, new),
        (_, Some(holder)) if routes => lengthen(page, holder, missing, new),
        (Form::Nothing, None) => Ok(vec![foot(page, missing, new)]),
        (Form::Nothing | Form::Scalar { .. } | Form::List { .. }, _) => Err(Stuck {
            at: value.range.start,
            why: "not a mapping",
        }),
    }
}

/// As the last entry of a block.
fn last(
    page: &Page<'_>,
    mapping: &Node,
    entries: &[(Node, Node)],
    top: bool,
    missing: &[Step],
    new: &str,
) -> Result<Vec<Splice>, Stuck> {
    let column = page.column(mapping.range.start)?;
    let end = entries
        .last()
        .map_or(mapping.range.end, |entry| entry_range(entry).end);
    let line = page.last_line(end, column);
    let mut lines = block(missing, new, column, page.indent());
    if top {
        lines.insert(0, String::new());
    }
    Ok(vec![page.below(line, &lines)])
}

/// Below an entry with nothing in it.
fn below(
    page: &Page<'_>,
    holder: &Entry<'_>,
    missing: &[Step],
    new: &str,
) -> Result<Vec<Splice>, Stuck> {
    if holder.in_flow() {
        let inside = format!("{{ {} }}", inline(missing, new));
        return match holder.value.range.is_empty() {
            true => behind(page, holder, &inside),
            false => Ok(vec![Splice::replace(holder.value.range.clone(), inside)]),
        };
    }
    let colon = behind_colon(page, holder)?;
    let column = page.column(holder.key.range.start)?;
    let end = holder.value.range.end.max(colon);
    if page.lines.at(end) != page.lines.at(colon) {
        return Err(Stuck {
            at: end,
            why: "a value that says nothing, on a line of its own",
        });
    }
    let line = page.last_line(end, column);
    let indent = column + page.indent();
    let lines = block(missing, new, indent, page.indent());
    Ok(vec![Splice::delete(colon..end), page.below(line, &lines)])
}

/// A site in short becomes one in long: its value moves behind `upstream`.
fn lengthen(
    page: &Page<'_>,
    site: &Entry<'_>,
    missing: &[Step],
    new: &str,
) -> Result<Vec<Splice>, Stuck> {
    if site.in_flow() {
        let routes = format!(", {} }}", inline(missing, new));
        return Ok(wrap(site.value, "{ upstream: ", &routes));
    }
    let colon = behind_colon(page, site)?;
    let column = page.column(site.key.range.start)?;
    let (eol, step) = (page.lines.line_break(), page.indent());
    let deeper = " ".repeat(step);
    let mut splices = vec![Splice::insert(
        colon,
        format!("{eol}{}{deeper}upstream:", " ".repeat(column)),
    )];
    let end = page.lines.at(site.value.range.end);
    for line in page.lines.at(colon) + 1..=end {
        if !page.lines.is_blank(line) {
            splices.push(Splice::insert(page.lines.start(line), deeper.clone()));
        }
    }
    let end = page.last_line(site.value.range.end, column);
    splices.push(page.below(end, &block(missing, new, column + step, step)));
    Ok(splices)
}

/// The first of a file that says nothing yet.
fn foot(page: &Page<'_>, missing: &[Step], new: &str) -> Splice {
    let eol = page.lines.line_break();
    let lines = block(missing, new, 0, page.indent()).join(eol);
    let text = match page.text.is_empty() || page.text.ends_with(['\n', '\r']) {
        true => format!("{lines}{eol}"),
        false => format!("{eol}{lines}"),
    };
    Splice::insert(page.text.len(), text)
}

/// Writes the value of an entry that has none.
fn behind(page: &Page<'_>, entry: &Entry<'_>, new: &str) -> Result<Vec<Splice>, Stuck> {
    Ok(vec![match page.behind_colon(entry) {
        Some(colon) => Splice::insert(colon, format!(" {new}")),
        None if entry.in_flow() => Splice::insert(entry.key.range.end, format!(": {new}")),
        None => return Err(no_colon(entry)),
    }])
}

/// Puts an item or entry behind the last one in brackets or braces: on a line
/// of its own where that one has one.
fn append(page: &Page<'_>, within: &Node, last: Option<Range<usize>>, new: &str) -> Vec<Splice> {
    let Range { start, end } = within.range.clone();
    let (open, close) = (start + 1, end.saturating_sub(1).max(start + 1));
    let Some(last) = last else {
        let blank = page.text[open..close].trim().is_empty();
        return vec![match (blank, is_mapping(within)) {
            (true, true) => Splice::replace(open..close, format!(" {new} ")),
            (true, false) => Splice::replace(open..close, new),
            (false, true) => Splice::insert(open, format!(" {new}")),
            (false, false) => Splice::insert(open, new),
        }];
    };
    let Range {
        start: from,
        end: to,
    } = last;
    let line = page.lines.at(to);
    let simple = vec![Splice::insert(to, format!(", {new}"))];
    let Some(column) = page.lines.column(from) else {
        return simple;
    };
    if page.lines.at(open) == page.lines.at(from) || page.lines.at(close) == line {
        return simple;
    }
    let indent = " ".repeat(column);
    match page.comma(to, close) {
        None => vec![
            Splice::insert(to, ","),
            page.below(line, &[format!("{indent}{new}")]),
        ],
        Some(comma) if page.lines.at(comma) == line => {
            vec![page.below(line, &[format!("{indent}{new},")])]
        }
        Some(_) => simple,
    }
}

fn wrap(value: &Node, before: &str, after: &str) -> Vec<Splice> {
    vec![
        Splice::insert(value.range.start, before),
        Splice::insert(value.range.end, after),
    ]
}

fn empty_on_a_line(page: &Page<'_>, entry: &Entry<'_>) -> bool {
    let Range { start, end } = entry.value.range;
    !entry.in_flow()
        && page.lines.at(entry.key.range.start) == page.lines.at(end)
        && !page.has_comment(start, end)
}

fn behind_colon(page: &Page<'_>, entry: &Entry<'_>) -> Result<usize, Stuck> {
    page.behind_colon(entry).ok_or_else(|| no_colon(entry))
}

fn no_colon(entry: &Entry<'_>) -> Stuck {
    Stuck {
        at: entry.key.range.end,
        why: "a key without its `:` behind it",
    }
}

/// The lines of the steps, each deeper than the one before.
fn block(steps: &[Step], new: &str, indent: usize, deeper: usize) -> Vec<String> {
    let end = steps.len().saturating_sub(1);
    let line = |(n, step): (usize, &Step)| {
        let (blanks, key) = (" ".repeat(indent + n * deeper), scalar(step.name()));
        match n == end {
            true => format!("{blanks}{key}: {new}"),
            false => format!("{blanks}{key}:"),
        }
    };
    steps.iter().enumerate().map(line).collect()
}

/// The steps in braces, without the outermost.
fn inline(steps: &[Step], new: &str) -> String {
    let mut out = new.to_owned();
    for (n, step) in steps.iter().enumerate().rev() {
        out = match n {
            0 => format!("{}: {out}", scalar(step.name())),
            _ => format!("{{ {}: {out} }}", scalar(step.name())),
        };
    }
    out
}
