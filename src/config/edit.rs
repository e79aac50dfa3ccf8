//! `sites.yaml` with an endpoint more or less, and all else as its author
//! wrote it: comments, blank lines, quotes and indentation.
//!
//! The text is changed where the endpoint stands, and nowhere else. What then
//! stands there is read again and held against the same change made to plain
//! values: a text that does not mean exactly that is never given back
//! ([`Refusal::Layout`]). Whether the result is a right configuration is for
//! [`check`](fn@super::check) to say, and nothing here touches a file.
//!
//! # Where things go
//!
//! - A new site stands last among the sites, indented like them; a new route
//!   last among the routes. A site in short (`a.com: 8080`) that gets its first
//!   route becomes one in long.
//! - A second endpoint makes one a list, `[8080, 8081]`; a list keeps its form,
//!   and a list of one stays a list.
//! - An item, a route or a site that goes takes its lines along, what is
//!   indented below them, and what stands behind it on its line. Of comments
//!   on the lines above it, a site or a route takes those along that are
//!   indented like it, with no blank line between, unless the next one follows
//!   directly below (the comment may be about both) or the comment looks like
//!   an entry that was commented out. An item of a list takes none.
//! - With its last endpoint all of a site or a route goes; only a site with
//!   routes stays, without its `upstream`. With the last route `routes` goes,
//!   and the site if that was all of it.

mod add;
mod change;
mod lines;
mod meaning;
mod page;
mod place;
mod refusal;
mod remove;
#[cfg(test)]
mod tests;

use self::change::Change;
use self::place::{Endpoint, Place};

pub use refusal::Refusal;

/// Whose endpoints are changed.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// A name or `*.name`, in any spelling of it, or `fallback`.
    pub host: &'a str,
    /// A route of it, such as `/api`. `None`, and `/`: the site itself.
    pub prefix: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes `HOST` or `HOST/PREFIX` apart; what is in them is judged by [`edit`].
    pub fn of(text: &'a str) -> Self {
        let (host, prefix) = text.split_at(text.find('/').unwrap_or(text.len()));
        Self {
            host,
            prefix: (!prefix.is_empty()).then_some(prefix),
        }
    }
}

/// What is changed.
#[derive(Clone, Copy, Debug)]
pub enum Edit<'a> {
    /// Endpoints more, in this order, with the site and the route they need.
    Add { endpoints: &'a [String] },
    /// Endpoints less: as often as each is there, in whatever spelling.
    Remove {
        /// None: all of the site or the route.
        endpoints: &'a [String],
        /// Whether the last endpoint, or all, may go.
        force: bool,
    },
}

/// The text after an edit: all of its endpoints, or none.
///
/// Time is linear in the text for each endpoint.
///
/// # Errors
///
/// A [`Refusal`], if what is said makes no sense, is not there or is there
/// already, needs `force`, or if the text is one that cannot be edited.
pub fn edit(text: &str, target: &Target<'_>, edit: &Edit<'_>) -> Result<String, Refusal> {
    let place = Place::read(target)?;
    match edit {
        Edit::Add { endpoints: [] } => Err(Refusal::NoEndpoint {
            place: place.name(),
        }),
        Edit::Add { endpoints } => {
            let endpoints = read(endpoints)?;
            let mut text = text.to_owned();
            for endpoint in &endpoints {
                text = Change::Add(endpoint).of(&text, &place)?;
            }
            Ok(text)
        }
        Edit::Remove {
            endpoints: [],
            force: false,
        } => {
            // What is not there is told first.
            Change::RemoveAll.of(text, &place)?;
            Err(Refusal::Whole {
                place: place.name(),
            })
        }
        Edit::Remove { endpoints: [], .. } => Change::RemoveAll.of(text, &place),
        Edit::Remove { endpoints, force } => {
            let endpoints = read(endpoints)?;
            let mut text = text.to_owned();
            for endpoint in &endpoints {
                text = remove_each(&text, &place, endpoint, *force)?;
            }
            Ok(text)
        }
    }
}

fn read(endpoints: &[String]) -> Result<Vec<Endpoint<'_>>, Refusal> {
    endpoints.iter().map(|text| Endpoint::read(text)).collect()
}

/// An endpoint that is written twice takes two turns: both go.
fn remove_each(
    text: &str,
    place: &Place,
    endpoint: &Endpoint<'_>,
    force: bool,
) -> Result<String, Refusal> {
    let change = Change::Remove(endpoint, force);
    let mut text = change.of(text, place)?;
    loop {
        text = match change.of(&text, place) {
            Ok(text) => text,
            Err(
                Refusal::NoSuchEndpoint { .. }
                | Refusal::NoSuchRoute { .. }
                | Refusal::NoSuchSite { .. },
            ) => return Ok(text),
            Err(refusal) => return Err(refusal),
        };
    }
}
