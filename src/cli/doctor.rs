//! `hostmux doctor`: looks at all that hostmux lives on, and says what is wrong,
//! why it matters and what mends it. Changes nothing.
//!
//! Each check is a file here: it gathers what there is to see, and judges what
//! was gathered, which is pure. What this user may not see is said to be unseen.

pub mod clock;
mod configuration;
pub mod descriptors;
pub mod finding;
pub mod permissions;
pub mod ports;
mod print;
mod program;
pub mod service;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::finding::{Finding, Severity, worst};
use self::permissions::{Role, Seen};
use self::service::{Life, Running};
use super::control::client::SERVICE_SOCKET;
use super::{FAILED, load, out};
use crate::server::reload;

/// The exit code where a warning is the worst.
const WARNED: u8 = 4;
/// The secret of sticky cookies, in the state folder.
const STICKY_KEY: &str = "sticky.key";

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArguments {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print an object for programs
    #[arg(long)]
    json: bool,
}

/// `config`: named before the command.
pub(super) fn run(asked: DoctorArguments, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let findings = examine(asked.config.or(config))?;
    match asked.json {
        true => out::say(format_args!("{:#}", print::json(&findings)))?,
        false => {
            let colour = super::colour(io::stdout().is_terminal());
            out::write(|out| print::text(&findings, colour, out as &mut dyn Write))?;
        }
    }
    Ok(match worst(&findings) {
        Severity::Ok | Severity::Note => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(WARNED),
        Severity::Error => ExitCode::from(FAILED),
    })
}

/// All checks, in the order in which they are told: the file, this machine,
/// the way to it, what stands behind it.
fn examine(named: Option<PathBuf>) -> anyhow::Result<Vec<Finding>> {
    let file = load::find(named);
    let (running, unit) = service::gather();
    let known = file.as_deref().ok();
    let life = Life::of(&running, unit.as_ref(), known);
    let state = load::state_directory().ok();

    let mut findings = Vec::new();
    let mut of_ports = Vec::new();
    match &file {
        Err(absent) => findings.push(configuration::absent(absent)),
        Ok(file) => {
            let loaded = reload::load(file);
            findings.extend(configuration::judge(&loaded, |_| false));
            if let Some(config) = &loaded.checked.config {
                let ports = ports::gather(&config.listen);
                of_ports.extend(ports.iter().map(|port| ports::judge(port, &life)));
            }
        }
    }
    let user = rustix::process::geteuid().as_raw();
    let seen = looked_at(known, state.as_deref(), &running);
    let judged = seen
        .iter()
        .filter_map(|seen| permissions::judge(seen, user));
    findings.extend(judged);
    findings.extend(of_ports);
    let program = std::env::current_exe().ok();
    let written: Vec<&Path> = known.into_iter().chain(program.as_deref()).collect();
    findings.push(clock::judge(&clock::gather(&written)));
    findings.push(descriptors::judge(descriptors::gather(life.pid)));
    findings.extend(service::judge(&running, unit.as_ref(), known));
    Ok(findings)
}

fn looked_at(file: Option<&Path>, state: Option<&Path>, running: &Running) -> Vec<Seen> {
    let mut seen = Vec::new();
    if let Some(file) = file {
        seen.push(permissions::look(file, Role::Configuration));
        let folder = reload::folder_of(file);
        seen.push(permissions::look(folder, Role::ConfigurationFolder));
    }
    if let Some(state) = state {
        seen.push(permissions::look(state, Role::State));
        seen.push(permissions::look(&state.join(STICKY_KEY), Role::Secret));
    }
    let socket = match running {
        Running::Says { socket, .. } => Some(socket.clone()),
        Running::Unclear(_) | Running::Silent => Some(PathBuf::from(SERVICE_SOCKET)),
        Running::Nobody => None,
    };
    seen.extend(socket.map(|socket| permissions::look(&socket, Role::ControlSocket)));
    seen
}
