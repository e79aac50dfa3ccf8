//! An endpoint, a route or a site less: the splices that take it out.

use std::ops::Range;

use super::page::{Entry, Page, Splice, Stuck, child, entry_range};
use super::place::Place;
use crate::config::locate::tree::{Form, Node};

/// Removes an item of the list that an entry holds, which is not the last one.
pub(super) fn member(
    page: &Page<'_>,
    entry: &Entry<'_>,
    index: usize,
) -> Result<Vec<Splice>, Stuck> {
    let value = entry.value;
    let Form::List { flow, items } = &value.form else {
        return Err(Stuck {
            at: value.range.start,
            why: "not a list",
        });
    };
    if *flow {
        let items: Vec<_> = items.iter().map(|item| item.node.range.clone()).collect();
        return Ok(from_brackets(page, value, &items, index));
    }
    let item = &items[index];
    let column = page.column(item.start)?;
    let end = page.last_line(item.node.range.end.max(item.start), column);
    Ok(vec![lines(page, page.lines.at(item.start), end)])
}

/// Removes all of a site or a route. A route that was the only one takes
/// `routes` with it, and that the site if it has nothing else.
pub(super) fn whole(
    page: &Page<'_>,
    way: &[Entry<'_>],
    place: &Place,
) -> Result<Vec<Splice>, Stuck> {
    let mut way = way;
    while let [above @ .., last] = way
        && above.len() >= place.site
        && count(last.of) == 1
    {
        way = above;
    }
    way.last().map_or(Ok(Vec::new()), |last| entry(page, last))
}

/// Removes what leads to the last endpoint of a place: the place itself, or,
/// where a site has routes, the key that its own endpoints stand behind.
pub(super) fn last(
    page: &Page<'_>,
    way: &[Entry<'_>],
    place: &Place,
) -> Result<Vec<Splice>, Stuck> {
    if let Some(site) = way.last()
        && place.prefix().is_none()
        && let Some(routes) = child(site.value, |key| key == "routes")?
        && count(routes.value) > 0
        && let Some(upstream) = child(site.value, |key| key == "upstream")?
    {
        return entry(page, &upstream);
    }
    whole(page, way, place)
}

fn count(mapping: &Node) -> usize {
    match &mapping.form {
        Form::Mapping { entries, .. } => entries.len(),
        Form::Nothing | Form::Scalar { .. } | Form::List { .. } => 0,
    }
}

/// Takes a key out, with its value and its comments.
fn entry(page: &Page<'_>, entry: &Entry<'_>) -> Result<Vec<Splice>, Stuck> {
    let own = entry.range();
    if let Form::Mapping {
        flow: true,
        entries,
    } = &entry.of.form
    {
        let all: Vec<_> = entries.iter().map(entry_range).collect();
        return Ok(from_brackets(page, entry.of, &all, entry.index));
    }
    let column = page.column(own.start)?;
    let last = page.last_line(own.end, column);
    let first = with_comments(page, page.lines.at(own.start), last, column);
    Ok(vec![lines(page, first, last)])
}

/// The first of the comment lines directly above an entry that speak of it
/// alone, or its own line.
///
/// They do not if the next entry follows directly, for then they may be about
/// both; if one of them looks like an entry that was commented out; or if they
/// begin the file.
fn with_comments(page: &Page<'_>, first: usize, last: usize, column: usize) -> usize {
    let all = &page.lines;
    let next = last + 1;
    if !all.is_blank(next) && !all.is_comment(next) && all.indent(next) == column {
        return first;
    }
    let mut top = first;
    while let Some(above) = top.checked_sub(1)
        && all.is_comment(above)
        && all.indent(above) == column
    {
        top = above;
    }
    let kept = top == 0 || (top..first).any(|line| is_entry(all.text(line)));
    if kept { first } else { top }
}

/// Takes one of those in brackets or braces out, with a comma.
fn from_brackets(
    page: &Page<'_>,
    within: &Node,
    all: &[Range<usize>],
    index: usize,
) -> Vec<Splice> {
    let Range { start, end } = within.range.clone();
    let (open, close) = (start + 1, end.saturating_sub(1).max(start + 1));
    let own = all[index].clone();
    let before = index.checked_sub(1).map(|n| all[n].end);
    let after = all.get(index + 1).map(|next| next.start);
    let comma = page.comma(own.end, after.unwrap_or(close));
    let (first, last) = (page.lines.at(own.start), page.lines.at(own.end));
    if all.len() == 1 && !page.has_comment(open, own.start) && !page.has_comment(own.end, close) {
        return vec![Splice::delete(open..close)];
    }
    let alone = page.lines.column(own.start).is_some()
        && page.lines.at(after.unwrap_or(close)) > last
        && comma.is_none_or(|comma| page.lines.at(comma) == last);
    if alone {
        let mut splices = vec![lines(page, first, last)];
        // The last one had no comma behind it, and neither has the new last.
        if let (None, None, Some(before)) = (comma, after, before)
            && let Some(comma) = page.comma(before, own.start)
            && page.lines.at(comma) < first
        {
            splices.push(Splice::delete(comma..comma + 1));
        }
        return splices;
    }
    let next_line = page.lines.end(last);
    vec![Splice::delete(match (before, after) {
        // A comment on a line of its own is about the next one.
        (_, Some(after)) if next_line < after && page.has_comment(next_line, after) => {
            own.start..next_line
        }
        (_, Some(after)) => own.start..after,
        (Some(before), None) if !page.has_comment(before, own.start) => before..own.end,
        (_, None) => own.start..comma.map_or(own.end, |comma| comma + 1),
    })]
}

/// Takes lines out, and one of two blank ones that would meet.
fn lines(page: &Page<'_>, first: usize, last: usize) -> Splice {
    let all = &page.lines;
    let above = first.checked_sub(1);
    let first = match above {
        Some(above) if all.is_blank(above) && all.is_blank(last + 1) => above,
        _ => first,
    };
    // The last line of the text may have no break behind it: then that of the
    // line above goes.
    let open_end = last + 1 >= all.count() && all.end(last) == page.text.len();
    match first.checked_sub(1) {
        Some(above) if open_end => Splice::delete(all.end(above)..page.text.len()),
        _ => Splice::delete(all.start(first)..all.start(last + 1)),
    }
}

/// Whether a comment may be an entry that was commented out.
fn is_entry(comment: &str) -> bool {
    let comment = comment.trim();
    comment.contains(": ") || comment.ends_with(':')
}
