//! What holds of every edit, tried on files of many layouts.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{try_add, try_remove};
use crate::config::file::Value;
use crate::config::{Target, check};

/// Cases of one property, the same ones in every run: about a second.
const CASES: u32 = 400;

/// Sites, one indentation for each `\t`. `HOST` is its name, `#` a comment;
/// the endpoints are 1 and, of a list, 2.
const SITES: &[&str] = &[
    "\tHOST: 1\n",
    "\tHOST: 1 #\n",
    "\tHOST:   \"1\" #\n",
    "\tHOST: 'localhost:1' #\n",
    "\tHOST: #\n\t\t# #\n\t\t1 #\n",
    "\tHOST: [1]\n",
    "\tHOST: [1, 2] #\n",
    "\tHOST: [ 1 , 2 , ] #\n",
    "\tHOST: [1,\n\t\t2] #\n",
    "\tHOST: [ #\n\t\t1, #\n\t\t# #\n\t\t2 #\n\t] #\n",
    "\tHOST: [\n\t\t1,\n\t\t2, #\n\t]\n",
    "\tHOST: [\n\t\t{ address: 1 }, #\n\t\t{\n\t\t\taddress: 2, #\n\t\t},\n\t] #\n",
    "\tHOST:\n\t- 1\n",
    "\tHOST: #\n\t# #\n\t- 1 #\n\t# #\n\t- 2 #\n",
    "\tHOST:\n\t\t- 1\n\t\t- \"localhost:2\" #\n\t\t\t#\n",
    "\tHOST:\n\t\t-   address: 1 #\n\n\t\t-   address: http://localhost:2\n",
    "\tHOST:\n\t\t-\n\t\t\taddress: 1 #\n\t\t- # #\n\t\t\t2\n",
    "\tHOST: { upstream: 1 } #\n",
    "\tHOST: { upstream: [1, 2], hsts: on }\n",
    "\tHOST: {\n\t\tupstream: { endpoints: 1 }, #\n\t\thsts: on #\n\t}\n",
    "\tHOST:\n\t\tupstream: 1 #\n\t\t# hsts: on #\n",
    "\tHOST: #\n\n\t\thsts: on #\n\t\tupstream:\n\t\t\t- 1 #\n\n\t\t\t- 2\n",
    "\tHOST:\n\t\tupstream:\n\t\t- { address: 1 } #\n\t\t- 2\n\t\thsts: on\n",
    "\tHOST:\n\t\tupstream: { endpoints: [1, 2], connect_timeout: 1s } #\n",
    "\tHOST:\n\t\tupstream:\n\t\t\tconnect_timeout: 1s #\n\t\t\tendpoints: #\n\t\t\t\t- 1 #\n",
    "\t\"HOST\":\n\t\t\"upstream\" : \n\t\t\t'endpoints': [ 1, 2 ]\n\t\t\tconnect_timeout: 1s\n\n",
];

const BETWEEN: &[&str] = &[
    "",
    "",
    "",
    "\n",
    "\t# of the next #\n",
    "\n\t# group #\n\n",
    "# left #\n",
];
const HEADS: &[&str] = &[
    "",
    "# the front door #\n\n",
    "---\n",
    "listen:\n\thttps: 443 #\n\n",
    "\u{feff}",
];
const TAILS: &[&str] = &[
    "",
    "fallback: 9 #\n",
    "\n# others #\nfallback: 9\n",
    "\n\nlog: { format: json } #\n",
    "# the end #\n",
];

/// A file, and how many sites it has.
#[derive(Clone, Debug)]
struct File {
    text: String,
    sites: usize,
}

fn host(n: usize) -> String {
    format!("h{n}.test")
}

