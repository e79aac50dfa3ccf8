//! `hostmux service uninstall`.

use std::process::ExitCode;

use anyhow::{Context, bail};

use super::files::{self, Is, SERVICE_FILE, SOCKET_FILE};
use super::plan::{self, Step};
use super::system::{self, Line, Unit};
use super::{BINARY, CONFIG, How, SERVICE, SOCKET, STATE, USER};
use crate::cli::out;

pub(super) fn run(how: &How) -> anyhow::Result<ExitCode> {
    let How { dry_run, force, at } = how;
    if !dry_run {
        system::permitted(at, "service uninstall")?;
    }
    let (mut there, mut edited) = (Vec::new(), Vec::new());
    for file in files::ALL {
        let path = at.path(file);
        match files::is(&path).with_context(|| format!("cannot read {}", path.display()))? {
            Is::Absent => continue,
            Is::Ours => {}
            Is::Edited => edited.push(format!(
                "{} was written or edited by hand, and nothing was removed\n  \
                 = help: `--force` removes it too",
                path.display()
            )),
        }
        there.push(file);
    }
    if there.is_empty() {
        out::say("there is nothing that `hostmux service install` has written")?;
        return Ok(ExitCode::SUCCESS);
    }
    // A service that a package has brought goes on without our sockets.
    let units: Vec<&str> = [(SERVICE_FILE, SERVICE), (SOCKET_FILE, SOCKET)]
        .into_iter()
        .filter(|(file, _)| there.contains(file))
        .map(|(_, unit)| unit)
        .collect();
    let mut steps = Vec::new();
    for unit in units {
        steps.push(Step::Run(Line::new([
            "systemctl",
            "disable",
            "--now",
            unit,
        ])));
        if Unit::ask(unit).is_failed() {
            steps.push(Step::Run(Line::new(["systemctl", "reset-failed", unit])));
        }
    }
    steps.extend(there.into_iter().map(Step::Remove));
    steps.push(Step::Run(Line::new(["systemctl", "daemon-reload"])));
    if *dry_run {
        plan::print(at, &steps)?;
    }
    if !force && !edited.is_empty() {
        bail!(edited.join("\nerror: "));
    }
    if *dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    plan::carry_out(at, &steps)?;
    out::say(format_args!(
        "the service is gone; what stays is yours:\n  \
         {CONFIG} and what lies beside it, or the file that it served\n  \
         {STATE}, with the key of the local CA\n  \
         the user `{USER}`, drop-ins of `systemctl edit`, and {BINARY} if it was copied there"
    ))?;
    Ok(ExitCode::SUCCESS)
}
