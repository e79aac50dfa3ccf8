//! `hostmux service`: hostmux as a service of systemd.
//!
//! The units are those of `packaging/`, with the binary, the configuration and
//! the addresses of this machine.

mod files;
mod install;
mod plan;
mod status;
mod system;
mod uninstall;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The binary of a service that is not one of a package.
const BINARY: &str = "/usr/local/bin/hostmux";
/// Its configuration, where none is named.
const CONFIG: &str = "/etc/hostmux/sites.yaml";
/// Its state, as the unit says it.
const STATE: &str = "/var/lib/hostmux";
const SERVICE: &str = "hostmux.service";
const SOCKET: &str = "hostmux.socket";
/// The user it runs as.
const USER: &str = "hostmux";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write the units, make the user, enable and start the service
    Install(InstallArguments),
    /// Stop and disable the service and remove its units; configuration and state stay
    Uninstall(UninstallArguments),
    /// Tell how the service is; exit 0 if it runs, 1 if not, 4 if it is degraded
    Status(StatusArguments),
}

#[derive(Debug, clap::Args)]
struct InstallArguments {
    /// The configuration file of the service; /etc/hostmux/sites.yaml without it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct UninstallArguments {
    #[command(flatten)]
    how: How,
}

/// What changes the system.
#[derive(Debug, clap::Args)]
struct How {
    /// Print every file and command, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Even units that were edited by hand
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
struct StatusArguments {
    /// Print an object for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

/// The system that is meant.
#[derive(Debug, clap::Args)]
struct At {
    /// What stands for `/`: for tests, which put commands of their own on PATH
    #[arg(long, value_name = "FOLDER", hide = true, default_value = "/")]
    root: PathBuf,
}

impl At {
    /// Where a path of the system lies.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What a path of the system means once all links are followed.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let (real, root) = (self.path(path).canonicalize(), self.root.canonicalize());
        let below = real.ok()?.strip_prefix(root.ok()?).ok()?.to_owned();
        Some(Path::new("/").join(below))
    }

    fn is_whole_system(&self) -> bool {
        self.root == Path::new("/")
    }
}

/// `config`: named before the command.
pub(super) fn run(asked: Arguments, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    match asked.command {
        Command::Install(install) => install::run(&install, config),
        Command::Uninstall(uninstall) => uninstall::run(&uninstall.how),
        Command::Status(status) => status::run(&status),
    }
}