fn files() -> impl Strategy<Value = File> {
    let site = (select(BETWEEN), select(SITES)).prop_map(|(between, site)| [between, site]);
    (
        select(HEADS),
        prop::collection::vec(site, 1..4),
        select(TAILS),
        select(&[2, 2, 4, 3][..]),
        select(&["\n", "\n", "\r\n"][..]),
        any::<bool>(),
    )
        .prop_map(|(head, sites, tail, indent, eol, ends)| {
            let mut text = format!("{head}sites: #\n");
            for (n, site) in sites.iter().enumerate() {
                text += &site.concat().replace("HOST", &host(n));
            }
            text += tail;
            let mut text = numbered(&text)
                .replace('\t', &" ".repeat(indent))
                .replace('\n', eol);
            if !ends {
                text.truncate(text.trim_end().len());
            }
            File {
                text,
                sites: sites.len(),
            }
        })
}

/// Each comment gets a number, so that none is like another.
fn numbered(text: &str) -> String {
    let mut parts = text.split('#');
    let first = parts.next().unwrap_or_default().to_owned();
    parts
        .enumerate()
        .fold(first, |text, (n, part)| format!("{text}#{n}{part}"))
}

fn comments(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.split_once('#'))
        .map(|(_, comment)| comment.trim_end())
        .collect()
}

/// Each site with its own endpoints, as a right file has them.
fn sites(text: &str) -> Vec<(String, Vec<String>)> {
    let checked = check(text, &|_| None);
    let config = checked.config;
    let config = config.unwrap_or_else(|| panic!("{text}\n{:?}", checked.found));
    let sites = config.sites.into_iter().chain(config.fallback);
    sites
        .map(|site| {
            let endpoints = match site.route("/").map(|route| &route.target) {
                Some(Target::Upstream(upstream)) => {
                    upstream.endpoints.iter().map(ToString::to_string).collect()
                }
                Some(Target::Inherited | Target::Redirect(_)) | None => Vec::new(),
            };
            (site.name, endpoints)
        })
        .collect()
}

/// All that a text says; a list of one as that one, a site with nothing but an
/// upstream as that upstream.
fn meant(text: &str) -> Value {
    fn short(value: Value) -> Value {
        match value {
            Value::List(list) => {
                let mut list: Vec<Value> = list.into_iter().map(short).collect();
                match list.len() {
                    1 => list.remove(0),
                    _ => Value::List(list),
                }
            }
            Value::Mapping(entries) => {
                let entries = entries.into_iter().map(|(key, value)| (key, short(value)));
                let mut entries: Vec<_> = entries.collect();
                match entries.as_slice() {
                    [(key, _)] if key == "upstream" => entries.remove(0).1,
                    _ => Value::Mapping(entries),
                }
            }
            Value::Absent | Value::Null | Value::Switch(_) | Value::Number(_) | Value::Text(_) => {
                value
            }
        }
    }
    short(Value::read(text.trim_start_matches('\u{feff}')).unwrap())
}

/// How many lines of a text are not at the beginning or end of another one.
fn touched(before: &str, after: &str) -> usize {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| {
        pairs.take_while(|(one, other)| one == other).count()
    };
    let top = same(&mut before.iter().zip(&after));
    let bottom = same(&mut before[top..].iter().rev().zip(after[top..].iter().rev()));
    before.len() - top - bottom
}

