//! What README.md and sites.yaml say is so.

use std::path::Path;

use hostmux::config;
use hostmux::diagnostic::{Colour, Severity};

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The fenced blocks of a language, without the indentation of the list they stand in.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == format!("```{language}") {
            let inside = lines.by_ref().take_while(|line| line.trim() != "```");
            blocks.push(
                inside
                    .map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()))
                    .collect(),
            );
        }
    }
    blocks
}

#[test]
fn every_yaml_block_is_a_valid_configuration() {
    let blocks = blocks(&file("README.md"), "yaml");
    assert!(blocks.len() >= 3, "found {}", blocks.len());
    for text in blocks.iter().chain([&file("sites.yaml")]) {
        let checked = config::check(text, &|_| None);
        let errors = checked
            .found
            .iter()
            .filter(|found| found.severity == Severity::Error);
        assert_eq!(
            errors.count(),
            0,
            "{}",
            checked.render("README.md", text, Colour::Plain, 9)
        );
    }
}

#[test]
fn the_fault_that_is_shown_is_what_is_printed() {
    let readme = file("README.md");
    let text = "sites:\n  a.com: 8O80\n";
    let drawn = config::check(text, &|_| None).render("sites.yaml", text, Colour::Plain, 9);
    assert!(readme.contains(&drawn), "README.md does not show\n{drawn}");
}

/// The limits that the README tells are those of the code.
#[test]
fn the_limits_that_are_told_are_kept() {
    use hostmux::proxy::{intake, strict};
    let readme = file("README.md");
    let told = [
        format!(
            "{} KiB · {} KiB · {}",
            strict::TARGET_BYTES_MAX >> 10,
            strict::HEADER_BYTES_MAX >> 10,
            strict::HEADER_LINES_MAX,
        ),
        format!("at hand ({} KiB)", intake::KEPT_BYTES_MAX >> 10),
        format!(
            "{} s (`response_timeout`)",
            hostmux::upstream::RESPONSE_TIMEOUT.as_secs()
        ),
        format!(
            "for {} s (`wait_for_endpoint`)",
            hostmux::upstream::WAIT_FOR_ENDPOINT.as_secs()
        ),
        format!(
            "one paused site | 1,024 for {} s",
            hostmux::proxy::gate::HELD_TIMEOUT.as_secs()
        ),
        format!(
            "· {} KiB · 30 s",
            hostmux::server::control::BODY_BYTES_MAX >> 10
        ),
        format!("for up to {} s,", hostmux::server::DRAIN_TIMEOUT.as_secs()),
    ];
    for limit in told {
        assert!(readme.contains(&limit), "README.md does not say `{limit}`");
    }
}
