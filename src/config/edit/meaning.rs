//! The same edit on plain values: what the text has to mean afterwards.
//!
//! Written without a look at the text, so that the two can be held against
//! each other.

use super::place::{Endpoint, Place, Step};
use crate::config::file::Value;

/// `None` where the values have no place for it.
pub(super) fn add(before: Value, place: &Place, endpoint: &Endpoint<'_>) -> Option<Value> {
    let mut root = before;
    let mut at = &mut root;
    for step in &place.steps {
        if let (Step::Key("routes"), Value::Number(_) | Value::Text(_) | Value::List(_)) =
            (step, &*at)
        {
            let short = std::mem::take(at);
            *at = Value::Mapping(vec![("upstream".to_owned(), short)]);
        }
        at = entry(at, |key| step.is(key), step.name(), End::Last)?;
    }
    for key in ["upstream", "endpoints"] {
        if matches!(at, Value::Mapping(_)) {
            at = entry(at, |name| name == key, key, End::First)?;
        }
    }
    let new = match endpoint.text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Value::Number(endpoint.text.to_owned()),
        false => Value::Text(endpoint.text.to_owned()),
    };
    match at {
        Value::Absent | Value::Null => *at = new,
        Value::List(list) => list.push(new),
        Value::Switch(_) | Value::Number(_) | Value::Text(_) | Value::Mapping(_) => {
            *at = Value::List(vec![std::mem::take(at), new]);
        }
    }
    Some(root)
}

/// Removes the first endpoint that is meant, or (`None`) all of the place.
pub(super) fn remove(
    before: Value,
    place: &Place,
    endpoint: Option<&Endpoint<'_>>,
) -> Option<Value> {
    let mut root = before;
    let at = value(&mut root, &place.steps)?;
    if let Some(endpoint) = endpoint {
        if let Value::List(list) = endpoints(at)?
            && list.len() > 1
        {
            let index = list.iter().position(|item| is(item, endpoint))?;
            list.remove(index);
            return Some(root);
        }
        if place.prefix().is_none()
            && let Value::Mapping(keys) = at
            && keys.iter().any(|(key, routes)| {
                key == "routes" && matches!(routes, Value::Mapping(routes) if !routes.is_empty())
            })
        {
            keys.retain(|(key, _)| key != "upstream");
            return Some(root);
        }
    }
    let mut steps = place.steps.as_slice();
    while let [way @ .., last] = steps {
        let Value::Mapping(entries) = value(&mut root, way)? else {
            return None;
        };
        if entries.len() > 1 || way.len() < place.site {
            entries.retain(|(key, _)| !last.is(key));
            return Some(root);
        }
        steps = way;
    }
    None
}

/// Whether two documents say the same: an empty mapping says nothing.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let nothing = |value: &Value| match value {
        Value::Absent | Value::Null => true,
        Value::Mapping(entries) => entries.is_empty(),
        Value::Switch(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => false,
    };
    match (one, other) {
        (Value::Mapping(one), Value::Mapping(other)) => {
            one.len() == other.len()
                && std::iter::zip(one, other)
                    .all(|((key, one), (name, other))| key == name && same(one, other))
        }
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len()
                && std::iter::zip(one, other).all(|(one, other)| same(one, other))
        }
        _ => one == other || (nothing(one) && nothing(other)),
    }
}

fn value<'v>(root: &'v mut Value, steps: &[Step]) -> Option<&'v mut Value> {
    let mut at = root;
    for step in steps {
        at = child(at, |key| step.is(key))?;
    }
    Some(at)
}

/// What holds the endpoints of a site or a route.
fn endpoints(place: &mut Value) -> Option<&mut Value> {
    let mut at = place;
    for key in ["upstream", "endpoints"] {
        if matches!(at, Value::Mapping(_)) {
            at = child(at, |name| name == key)?;
        }
    }
    Some(at)
}

fn is(item: &Value, endpoint: &Endpoint<'_>) -> bool {
    match item {
        Value::Text(text) | Value::Number(text) => endpoint.is(text),
        Value::Mapping(keys) => keys
            .iter()
            .any(|(key, address)| key == "address" && is(address, endpoint)),
        Value::Absent | Value::Null | Value::Switch(_) | Value::List(_) => false,
    }
}

fn child(of: &mut Value, is: impl Fn(&str) -> bool) -> Option<&mut Value> {
    let Value::Mapping(entries) = of else {
        return None;
    };
    let entry = entries.iter_mut().find(|(key, _)| is(key));
    entry.map(|(_, value)| value)
}

enum End {
    First,
    Last,
}

/// A value of a mapping, put there where it is not.
fn entry<'v>(
    of: &'v mut Value,
    is: impl Fn(&str) -> bool,
    name: &str,
    end: End,
) -> Option<&'v mut Value> {
    if matches!(of, Value::Absent | Value::Null) {
        *of = Value::Mapping(Vec::new());
    }
    let Value::Mapping(entries) = of else {
        return None;
    };
    let index = match (entries.iter().position(|(key, _)| is(key)), end) {
        (Some(index), _) => index,
        (None, End::First) => {
            entries.insert(0, (name.to_owned(), Value::Null));
            0
        }
        (None, End::Last) => {
            entries.push((name.to_owned(), Value::Null));
            entries.len() - 1
        }
    };
    entries.get_mut(index).map(|(_, value)| value)
}
