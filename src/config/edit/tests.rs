//! Each layout with its text afterwards, written out in full.

mod adding;
mod generated;
mod refusing;
mod removing;
mod routes;

use super::{Edit, Refusal, Target, edit};

fn owned(endpoints: &[&str]) -> Vec<String> {
    endpoints.iter().map(|&text| text.to_owned()).collect()
}

fn try_add(text: &str, place: &str, endpoints: &[&str]) -> Result<String, Refusal> {
    let endpoints = owned(endpoints);
    let add = Edit::Add {
        endpoints: &endpoints,
    };
    edit(text, &Target::of(place), &add)
}

fn try_remove(text: &str, place: &str, endpoints: &[&str], force: bool) -> Result<String, Refusal> {
    let endpoints = owned(endpoints);
    let remove = Edit::Remove {
        endpoints: &endpoints,
        force,
    };
    edit(text, &Target::of(place), &remove)
}

#[track_caller]
fn add(text: &str, place: &str, endpoints: &[&str], want: &str) {
    let after = try_add(text, place, endpoints);
    assert_eq!(after.as_deref(), Ok(want), "add {place} to:\n{text}");
}

#[track_caller]
fn remove(text: &str, place: &str, endpoints: &[&str], want: &str) {
    let after = try_remove(text, place, endpoints, false);
    assert_eq!(after.as_deref(), Ok(want), "remove {place} from:\n{text}");
}

#[track_caller]
fn force(text: &str, place: &str, endpoints: &[&str], want: &str) {
    let after = try_remove(text, place, endpoints, true);
    assert_eq!(after.as_deref(), Ok(want), "remove {place} from:\n{text}");
}
