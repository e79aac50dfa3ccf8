//! `hostmux check`: every fault and warning at once, or a summary.

#![allow(clippy::print_stdout)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{FAILED, load};
use crate::config::{Config, ListenAddress, Target};

pub(super) fn run(named: Option<PathBuf>, as_json: bool) -> anyhow::Result<ExitCode> {
    let file = load::find(named)?;
    let loaded = load::load(&file)?;
    if as_json {
        println!(
            "{:#}",
            serde_json::to_value(loaded.checked.entries(&loaded.name))?
        );
    } else {
        eprint!(
            "{}",
            loaded.render(super::colour(std::io::stderr().is_terminal()))
        );
        if let Some(config) = &loaded.checked.config {
            println!("{}: {}", loaded.name, summary(config));
        }
    }
    Ok(match loaded.checked.config {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    })
}

/// `3 sites, fallback localhost:8888; https on port 443, http on port 80`
fn summary(config: &Config) -> String {
    let sites = match config.sites.len() {
        1 => "1 site".to_owned(),
        count => format!("{count} sites"),
    };
    let fallback = config.fallback.as_ref().map_or_else(
        || "no fallback".to_owned(),
        |fallback| match &fallback.target {
            Target::Redirect(redirect) => format!("fallback to {}", redirect.template),
            Target::Upstream(upstream) => {
                let endpoints: Vec<_> =
                    upstream.endpoints.iter().map(ToString::to_string).collect();
                format!("fallback {}", endpoints.join(" and "))
            }
        },
    );
    let listen = |addresses: &[ListenAddress]| match addresses {
        [] => "off".to_owned(),
        addresses => {
            let told: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!("on {}", told.join(" and "))
        }
    };
    let (https, http) = (listen(&config.listen.https), listen(&config.listen.http));
    format!("{sites}, {fallback}; https {https}, http {http}")
}
