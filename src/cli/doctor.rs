//! `hostmux doctor`: looks at all that hostmux lives on, and says what is wrong,
//! why it matters and what mends it. Changes nothing.
//!
//! Each check is a file here: it gathers what there is to see, and judges what
//! was gathered, which is pure. What this user may not see is said to be unseen.

pub mod certificates;
pub mod clock;
mod configuration;
pub mod descriptors;
pub mod each;
pub mod endpoints;
pub mod finding;
pub mod names;
pub mod permissions;
pub mod ports;
mod print;
mod program;
pub mod service;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use tokio::task::LocalSet;

use self::certificates::{By, Covered};
use self::finding::{Check, Finding, Severity, worst};
use self::permissions::{Role, Seen};
use self::service::{Life, Running};
use super::control::client::SERVICE_SOCKET;
use super::{FAILED, load, out};
use crate::config::{self, Config};
use crate::server::reload::{self, Loaded};
use crate::tls::{Inventory, TICKETS_FILE};
use crate::upstream::discovery::NameService;
use crate::upstream::sticky;

/// How many private keys are looked at.
const KEYS_MAX: usize = 256;
/// The exit code where a warning is the worst.
const WARNED: u8 = 4;

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
    let now = SystemTime::now();
    let state = load::state_directory().ok();

    let (mut of_sites, mut keys, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    match &file {
        Err(absent) => findings.push(configuration::absent(absent)),
        Ok(file) => {
            let loaded = reload::load(file);
            let judged = meaning(&loaded);
            let mut covered = Vec::new();
            if let Some((config, inventory)) = &judged {
                covered = certificates::gather(config, inventory);
                keys = keys_of(&covered);
                let ports = ports::gather(&config.listen);
                of_sites.extend(ports.iter().map(|port| ports::judge(port, &life)));
                let authority = || Some(certificates::authority(state.as_deref()?, now));
                of_sites.extend(certificates::judge(&covered, now, authority));
                of_sites.extend(asked(config, inventory)?);
            }
            let elsewhere = told_elsewhere(&covered, &keys, now);
            findings.extend(configuration::judge(&loaded, |message| {
                elsewhere.iter().any(|begin| message.starts_with(begin))
            }));
            findings.extend(judged.is_none().then(configuration::meaningless));
        }
    }
    let user = rustix::process::geteuid().as_raw();
    let seen = looked_at(known, state.as_deref(), &keys, &running);
    let judged = seen
        .iter()
        .filter_map(|seen| permissions::judge(seen, user));
    findings.extend(judged);
    findings.extend(of_sites);
    let program = std::env::current_exe().ok();
    let written: Vec<&Path> = known.into_iter().chain(program.as_deref()).collect();
    findings.push(clock::judge(&clock::gather(&written)));
    findings.push(descriptors::judge(descriptors::gather(life.pid)));
    findings.extend(service::judge(&running, unit.as_ref(), known));
    Ok(findings)
}

/// What the text means, though a certificate it names may be at fault.
fn meaning(loaded: &Loaded) -> Option<(Config, &Inventory)> {
    let checked = config::check(&loaded.text, &|name| std::env::var(name).ok());
    Some((checked.config?, loaded.inventory.as_ref()?))
}

/// Names and endpoints, both at once.
fn asked(config: &Config, inventory: &Inventory) -> anyhow::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let service = NameService::default;
    let (names, endpoints) = LocalSet::new().block_on(&runtime, async {
        tokio::join!(
            names::gather(config, service()),
            endpoints::gather(config, inventory, service())
        )
    });
    let mut findings: Vec<Finding> = names
        .lookups
        .iter()
        .map(|lookup| names::judge(lookup, &config.listen, &names::whose))
        .collect();
    findings.extend(Finding::left_out(
        Check::Names,
        names.left,
        "names",
        names::NAMES_MAX,
    ));
    findings.extend(Finding::too_late(Check::Names, names.late, each::TIME_MAX));
    findings.extend(endpoints::judge_all(&endpoints));
    Ok(findings)
}

/// The private keys of the certificates that names get.
fn keys_of(covered: &[Covered]) -> Vec<PathBuf> {
    let keys = covered.iter().filter_map(|it| match &it.by {
        By::Files(file) => Some(file.key.clone()),
        By::LocalCa | By::Nothing => None,
    });
    let mut keys: Vec<PathBuf> = keys.collect();
    keys.sort();
    keys.dedup();
    keys.truncate(KEYS_MAX);
    keys
}

/// How messages of `check` begin that other checks tell by site, or with more.
fn told_elsewhere(covered: &[Covered], keys: &[PathBuf], now: SystemTime) -> Vec<String> {
    let keys = keys
        .iter()
        .map(|key| format!("the private key `{}` can be read", key.display()));
    let files = covered.iter().filter_map(|it| match &it.by {
        By::Files(file) => Some(file),
        By::LocalCa | By::Nothing => None,
    });
    let days = files.filter_map(|file| {
        let chain = file.chain.display();
        if now > file.not_after {
            return Some(format!("the certificate `{chain}` expired on"));
        }
        (now < file.not_before).then(|| format!("the certificate `{chain}` is not valid before"))
    });
    let bare = covered.iter().filter_map(|it| match it.by {
        By::Nothing => Some(format!("no certificate covers `{}`", it.name)),
        By::Files(_) | By::LocalCa => None,
    });
    keys.chain(days).chain(bare).collect()
}

fn looked_at(
    file: Option<&Path>,
    state: Option<&Path>,
    keys: &[PathBuf],
    running: &Running,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    if let Some(file) = file {
        seen.push(permissions::look(file, Role::Configuration));
        let folder = reload::folder_of(file);
        seen.push(permissions::look(folder, Role::ConfigurationFolder));
    }
    for key in keys {
        seen.push(permissions::look(key, Role::PrivateKey));
    }
    if let Some(state) = state {
        seen.push(permissions::look(state, Role::State));
        let ca_key = state.join(certificates::CA_KEY);
        seen.push(permissions::look(&ca_key, Role::PrivateKey));
        seen.push(permissions::look(&state.join(sticky::FILE), Role::Secret));
    }
    let runtime = match running {
        Running::Says { socket, .. } => Some(reload::folder_of(socket).to_owned()),
        Running::Unclear(_) | Running::Silent | Running::Nobody => load::runtime_directory().ok(),
    };
    seen.extend(runtime.map(|it| permissions::look(&it.join(TICKETS_FILE), Role::TicketKeys)));
    let socket = match running {
        Running::Says { socket, .. } => Some(socket.clone()),
        Running::Unclear(_) | Running::Silent => Some(PathBuf::from(SERVICE_SOCKET)),
        Running::Nobody => None,
    };
    seen.extend(socket.map(|socket| permissions::look(&socket, Role::ControlSocket)));
    seen
}
