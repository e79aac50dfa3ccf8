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
    use hostmux::cli::doctor;
    use hostmux::config::FILE_BYTES_MAX;
    use hostmux::path::PREFIX_BYTES_MAX;
    use hostmux::path::spelling::READ_BYTES_MAX;
    use hostmux::proxy::{intake, retry, strict};
    use hostmux::site::gate::NOTICE_CHARS_MAX;
    use hostmux::upstream::discovery::{GRACE, RETRY_FIRST, RETRY_LAST, TTL_MAX, TTL_MIN};
    use hostmux::upstream::registry::{MEMBERS_MAX, WEIGHT_MAX};
    use hostmux::upstream::{eject, health};
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
            "one paused site | 1,{:03} for {} s",
            hostmux::proxy::HELD_MAX - 1000,
            hostmux::proxy::gate::HELD_TIMEOUT.as_secs()
        ),
        format!(
            "· {} KiB · 35 s",
            hostmux::server::control::BODY_BYTES_MAX >> 10
        ),
        format!(
            "sockets that are handed over | {} s · {} |",
            hostmux::server::handover::READY_TIMEOUT.as_secs(),
            hostmux::server::inherit::SOCKETS_MAX
        ),
        format!("up to {} of a kind", hostmux::server::reload::TOLD_MAX),
        format!("| {PREFIX_BYTES_MAX} bytes (of any"),
        format!("looked at) · {} KiB |", READ_BYTES_MAX >> 10),
        format!("| `sites.yaml` | {} MiB |", FILE_BYTES_MAX >> 20),
        format!("| {MEMBERS_MAX} · 0 to {WEIGHT_MAX} |"),
        format!(
            "| {} · {} s |",
            retry::ATTEMPTS_MAX,
            retry::RETRY_TIME_MAX.as_secs()
        ),
        format!(
            "| {} · {} s, doubling to {} min (`eject`)",
            eject::AFTER,
            eject::FOR.as_secs(),
            eject::FOR_MAX.as_secs() / 60
        ),
        format!(
            "| {} s, 1 s while down · {} s · {} · {} (`health_check`)",
            health::EVERY.as_secs(),
            health::TIMEOUT.as_secs(),
            health::DOWN_AFTER,
            health::UP_AFTER
        ),
        format!("| {NOTICE_CHARS_MAX} characters |"),
        format!(
            "its TTL, {} s to {} min · {} s, doubling to {} s |",
            TTL_MIN.as_secs(),
            TTL_MAX.as_secs() / 60,
            RETRY_FIRST.as_secs(),
            RETRY_LAST.as_secs()
        ),
        format!("| {} s · until there is one |", GRACE.as_secs()),
        format!("for up to {} s,", hostmux::server::DRAIN_TIMEOUT.as_secs()),
        format!(
            "| {} · {} · {} s · {} s |",
            doctor::names::NAMES_MAX,
            doctor::endpoints::QUESTIONS_MAX,
            doctor::endpoints::probe::TIMEOUT.as_secs(),
            doctor::each::TIME_MAX.as_secs()
        ),
    ];
    for limit in told {
        assert!(readme.contains(&limit), "README.md does not say `{limit}`");
    }
}
