//! From a file's name to a configuration with its certificates, or to its faults.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::config::{self, Checked, Config};
use crate::diagnostic::Colour;
use crate::snapshot::Snapshot;
use crate::tls::{self, Inventory, LocalCa, Tls};

/// How many faults are printed at most; the rest is counted.
const PRINTED_MAX: usize = 100;

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

/// Reads and judges a file; `-` is standard input.
pub(super) fn load(file: &Path) -> anyhow::Result<Loaded> {
    let (name, text) = if file == Path::new("-") {
        (
            "<stdin>".to_owned(),
            read(std::io::stdin(), "standard input")?,
        )
    } else {
        let name = file.display().to_string();
        let opened = fs::File::open(file).with_context(|| format!("cannot read {name}"))?;
        if opened.metadata().is_ok_and(|meta| meta.is_dir()) {
            bail!("{name} is a directory\n  = help: name the file inside it: {name}/sites.yaml");
        }
        let text = read(opened, &name)?;
        (name, text)
    };
    let base = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    Ok(judge(name, text, base))
}

/// Judges a text; relative paths in it are beside `base`.
pub(super) fn judge(name: String, text: String, base: &Path) -> Loaded {
    let mut checked = config::check(&text, &|name| std::env::var(name).ok());
    let inventory = checked.config.as_ref().map(|config| {
        let now = SystemTime::now();
        Inventory::load(&tls_settings(config), base, now)
    });
    let inventory = inventory.map(|(inventory, found)| {
        checked.add(found);
        inventory
    });
    Loaded {
        name,
        text,
        checked,
        inventory,
    }
}

fn read(from: impl Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    from.take(config::FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {name}"))?;
    if bytes.len() > config::FILE_BYTES_MAX {
        bail!("{name} is larger than {} MiB", config::FILE_BYTES_MAX >> 20);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => bail!(
            "{name} is not UTF-8 (byte {} is no part of a character)\n  = help: save it as UTF-8",
            error.utf8_error().valid_up_to() + 1,
        ),
    }
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
    Ok(Snapshot::build(config, tls, None))
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
