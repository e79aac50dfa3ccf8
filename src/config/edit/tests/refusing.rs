//! What is not edited, and what is said of it.

use super::super::change::Change;
use super::super::place::{Endpoint, Place};
use super::{Refusal, Target, try_add, try_remove};
use crate::config::file::Value;

#[track_caller]
fn told(after: &Result<String, Refusal>, want: &str) {
    let refusal = after.as_ref().expect_err("edited");
    let told = format!("{refusal} / {}", refusal.fix());
    assert!(told.contains(want), "{told}");
}

const TEXT: &str = "sites:\n  a.com: [8080, https://8443]\n  old.com: { redirect: https://new }\n  b.com:\n    upstream: 1\n    routes: { /api: 2 }\n";

#[test]
fn what_makes_no_sense_is_told() {
    told(&try_add(TEXT, "a b", &["1"]), "not one host name");
    told(&try_add(TEXT, "http:", &["1"]), "a colon");
    told(&try_add(TEXT, "*", &["1"]), "`fallback`");
    told(
        &try_add(TEXT, "a.com/x y", &["1"]),
        "`/x y` is not a path prefix: it has a blank in it",
    );
    told(&try_add(TEXT, "a.com/x?y", &["1"]), "more than a path");
    told(&try_add(TEXT, "a.com", &["8O80"]), "`8080`");
    told(&try_add(TEXT, "a.com", &["${A\n}"]), "control character");
    told(
        &try_add(TEXT, "a.com", &[]),
        "no endpoint to add to `a.com` / name one, such as `8080`",
    );
}

#[test]
fn what_is_there_or_not_is_told() {
    told(
        &try_add(TEXT, "A.com", &["http://localhost:8080"]),
        "`A.com` has the endpoint `http://localhost:8080` already, in line 2",
    );
    told(
        &try_add(TEXT, "c.com", &["1", "localhost:1"]),
        "`c.com` has the endpoint `localhost:1` already",
    );
    told(
        &try_add(TEXT, "old.com", &["1"]),
        "`old.com` is a redirect (line 3)",
    );
    told(&try_remove(TEXT, "old.com", &["1"], true), "is a redirect");
    told(
        &try_remove(TEXT, "c.com", &["1"], true),
        "there is no site `c.com` / sites there: `a.com`, `old.com`, `b.com`",
    );
    told(
        &try_remove(TEXT, "c.com/api", &[], false),
        "there is no site `c.com`",
    );
    told(&try_remove("", "c.com", &[], true), "it has no sites");
    told(
        &try_remove(TEXT, "fallback", &[], true),
        "there is no site `fallback`",
    );
    told(
        &try_remove(TEXT, "b.com/x", &["1"], true),
        "`b.com` has no route `/x` / routes there: `/api`",
    );
    told(
        &try_remove(TEXT, "a.com/x", &["1"], true),
        "it has no routes",
    );
    told(
        &try_remove(TEXT, "a.com", &["8443"], true),
        "`a.com` has no endpoint `8443` / endpoints there: `8080`, `https://8443`",
    );
    told(
        &try_remove(TEXT, "b.com/api", &["1"], true),
        "`b.com/api` has no endpoint `1` / endpoints there: `2`",
    );
}

#[test]
fn the_last_one_needs_force() {
    told(
        &try_remove(TEXT, "b.com", &["1"], false),
        "`1` is the last endpoint of `b.com`",
    );
    told(
        &try_remove(TEXT, "b.com/api", &["2"], false),
        "the last endpoint of `b.com/api`",
    );
    told(
        &try_remove(TEXT, "a.com", &["8080", "https://8443"], false),
        "`https://8443` is the last endpoint",
    );
    told(
        &try_remove("sites:\n  a.com: [1, 1]\n", "a.com", &["1"], false),
        "the last endpoint",
    );
    told(
        &try_remove(TEXT, "a.com", &[], false),
        "all of `a.com` would be removed",
    );
    told(&try_remove(TEXT, "c.com", &[], false), "there is no site");
}

