//! `hostmux service install`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use super::files::{self, Is, Wanted};
use super::plan::{self, Step};
use super::system::{self, Line, Unit};
use super::{At, BINARY, CONFIG, How, InstallArguments, SERVICE, SOCKET, STATE, USER};
use crate::cli::{FAILED, out};
use crate::config::{Config, ListenAddress};
use crate::server::holder;
use crate::server::reload;

pub(super) fn run(asked: &InstallArguments, before: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let How { dry_run, force, at } = &asked.how;
    if !dry_run {
        system::permitted(at, &command(asked))?;
    } else if !system::runs(at) {
        eprintln!("note: this machine was not started by systemd: `install` would refuse");
    }
    let file = configuration(asked.config.clone().or(before), at)?;
    let mut loaded = reload::load(&at.path(&file));
    if *dry_run || loaded.checked.config.is_none() {
        let colour = crate::cli::colour(std::io::stderr().is_terminal());
        eprint!("{}", loaded.render(colour));
    }
    let Some((config, _)) = loaded.take() else {
        let file = file.display();
        bail!(
            "{file} is not right, and nothing was done\n  = help: `hostmux check {file}` tells when it is"
        );
    };
    let mut faults = Vec::new();
    faults.extend(hidden(at, &file));
    faults.extend(held(&config));
    let (steps, edited) = steps(at, &file, &config)?;
    if !force {
        faults.extend(edited);
    }
    if *dry_run {
        plan::print(at, &steps)?;
    }
    if !faults.is_empty() {
        bail!(faults.join("\nerror: "));
    }
    if *dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    plan::carry_out(at, &steps).map_err(|error| {
        anyhow!("{error:#}\n  = help: `journalctl -u hostmux -n 30` is what the service said; `hostmux service install` goes on from here")
    })?;
    if !Unit::ask(SERVICE).is_active() {
        eprintln!(
            "error: the service was started and does not run\n  = help: journalctl -u hostmux -n 30"
        );
        return Ok(ExitCode::from(FAILED));
    }
    out::say(format_args!(
        "hostmux runs as a service, now and from each start of the machine on\n  \
         hostmux service status    how it is\n  \
         journalctl -u hostmux -f  its log\n  \
         systemctl edit hostmux    what differs on this machine\n\
         its state lies in {STATE}; members of the group `{USER}` may use `hostmux status` and the like"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The words of the command, for sudo.
fn command(asked: &InstallArguments) -> String {
    let mut command = "service install".to_owned();
    if let Some(config) = &asked.config {
        command.push_str(&format!(" -c {}", config.display()));
    }
    if asked.how.force {
        command.push_str(" --force");
    }
    command
}

/// The file of the service, by its whole path. Not `./sites.yaml`: a service
/// has no folder that it is started in.
fn configuration(named: Option<PathBuf>, at: &At) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return std::path::absolute(&named)
            .with_context(|| format!("{} has no whole path", named.display()));
    }
    if at.path(CONFIG).exists() {
        return Ok(CONFIG.into());
    }
    bail!(
        "there is no {CONFIG}, and no other file was named\n  \
         = help: `sudo hostmux init -o {CONFIG}` writes a first one; `-c FILE` names another"
    )
}

/// The service would not see the configuration, or what a link in its place
/// leads to.
fn hidden(at: &At, file: &Path) -> Option<String> {
    let real = at.real(file);
    let (lies, folder) = match (files::hidden(file), &real) {
        (Some(folder), _) => ("lies".to_owned(), folder),
        (None, Some(real)) => {
            let lies = format!("leads to {}, which lies", real.display());
            (lies, files::hidden(real)?)
        }
        (None, None) => return None,
    };
    let file = file.display();
    Some(format!(
        "{file} {lies} below {folder}, which the service does not see\n  \
         = help: sudo install -D -m 644 {file} {CONFIG}, its certificates to /etc/hostmux/certs, and install from there"
    ))
}

/// Addresses that other programs listen on. systemd holds ours for the service.
fn held(config: &Config) -> Vec<String> {
    const SYSTEMD: u32 = 1;
    let service = Unit::ask(SERVICE).pid();
    let all = holder::listening();
    let addresses = config.listen.https.iter().chain(&config.listen.http);
    let held = addresses.filter_map(|wanted| {
        let mut others = all.iter().filter(|socket| overlap(wanted, socket.address));
        let holder = others.find_map(|socket| socket.holder.as_ref())?;
        if holder.pid == SYSTEMD || Some(holder.pid) == service {
            return None;
        }
        Some(format!(
            "{holder} holds port {}\n  = help: stop it, or set another port under `listen`",
            wanted.port()
        ))
    });
    held.collect()
}

/// Whether two sockets would be in each other's way.
fn overlap(wanted: &ListenAddress, held: SocketAddr) -> bool {
    let all = held.ip().is_unspecified();
    wanted.port() == held.port()
        && match wanted {
            ListenAddress::Port(_) => true,
            ListenAddress::Address(wanted) => {
                all || wanted.ip().is_unspecified() || wanted.ip() == held.ip()
            }
        }
}

/// What is to be done, and what stands in the way of it.
fn steps(at: &At, file: &Path, config: &Config) -> anyhow::Result<(Vec<Step>, Vec<String>)> {
    let mut steps = Vec::new();
    let own = std::env::current_exe().context("hostmux does not find its own binary")?;
    let binary = match files::misplaced(&own) {
        Some(why) => {
            steps.push(Step::Copy {
                from: own,
                to: BINARY,
                why,
            });
            BINARY.to_owned()
        }
        None => system::text(&own)?,
    };
    let socket = files::socket(&config.listen);
    let socket_is_new =
        std::fs::read_to_string(at.path(socket.path)).ok() != Some(socket.text.clone());
    // What a package has brought is not repeated.
    let mut wanted: Vec<Wanted> = Vec::new();
    let packaged = files::packaged(at, Path::new(&binary), file);
    if !packaged {
        let config = system::text(file)?;
        wanted.push(files::sysusers());
        wanted.push(files::tmpfiles());
        wanted.push(files::service(&binary, &config, system::version()));
    }
    wanted.push(socket);
    let mut edited = Vec::new();
    for file in wanted {
        let path = at.path(file.path);
        let reading = || format!("cannot read {}", path.display());
        if files::is(&path).with_context(reading)? == Is::Edited {
            edited.push(format!(
                "{} was written or edited by hand, and stays as it is\n  \
                 = help: `systemctl edit hostmux` is for what differs on this machine; `--force` replaces the file",
                path.display()
            ));
        }
        steps.push(Step::Write(file));
    }
    if !packaged {
        steps.extend(user(at));
        let tmpfiles = system::text(&at.path(files::TMPFILES_FILE))?;
        steps.push(Step::Run(Line::new([
            "systemd-tmpfiles",
            "--create",
            &tmpfiles,
        ])));
    }
    steps.push(Step::Run(Line::new(["systemctl", "daemon-reload"])));
    let (program, config) = (
        system::text(&at.path(&binary))?,
        system::text(&at.path(file))?,
    );
    steps.push(Step::Judge(Line::new([
        "runuser", "-u", USER, "--", &program, "check", &config,
    ])));
    steps.extend(start(socket_is_new));
    Ok((steps, edited))
}

/// Makes the user, unless it is there.
fn user(at: &At) -> Option<Step> {
    if system::is_there("systemd-sysusers") {
        let file = at.path(files::SYSUSERS_FILE);
        let line = Line::new(["systemd-sysusers", &file.to_string_lossy()]);
        return Some(Step::Run(line));
    }
    let users = std::fs::read_to_string(at.path("/etc/passwd")).unwrap_or_default();
    let is_there = users
        .lines()
        .any(|line| line.split(':').next() == Some(USER));
    (!is_there).then(|| {
        Step::Run(Line::new([
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            STATE,
            "--shell",
            "/usr/sbin/nologin",
            USER,
        ]))
    })
}

/// The sockets first: systemd does not listen for a service that runs already.
fn start(socket_is_new: bool) -> Vec<Step> {
    let run = |line| Step::Run(line);
    let (service, socket) = (Unit::ask(SERVICE), Unit::ask(SOCKET));
    let mut steps = Vec::new();
    if service.is_active() && socket.is_active() && !socket_is_new {
        // Clients wait in the queue of the sockets.
        steps.push(run(Line::new(["systemctl", "enable", SOCKET, SERVICE])));
        steps.push(run(Line::new(["systemctl", "restart", SERVICE])));
        return steps;
    }
    for (unit, name) in [(&service, SERVICE), (&socket, SOCKET)] {
        if unit.is_failed() {
            steps.push(run(Line::new(["systemctl", "reset-failed", name])));
        }
    }
    if service.is_active() || socket.is_active() {
        steps.push(run(Line::new(["systemctl", "stop", SERVICE, SOCKET])));
    }
    steps.push(run(Line::new(["systemctl", "enable", "--now", SOCKET])));
    steps.push(run(Line::new(["systemctl", "enable", "--now", SERVICE])));
    steps
}
