//! From a file's name to a configuration with its certificates, or to its faults.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::config::{self, Checked, Config};
use crate::diagnostic::{Colour, Diagnostic, Place, Span};
use crate::snapshot::Snapshot;
use crate::tls::{self, Inventory, LocalCa, Tls};
use crate::upstream::Commons;
use crate::upstream::sticky::Secret;

/// How many faults are printed at most; the rest is counted.
pub(super) const PRINTED_MAX: usize = 100;

/// A configuration as it stands in a file, judged whole.
pub(super) struct Loaded {
    /// As it is told: a path, or `<stdin>`.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) checked: Checked,
    /// There exactly if the text itself has no error.
    pub(super) inventory: Option<Inventory>,
}

impl Loaded {
    /// What can be run: there exactly if no error was found.
    pub(super) fn take(&mut self) -> Option<(Config, Inventory)> {
        Some((self.checked.config.take()?, self.inventory.take()?))
    }

    /// Every fault and warning, as a compiler prints them.
    pub(super) fn render(&self, colour: Colour) -> String {
        self.checked
            .render(&self.name, &self.text, colour, PRINTED_MAX)
    }
}

/// The file that is meant: named, or found where it usually is.
pub(super) fn find(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named.or_else(|| std::env::var_os("HOSTMUX_CONFIG").map(PathBuf::from)) {
        return Ok(named);
    }
    let usual = [
        Path::new("sites.yaml"),
        Path::new("/etc/hostmux/sites.yaml"),
    ];
    match usual.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.to_path_buf()),
        None => bail!(
            "there is no configuration: neither ./sites.yaml nor /etc/hostmux/sites.yaml exists\n  \
             = help: name one with `-c FILE`, or see `hostmux demo`"
        ),
    }
}

/// Reads and judges a file; `-` is standard input. A file that cannot be read
/// is a fault like any other.
pub(super) fn load(file: &Path) -> Loaded {
    let stdin = file == Path::new("-");
    let name = if stdin {
        "<stdin>".to_owned()
    } else {
        file.display().to_string()
    };
    let read = if stdin {
        bytes_of(io::stdin().lock())
    } else {
        fs::File::open(file).and_then(bytes_of)
    };
    let refused = |text: String, fault: Diagnostic| Loaded {
        name: name.clone(),
        text,
        checked: Checked::refused(fault),
        inventory: None,
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => return refused(String::new(), unreadable(&name, &error)),
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let fault = not_utf8(error.as_bytes(), error.utf8_error().valid_up_to());
            return refused(
                String::from_utf8_lossy(error.as_bytes()).into_owned(),
                fault,
            );
        }
    };
    let base = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    judge(name, text, base)
}

/// Judges a text; relative paths in it are beside `base`.
pub(super) fn judge(name: String, text: String, base: &Path) -> Loaded {
    let mut checked = config::check(&text, &|name| std::env::var(name).ok());
    let mut inventory = None;
    if let Some(config) = &checked.config {
        let (loaded, found) = Inventory::load(&tls_settings(config), base, SystemTime::now());
        inventory = Some(loaded);
        checked.add(found);
    }
    Loaded {
        name,
        text,
        checked,
        inventory,
    }
}

/// Reads a little more than is taken, so that more is noticed.
fn bytes_of(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(config::FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(name: &str, error: &io::Error) -> Diagnostic {
    let kind = error.kind();
    let why = if kind == io::ErrorKind::NotFound {
        "it is not there".to_owned()
    } else {
        error.to_string()
    };
    let fault = Diagnostic::error(Place::File, format!("cannot read {name}: {why}"));
    if kind == io::ErrorKind::IsADirectory {
        return fault.help(format!("name the file inside it: {name}/sites.yaml"));
    }
    fault
}

fn not_utf8(bytes: &[u8], valid_bytes: usize) -> Diagnostic {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Diagnostic::error(Place::File, "the file is in UTF-16").help("save it as UTF-8");
    }
    let before = String::from_utf8_lossy(&bytes[..valid_bytes]);
    let lines = before.split('\n');
    let last = before.rsplit('\n').next().unwrap_or_default();
    let span = Span {
        line: lines.count(),
        column: last.trim_start_matches('\u{feff}').chars().count() + 1,
        width: 1,
    };
    Diagnostic::error(Place::Span(span), "the file is not in UTF-8")
        .label("the first byte that is not")
        .help("save it as UTF-8")
}

fn tls_settings(config: &Config) -> tls::Settings {
    let sites = config.sites.iter().chain(&config.fallback);
    tls::Settings {
        directory: config.certificates.directory.clone(),
        directory_is_required: config.certificates.directory_is_required,
        otherwise: config.certificates.otherwise,
        sites: sites
            .map(|site| tls::SiteSettings {
                at: site.path(),
                hosts: site.hosts.clone(),
                certificate: site.certificate.clone(),
            })
            .collect(),
        authorities: config.authorities.clone(),
    }
}

/// Opens what a configuration without faults names.
pub(super) fn open(
    config: &Config,
    inventory: Inventory,
    state: &Path,
) -> anyhow::Result<Snapshot> {
    let authority = match config.certificates.otherwise {
        tls::Otherwise::Refuse => None,
        tls::Otherwise::LocalCa => Some(Arc::new(
            LocalCa::open(state, SystemTime::now()).context("hostmux's own CA cannot be opened")?,
        )),
    };
    let tls = Tls::new(inventory, authority, None).context("TLS cannot be set up")?;
    let commons = Commons::new(Secret::fleeting());
    Ok(Snapshot::build(config, tls, commons, None))
}

/// Where hostmux keeps what it makes itself: `$STATE_DIRECTORY`, else
/// `/var/lib/hostmux` as root, else `$XDG_STATE_HOME/hostmux`.
pub(super) fn state_directory() -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(directory) = set("STATE_DIRECTORY") {
        return Ok(directory);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/hostmux"));
    }
    let home = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    match home {
        Some(home) => Ok(home.join("hostmux")),
        None => bail!("there is no place for state: set STATE_DIRECTORY or HOME"),
    }
}