#[test]
fn a_layout_that_cannot_be_edited_is_told_with_the_line() {
    let check = |text: &str, want: &str| {
        let after = try_add(text, "a.com", &["8081"]);
        assert!(
            matches!(after, Err(Refusal::Layout { .. })),
            "{text}\n{after:?}"
        );
        told(&after, want);
    };
    check(
        "sites:\n  a.com: &x 8080\n",
        "an anchor (line 2) / by hand: add `8081` to the endpoints of `a.com`",
    );
    check("sites:\n  b.com: &x 1\n  a.com: *x\n", "an anchor (line 2)");
    check("sites:\n  a.com: !port 8080\n", "a tag (line 2)");
    check("sites:\n  <<: { a.com: 1 }\n", "a merge key (line 2)");
    check(
        "sites:\n  a.com: 1\n---\nsites:\n",
        "a second document (line 4)",
    );
    check("sites:\n  a.com: 1\n...\n---\n", "a second document");
    check("sites:\n  ? [a]\n  : 1\n", "a key that is no text (line 2)");
    check(
        "sites:\n  a.com: |-\n    8080\n",
        "a text behind `|` or `>` (line 3) / by hand: `a.com: [8080, 8081]`",
    );
    check(
        "sites:\n  a.com:\n    upstream:\n      endpoints:\n        address: 8080\n        weight: 2\n",
        "in long that is no item of a list (line 5) / by hand: `a.com: [8080, 8081]`",
    );
    check(
        "sites:\n  a.com: 1\n  A.com: 2\n",
        "the key is there twice (line 3)",
    );
    check(
        "sites: [a.com]\n",
        "not a mapping (line 1) / by hand: `a.com: 8081`",
    );
    check("a.com 8080\n", "not a mapping (line 1)");
    check(
        "sites:\n  a.com: # one\n    ~\n  b.com: 1\nsites: 1\n",
        "the key is there twice",
    );
    check(
        "sites:\n  ? a.com\n  : 8080\n  ? b.com\n  : 1\n...\n---\n",
        "a second document",
    );
    let route = try_add("sites:\n  ? a.com\n  : 8080\n", "a.com/api", &["8081"]);
    told(
        &route,
        "its `:` behind it (line 2) / by hand: `/api: 8081` under `routes` of `a.com`",
    );
}

#[test]
fn a_file_with_a_fault_is_left_alone() {
    let text = "sites:\n  a.com: [1\n  b.com: 2\n";
    told(
        &try_add(text, "a.com", &["1"]),
        "the file cannot be read: line",
    );
    told(
        &try_add("sites:\n  *.a.com: 1\n", "a.com", &["1"]),
        "`hostmux check`",
    );
    told(&try_add(&"[".repeat(100_000), "a.com", &["1"]), "");
    told(
        &try_add(&format!("sites: {}", "- ".repeat(100_000)), "a.com", &["1"]),
        "",
    );
}

/// Whatever the splices were: a text that says something else is not given back.
#[test]
fn a_text_that_means_more_or_less_is_caught() {
    let place = Place::read(&Target::of("a.com")).unwrap();
    let endpoint = Endpoint::read("8081").unwrap();
    let check = |change: Change<'_>, before: &str, after: &str, want: bool| {
        let before = Value::read(before).unwrap();
        assert_eq!(change.is_meant(before, after, &place), want, "{after}");
    };
    let (add, less) = (Change::Add(&endpoint), Change::Remove(&endpoint, true));
    let one = "sites:\n  a.com: 8080\n  b.com: 1\n";
    let two = "sites: { a.com: [8080, 8081], b.com: 1 }\n";
    check(add, one, two, true);
    check(add, one, one, false);
    check(
        add,
        one,
        "sites: { a.com: [8081, 8080], b.com: 1 }\n",
        false,
    );
    check(add, one, "sites: { a.com: [8080, 8081] }\n", false);
    check(
        add,
        one,
        "sites: { a.com: [8080, 8081], b.com: 2 }\n",
        false,
    );
    check(
        add,
        one,
        "sites: { b.com: 1, a.com: [8080, 8081] }\n",
        false,
    );
    check(
        add,
        one,
        "sites: { a.com: [8080, \"8081\"], b.com: 1 }\n",
        false,
    );
    check(
        add,
        one,
        "sites: { a.com: [8080, 8081], b.com: 1 }\nlog: 1\n",
        false,
    );
    check(add, one, "sites: { a.com: [8080, 8081], b.com: 1\n", false);
    check(
        add,
        one,
        "sites: { a.com: &x [8080, 8081], b.com: 1 }\n",
        false,
    );
    check(less, two, "sites: { a.com: [8080], b.com: 1 }\n", true);
    check(less, two, one, false);
    check(less, two, "sites: { b.com: 1 }\n", false);
    check(less, "sites: { a.com: 8081 }\n", "sites:\n", true);
    check(less, "sites: { a.com: 8081 }\n", "sites: {}\n", true);
    check(less, "sites: { a.com: 8081 }\n", "", false);
    check(Change::RemoveAll, two, "sites: { b.com: 1 }\n", true);
    check(Change::RemoveAll, two, "sites: { a.com: 1 }\n", false);
    check(
        Change::RemoveAll,
        "sites: { b.com: 1 }\n",
        "sites: { b.com: 1 }\n",
        false,
    );
}
