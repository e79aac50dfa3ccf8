//! From a file's name to what is served, at the start and while it runs.
//!
//! One function does it while it runs, [`Source::take_over`]: whoever notices
//! that the file has changed, by being told or by watching, calls it.

mod changes;
pub mod last_good;
mod refused;
mod source;
mod start;
mod taken;
mod told;

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use crate::config::{self, Checked, Config};
use crate::diagnostic::{Colour, Diagnostic, Place, Severity, Span};
use crate::host::HostPattern;
use crate::snapshot::Snapshot;
use crate::tls::{self, CaFault, Inventory, LocalCa, Tickets, Tls};
use crate::upstream::Commons;
use crate::upstream::sticky::Secret;

pub use self::changes::{Certificate, Change, Changes};
pub use self::refused::Refused;
pub use self::source::{Cause, Rejected, Source, Turn};
pub use self::start::{Ready, Start};
pub use self::taken::{Taken, Watched};
pub use self::told::{TOLD_MAX, broken};

/// How many faults are printed or kept at most; the rest is counted.
pub const PRINTED_MAX: usize = 100;

/// A configuration as it stands in a file, judged whole.
pub struct Loaded {
    /// As it is told: a path, or `<stdin>`.
    pub name: String,
    pub text: String,
    pub checked: Checked,
    /// There exactly if the text itself has no error.
    pub inventory: Option<Inventory>,
}

impl Loaded {
    /// What can be run: there if every error is a single site's own.
    pub fn take(&mut self) -> Option<(Config, Inventory)> {
        Some((self.checked.config.take()?, self.inventory.take()?))
    }

    /// The same as data, each as `check --json` tells it: the errors, and the
    /// warnings as far as there is room ([`PRINTED_MAX`]).
    pub fn told(&self) -> Value {
        let is_error = |fault: &&Diagnostic| fault.severity == Severity::Error;
        let errors = self.checked.found.iter().filter(is_error);
        let warnings = self.checked.found.iter().filter(|fault| !is_error(fault));
        let told = errors.chain(warnings).take(PRINTED_MAX);
        let find = |place: &Place| self.checked.places.span(place);
        let told: Vec<_> = told.map(|fault| fault.entry(&self.name, find)).collect();
        serde_json::to_value(told).unwrap_or_default()
    }

    /// Every fault and warning, as a compiler prints them.
    pub fn render(&self, colour: Colour) -> String {
        self.checked
            .render(&self.name, &self.text, colour, PRINTED_MAX)
    }
}

/// Reads and judges a file; `-` is standard input. A file that cannot be read
/// is a fault like any other.
pub fn load(file: &Path) -> Loaded {
    if file == Path::new("-") {
        let read = bytes_of(io::stdin().lock());
        return judge_bytes("<stdin>".to_owned(), read, file, None);
    }
    let read = fs::File::open(file).and_then(bytes_of);
    judge_bytes(file.display().to_string(), read, file, None)
}

/// The same of a file that is served, and is one still: of certificates that do
/// not load now, those that were read before are kept.
pub fn load_again(file: &Path, previous: &Inventory) -> Loaded {
    judge_bytes(file.display().to_string(), read(file), file, Some(previous))
}

/// The same of a file that may have become something else.
fn load_alone(file: &Path) -> Loaded {
    judge_bytes(file.display().to_string(), read(file), file, None)
}

/// The bytes of a file. Never waits for a writer, as a pipe in its place would.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(file)?;
    if !(found.is_file() || found.is_dir()) {
        return Err(io::Error::other("it is not a file"));
    }
    fs::File::open(file).and_then(bytes_of)
}

fn judge_bytes(
    name: String,
    read: io::Result<Vec<u8>>,
    file: &Path,
    previous: Option<&Inventory>,
) -> Loaded {
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
    match String::from_utf8(bytes) {
        Ok(text) => judge_again(name, text, folder_of(file), previous),
        Err(error) => {
            let fault = not_utf8(error.as_bytes(), error.utf8_error().valid_up_to());
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            refused(text, fault)
        }
    }
}

/// Judges a text; relative paths in it are beside `base`.
pub fn judge(name: String, text: String, base: &Path) -> Loaded {
    judge_again(name, text, base, None)
}

fn judge_again(name: String, text: String, base: &Path, previous: Option<&Inventory>) -> Loaded {
    let mut checked = config::check(&text, &|name| std::env::var(name).ok());
    let mut inventory = None;
    if let Some(config) = &checked.config {
        let (loaded, found) =
            Inventory::load(&tls_settings(config), base, SystemTime::now(), previous);
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

/// What relative paths in a file are beside.
pub fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
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
    let mut named: HashSet<&HostPattern> = sites.clone().flat_map(|site| &site.hosts).collect();
    // Their visitors are to read why. Of two that have a name the one without
    // a fault has it, and shows its own certificate.
    let broken = config.broken.iter().map(|site| tls::SiteSettings {
        at: site.path(),
        hosts: site
            .hosts
            .iter()
            .filter(|host| named.insert(host))
            .cloned()
            .collect(),
        certificate: site.certificate.clone(),
    });
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
            .chain(broken)
            .collect(),
        authorities: config.authorities.clone(),
    }
}

/// Why a configuration without faults could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    #[error("hostmux's own CA cannot be opened")]
    Authority(#[source] CaFault),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("the reload ended by a panic")]
    Panicked,
}

/// Opens what a configuration without faults names. `tickets`: those of
/// `previous`, or new ones. `state`: where hostmux keeps what it makes itself.
/// What `previous` has open stays.
pub fn open(
    config: &Config,
    inventory: Inventory,
    tickets: Arc<Tickets>,
    state: &Path,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, OpenFault> {
    let had = previous.and_then(|previous| previous.tls.authority());
    let authority = match (config.certificates.otherwise, had) {
        (tls::Otherwise::Refuse, _) => None,
        (tls::Otherwise::LocalCa, Some(had)) => Some(had.clone()),
        (tls::Otherwise::LocalCa, None) => Some(Arc::new(
            LocalCa::open(state, SystemTime::now()).map_err(OpenFault::Authority)?,
        )),
    };
    let tls = Tls::new(inventory, authority, tickets).map_err(OpenFault::Tls)?;
    let commons = match previous {
        Some(previous) => previous.commons.clone(),
        None => Commons::new(secret(state)),
    };
    Ok(Snapshot::build(config, tls, commons, previous))
}

/// Without a secret that lasts, sticky clients may move at a restart: no
/// reason not to start.
fn secret(state: &Path) -> Secret {
    Secret::open(state).unwrap_or_else(|error| {
        let why = match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        tracing::warn!(why, "sticky cookies will not outlive this process");
        Secret::fleeting()
    })
}