fn holds<S: Strategy>(cases: u32, inputs: S, property: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, rng).run(&inputs, |input| {
        property(input);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn an_endpoint_more_and_less_again() {
    holds(
        CASES,
        (files(), any::<prop::sample::Index>()),
        |(file, which)| {
            let (text, n) = (file.text, which.index(file.sites + 1));
            let (name, new) = (host(n), n == file.sites);
            let after = try_add(&text, &name, &["777"]).unwrap_or_else(|no| panic!("{no}\n{text}"));
            let mut want = sites(&text);
            if new {
                want.insert(n, (name.clone(), Vec::new()));
            }
            want[n].1.push("localhost:777".to_owned());
            assert_eq!(sites(&after), want, "{after}");
            assert_eq!(comments(&after), comments(&text), "{after}");
            assert!(touched(&text, &after) <= 1, "{text}\n{after}");

            let back = try_remove(&after, &name, &["localhost:777"], new)
                .unwrap_or_else(|no| panic!("{no}\n{after}"));
            assert_eq!(meant(&back), meant(&text), "{back}");
            assert_eq!(comments(&back), comments(&text), "{back}");
            // One in short has become a list of one.
            if back != text {
                assert_eq!(back.replace(['[', ']'], ""), text.replace(['[', ']'], ""));
            }
        },
    );
}

#[test]
fn a_site_less() {
    holds(
        CASES,
        (files(), any::<prop::sample::Index>()),
        |(file, which)| {
            let name = host(which.index(file.sites));
            let Ok(after) = try_remove(&file.text, &name, &[], true) else {
                panic!("{}", file.text)
            };
            let mut want = sites(&file.text);
            want.retain(|(site, _)| *site != name);
            if !want.is_empty() {
                assert_eq!(sites(&after), want, "{after}");
            }
            // Nothing is new, and what is left stands in its order.
            let mut rest = file.text.lines();
            assert!(
                after.lines().all(|line| rest.any(|old| old == line)),
                "{}\n{after}",
                file.text
            );
        },
    );
}

#[test]
fn a_route_more_and_less_again() {
    holds(
        CASES,
        (files(), any::<prop::sample::Index>()),
        |(file, which)| {
            let text = file.text;
            let name = host(which.index(file.sites + 1));
            let place = format!("{name}/api");
            let after =
                try_add(&text, &place, &["777", "778"]).unwrap_or_else(|no| panic!("{no}\n{text}"));
            assert_eq!(comments(&after), comments(&text), "{after}");
            let back = try_remove(&after, &place, &["778"], false)
                .unwrap_or_else(|no| panic!("{no}\n{after}"));
            let back = try_remove(&back, &place, &["777"], true)
                .unwrap_or_else(|no| panic!("{no}\n{after}"));
            assert_eq!(comments(&back), comments(&text), "{back}");
            assert_eq!(meant(&back), meant(&text), "{back}");
        },
    );
}

/// Of any text there is a refusal, or another text.
#[test]
fn any_text_is_edited_or_not() {
    const WORDS: &[&str] = &[
        "sites:",
        "sites",
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        "\n  - ",
        "\r\n",
        "a.test",
        "\"*.a.test\"",
        ": ",
        ":",
        "3000",
        "[",
        "]",
        "{ ",
        " }",
        ", ",
        "upstream",
        "endpoints",
        "routes",
        "/api",
        "address",
        "redirect",
        "fallback: ",
        "\"",
        "'",
        " # ",
        "#",
        "*",
        "&a ",
        "!!x ",
        "|",
        ">",
        "? ",
        "---\n",
        "...\n",
        "\t",
        "~",
        "ü",
        "\u{feff}",
        "\u{2028}",
        "\u{85}",
        "\r",
        "<<",
        "- - ",
        "\\",
        "''",
    ];
    let text = prop::collection::vec(select(WORDS), 0..24).prop_map(|words| words.concat());
    let start = select(
        &[
            "",
            "sites:\n  a.test: ",
            "sites: { a.test: ",
            "sites:\n  a.test:\n    upstream: ",
        ][..],
    );
    holds(4 * CASES, (start, text), |(start, text)| {
        let text = format!("{start}{text}");
        for place in ["a.test", "*.a.test", "fallback", "a.test/api"] {
            let edits = [
                try_add(&text, place, &["3000", "777"]),
                try_add(&text, place, &["777"]),
                try_remove(&text, place, &["3000"], true),
                try_remove(&text, place, &[], true),
            ];
            for after in edits.into_iter().flatten() {
                assert_ne!(after, text);
                assert!(
                    Value::read(after.trim_start_matches('\u{feff}')).is_ok(),
                    "{after}"
                );
            }
        }
    });
}
