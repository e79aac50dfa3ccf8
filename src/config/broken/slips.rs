//! Slips of the hand in the lines of one site: the others are as they were.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Settings, RngAlgorithm, TestRng, TestRunner};

use crate::config::{Config, SiteConfig, check};

/// What stands before the sites and behind them.
const ABOVE: &str = "listen: { https: 8443, http: 8080 }\ntrusted_proxies: [10.0.0.1]\n\
                     defaults: { max_body: 1MiB, plain_http: serve }\nsites:\n";
const BELOW: &str = "fallback: [7000, \"unix:/run/fallback.sock\"]\n";

/// Sites in every form. No few slips make one name of another.
const SITES: &[&str] = &[
    "  alpha.example: 3000\n",
    "  bravo.example:\n    upstream: [3001, 3002]\n    max_body: 2MiB\n",
    "  \"*.charlie.example\": { upstream: \"unix:/run/c.sock\", host: c.internal }\n",
    "  delta.example:\n    routes:\n      /api: { upstream: 3003, strip_prefix: true }\n      \
     /old: { redirect: \"https://new.example/\" }\n    upstream: 3004\n",
    "  echo.example: [3005, \"[::1]:3006\"] # two\n",
    "  foxtrot.example:\n    redirect: https://alpha.example/\n    hsts: on\n",
    "  golf.example: { upstream: 3007, max_body: off }\n",
];

/// What is written by mistake, or left over.
const SCRAPS: &[&str] = &[
    " ",
    "  ",
    "\t",
    ":",
    ": ",
    ",",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "#",
    " #",
    "&x ",
    "*x",
    "!t ",
    "|",
    ">",
    "- ",
    "? ",
    "<<: ",
    "~",
    "${UNSET}",
    "0",
    "x",
    "\n",
    "\n  ",
    "\n    ",
    "upstream: 1",
    "listen: 1\n",
    "sites:\n",
    "---\n",
    "...\n",
    "\u{feff}",
    "\u{0}",
    "ü",
    "https://",
];

/// What a hand does wrong. A first number is a character or a line.
#[derive(Clone, Debug)]
enum Slip {
    Scrap(usize, &'static str),
    /// So many characters.
    Gone(usize, usize),
    LineTwice(usize),
    LineGone(usize),
    /// By so many spaces.
    Indented(usize, usize),
    Dedented(usize, usize),
}

fn slip() -> impl Strategy<Value = Slip> {
    prop_oneof![
        (any::<usize>(), select(SCRAPS)).prop_map(|(at, scrap)| Slip::Scrap(at, scrap)),
        (any::<usize>(), 1..4_usize).prop_map(|(at, count)| Slip::Gone(at, count)),
        any::<usize>().prop_map(Slip::LineTwice),
        any::<usize>().prop_map(Slip::LineGone),
        (any::<usize>(), 1..5_usize).prop_map(|(at, by)| Slip::Indented(at, by)),
        (any::<usize>(), 1..5_usize).prop_map(|(at, by)| Slip::Dedented(at, by)),
    ]
}

/// The lines of a site after a slip. What ends them stays.
fn slipped(lines: &str, slip: &Slip) -> String {
    let mut chars: Vec<char> = lines.trim_end_matches('\n').chars().collect();
    let mut rows: Vec<String> = lines.lines().map(str::to_owned).collect();
    match *slip {
        Slip::Scrap(at, scrap) => {
            let at = at % (chars.len() + 1);
            chars.splice(at..at, scrap.chars());
            return chars.into_iter().chain(['\n']).collect();
        }
        Slip::Gone(at, count) if !chars.is_empty() => {
            let at = at % chars.len();
            chars.drain(at..chars.len().min(at + count));
            return chars.into_iter().chain(['\n']).collect();
        }
        _ if rows.is_empty() => {}
        Slip::Gone(..) => {}
        Slip::LineTwice(n) => {
            let n = n % rows.len();
            rows.insert(n, rows[n].clone());
        }
        Slip::LineGone(n) => {
            rows.remove(n % rows.len());
        }
        Slip::Indented(n, by) => {
            let n = n % rows.len();
            rows[n].insert_str(0, &" ".repeat(by));
        }
        Slip::Dedented(n, by) => {
            let n = n % rows.len();
            let spaces = rows[n].chars().take_while(|c| *c == ' ').count();
            rows[n].drain(..spaces.min(by));
        }
    }
    rows.into_iter().map(|row| row + "\n").collect()
}

fn file(changed: Option<(usize, &str)>) -> String {
    let sites = SITES.iter().enumerate().map(|(n, lines)| match changed {
        Some((site, changed)) if site == n => changed,
        _ => lines,
    });
    format!("{ABOVE}{}{BELOW}", sites.collect::<String>())
}

fn read(text: &str) -> Option<Config> {
    check(text, &|_| None).config
}

/// Whether the first key of a site's lines stands deeper than a site.
fn is_deeper(lines: &str) -> bool {
    let mut rows = lines.lines().filter(|row| {
        let row = row.trim_start();
        !row.is_empty() && !row.starts_with('#')
    });
    rows.next().is_none_or(|row| row.starts_with("   "))
}

fn without_lines(site: &SiteConfig) -> SiteConfig {
    let mut site = site.clone();
    site.line = 0;
    site.routes.iter_mut().for_each(|route| route.line = 0);
    site
}

/// The same cases in every run: about two seconds.
const CASES: u32 = 1_000;

#[test]
fn the_other_sites_are_as_they_were() {
    let config = Settings {
        cases: CASES,
        failure_persistence: None,
        ..Settings::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let slips = (0..SITES.len(), vec(slip(), 1..4));
    let whole = read(&file(None)).unwrap();
    assert_eq!(whole.broken, []);
    let ran = TestRunner::new_with_rng(config, rng).run(&slips, |(site, slips)| {
        let lines = slips
            .iter()
            .fold(SITES[site].to_owned(), |lines, slip| slipped(&lines, slip));
        let text = file(Some((site, &lines)));
        let Some(config) = read(&text) else {
            return Ok(());
        };
        let settings = |config: &Config| {
            (
                config.listen.clone(),
                config.trusted_proxies.clone(),
                config.fallback.as_ref().map(without_lines),
            )
        };
        prop_assert_eq!(settings(&config), settings(&whole), "\n{}", &text);
        for (n, before) in whole.sites.iter().enumerate() {
            // What is indented deeper belongs to the site above, whatever it was.
            let above = n + 1 == site && is_deeper(&lines);
            if n == site || above {
                continue;
            }
            let mut now = config.sites.iter().filter(|now| now.name == before.name);
            let now = now.next().map(without_lines);
            prop_assert_eq!(now, Some(without_lines(before)), "\n{}", &text);
        }
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}
