//! Where the configuration and the state are.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::server::reload::last_good::LastGood;

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

/// The file that is to be served: as [`find`], and also `./sites.yaml` if it is
/// gone and was served before.
pub(super) fn find_to_serve(named: Option<PathBuf>, state: &Path) -> anyhow::Result<PathBuf> {
    find(named).or_else(|nothing| {
        let gone = PathBuf::from("sites.yaml");
        match LastGood::of(&std::path::absolute(&gone)?, state).find() {
            Ok(Some(_)) => Ok(gone),
            Ok(None) | Err(_) => Err(nothing),
        }
    })
}

/// Where hostmux keeps what it makes itself: `$STATE_DIRECTORY`, else
/// `/var/lib/hostmux` as root, else `$XDG_STATE_HOME/hostmux`.
pub(super) fn state_directory() -> anyhow::Result<PathBuf> {
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

/// The control socket of a hostmux that is started here.
pub(super) fn control_socket() -> anyhow::Result<PathBuf> {
    Ok(runtime_directory()?.join("hostmux.sock"))
}

/// Where what need not outlive the machine's run is kept: the first of
/// `$RUNTIME_DIRECTORY`, else the state folder.
pub(super) fn runtime_directory() -> anyhow::Result<PathBuf> {
    // systemd puts `:` between several.
    let given = set("RUNTIME_DIRECTORY");
    let first = given.and_then(|given| {
        let given = given.to_str()?.split(':').next()?;
        Some(PathBuf::from(given))
    });
    match first {
        Some(folder) => Ok(folder),
        None => state_directory(),
    }
}

fn set(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}
