//! `hostmux check`: every fault and warning of a `sites.yaml`, or what it comes to.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::{DEGRADED, FAILED, endpoints, load, out};
use crate::config::{Config, ListenAddress, SiteConfig, Target};
use crate::diagnostic::{Colour, Severity};
use crate::server::reload::{self, Loaded};

/// How the outcome is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text(Colour),
    /// An array with an object for each fault.
    Json,
}

pub(super) fn run(named: Option<PathBuf>, as_json: bool) -> anyhow::Result<ExitCode> {
    let file = load::find(named)?;
    let loaded = reload::load(&file);
    let format = if as_json {
        Format::Json
    } else {
        Format::Text(super::colour(io::stdout().is_terminal()))
    };
    out::write(|out| print(&loaded, format, out))?;
    Ok(match &loaded.checked.config {
        Some(config) if config.is_degraded() => ExitCode::from(DEGRADED),
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    })
}

/// Prints what was found, and in text what it comes to.
fn print(loaded: &Loaded, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &loaded.checked.entries(&loaded.name))?;
            writeln!(out)
        }
        Format::Text(colour) => {
            let drawn = loaded.render(colour);
            out.write_all(drawn.as_bytes())?;
            if !drawn.is_empty() {
                writeln!(out)?;
            }
            writeln!(out, "{}: {}", loaded.name, outcome(loaded))
        }
    }
}

fn outcome(loaded: &Loaded) -> String {
    let count = |severity| {
        let found = loaded.checked.found.iter();
        found.filter(|fault| fault.severity == severity).count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let warned = match warnings {
        0 => String::new(),
        _ => format!(", {}", counted(warnings, "warning")),
    };
    match &loaded.checked.config {
        None => format!("{}{warned}", counted(errors, "error")),
        Some(config) if config.is_degraded() => {
            let names: Vec<String> = config
                .broken
                .iter()
                .map(|site| format!("`{}`", site.name))
                .collect();
            format!(
                "{}{warned}; degraded: {} would be served without {}",
                counted(errors, "error"),
                counted(
                    config.sites.len() + usize::from(config.fallback.is_some()),
                    "site"
                ),
                joined(&names),
            )
        }
        Some(config) => format!("{}{warned}", summary(config)),
    }
}

/// `3 sites, fallback localhost:8888; https on port 443, http on port 80`
fn summary(config: &Config) -> String {
    let own = |site: &'_ SiteConfig| site.route("/").map(|route| route.target.clone());
    let fallback = match config.fallback.as_ref().and_then(own) {
        None | Some(Target::Inherited) => String::new(),
        Some(Target::Upstream(upstream)) => format!(", fallback {}", endpoints::told(&upstream)),
        Some(Target::Redirect(redirect)) => format!(", fallback to {}", redirect.template),
    };
    let listeners = |scheme: &str, addresses: &[ListenAddress]| match addresses {
        [] => format!("{scheme} off"),
        addresses => format!("{scheme} on {}", joined(addresses)),
    };
    format!(
        "{}{fallback}; {}, {}",
        counted(config.sites.len(), "site"),
        listeners("https", &config.listen.https),
        listeners("http", &config.listen.http),
    )
}

fn joined(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(" and ")
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::FILE_BYTES_MAX;

    fn printed(text: &[u8], format: Format) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sites.yaml");
        std::fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let loaded = reload::load(&file);
        print(&loaded, format, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let out = out.replace(&format!("{}/", folder.path().display()), "");
        (out, loaded.checked.config.is_some())
    }

    #[test]
    fn a_valid_file_is_summed_up() {
        let check = |text: &str, want: &str| {
            let (out, valid) = printed(text.as_bytes(), Format::Text(Colour::Plain));
            assert_eq!(out, format!("sites.yaml: {want}\n"));
            assert!(valid);
        };
        check(
            "sites: { a.test: 1, b.test: [2, 3] }\nfallback: 8888\n",
            "2 sites, fallback localhost:8888; https on port 443, http on port 80",
        );
        check(
            "listen: { https: [8443, \"127.0.0.1:9443\"], http: off }\nsites: { a.test: 1 }\n",
            "1 site; https on port 8443 and 127.0.0.1:9443, http off",
        );
    }

    #[test]
    fn a_broken_file_is_told_and_counted() {
        let check = |text: &str, want: &str, is_served: bool| {
            let (out, served) = printed(text.as_bytes(), Format::Text(Colour::Plain));
            assert!(out.starts_with("error: "), "{out}");
            assert!(out.ends_with(&format!("\n\nsites.yaml: {want}\n")), "{out}");
            assert_eq!(served, is_served, "{out}");
        };
        check(
            "sites: { a.test: 0, b.test: [2, 2] }\n",
            "1 error, 1 warning; degraded: 1 site would be served without `a.test`",
            true,
        );
        check(
            "sites: { a.test: 0, b.test: 1 }\nfallback: 0\n",
            "2 errors; degraded: 1 site would be served without `fallback` and `a.test`",
            true,
        );
        check(
            "listen: { http: 0x }\nsites: { a.test: 1 }\n",
            "1 error",
            false,
        );
        // Nothing would be left.
        check("sites: { a.test: 0 }\n", "1 error", false);
    }

    #[test]
    fn json_says_the_same_as_data() {
        let (out, _) = printed("sites: { ä.test: 0 }\n".as_bytes(), Format::Json);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        let want = serde_json::json!([{
            "severity": "error",
            "file": "sites.yaml",
            "line": 1,
            "column": 18,
            "width": 1,
            "message": "0 is not a port that can be connected to",
            "label": "ports go from 1 to 65535",
            "help": null,
            "path": "sites.ä.test",
            "other": null,
        }]);
        assert_eq!(
            json[0]["file"]
                .as_str()
                .map(|file| file.ends_with("sites.yaml")),
            Some(true)
        );
        assert_eq!(json, want);
        assert_eq!(printed(b"sites: { a.test: 1 }", Format::Json).0, "[]\n");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let check = |bytes: &[u8], want: &str| {
            let (out, valid) = printed(bytes, Format::Text(Colour::Plain));
            assert!(out.contains(want), "{out}");
            assert!(!valid);
        };
        check(b"sites:\n  b\xfccher.test: 80\n", " --> sites.yaml:2:4\n");
        check(b"\xff\xfes\0i\0", "in UTF-16");
        check(&vec![b' '; FILE_BYTES_MAX + 1], "larger than 4MiB");
        let gone = reload::load(Path::new("nowhere/sites.yaml")).checked;
        assert_eq!(gone.found.len(), 1);
        assert!(gone.found[0].message.ends_with("it is not there"));
    }

    #[test]
    fn many_faults_are_counted_rather_than_drawn() {
        let text: String = (0..150).map(|n| format!("  s{n}.test: x\n")).collect();
        let (out, _) = printed(
            format!("sites:\n{text}").as_bytes(),
            Format::Text(Colour::Plain),
        );
        assert_eq!(out.matches("error: ").count(), reload::PRINTED_MAX);
        assert!(
            out.ends_with("and 50 more\n\nsites.yaml: 150 errors\n"),
            "{out}"
        );
    }

    #[test]
    fn certificates_count_too() {
        let text =
            b"sites: { a.test: { upstream: 1, certificate: { chain: no.pem, key: no.key } } }\n";
        let (out, valid) = printed(text, Format::Text(Colour::Plain));
        assert!(
            out.contains("sites.yaml:1:") && out.contains("no.pem"),
            "{out}"
        );
        assert!(!valid);
    }
}
