//! `list`, `status`, `reload`, `diff`, `add`, `remove`, `drain`, `weight`,
//! `pause`, `resume`, `stop`, `upgrade`: what a running hostmux is asked and
//! told, by its control socket.

pub(super) mod client;
pub(super) mod file;
mod reload;
mod table;
pub(super) mod told;

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use self::client::{Found, Running, segment};
pub(super) use self::reload::{diff, reload};
use self::told::{array, number, text};
use super::out::{self, say};
use super::{DEGRADED, load};
use crate::config::edit::{Edit, Target};

/// Which hostmux is meant.
#[derive(Debug, clap::Args)]
pub(super) struct SocketArguments {
    /// The control socket; without it $RUNTIME_DIRECTORY, the state folder and /run/hostmux are looked at
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    at: SocketArguments,
    /// Print an object for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiffArguments {
    /// The configuration file: the one that is served
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    show: ShowArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct AddArguments {
    /// A site, or a route of it: app.xyz.com, app.xyz.com/api, fallback
    #[arg(value_name = "HOST[/PREFIX]")]
    place: String,
    /// A port, an address, `unix:/path`
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<String>,
    /// Change what runs and not sites.yaml: gone at a restart
    #[arg(long)]
    runtime: bool,
    /// The configuration file
    #[arg(short, long, value_name = "FILE", conflicts_with = "runtime")]
    config: Option<PathBuf>,
    #[command(flatten)]
    at: SocketArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct RemoveArguments {
    /// A site, or a route of it: app.xyz.com, app.xyz.com/api, fallback
    #[arg(value_name = "HOST[/PREFIX]")]
    place: String,
    /// What goes; without any, all of the site or the route
    #[arg(value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    /// Change what runs and not sites.yaml: undone by a restart
    #[arg(long)]
    runtime: bool,
    /// Even the last endpoint, or all
    #[arg(long)]
    force: bool,
    /// The configuration file
    #[arg(short, long, value_name = "FILE", conflicts_with = "runtime")]
    config: Option<PathBuf>,
    #[command(flatten)]
    at: SocketArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct DrainArguments {
    #[arg(value_name = "HOST[/PREFIX]")]
    place: String,
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Let it have requests again
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    at: SocketArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct WeightArguments {
    #[arg(value_name = "HOST[/PREFIX]")]
    place: String,
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Its share beside the others'; 0: only clients that stick to it
    #[arg(value_name = "N")]
    weight: u16,
    #[command(flatten)]
    at: SocketArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct SiteArguments {
    /// A site as `sites.yaml` names it, or `fallback`
    #[arg(value_name = "HOST")]
    host: String,
    #[command(flatten)]
    at: SocketArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct StopArguments {
    /// A site as `sites.yaml` names it, or `fallback`
    #[arg(value_name = "HOST")]
    host: String,
    /// What visitors are told: one line of 300 characters at most
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    at: SocketArguments,
}

#[derive(Debug, clap::Args)]
pub(super) struct UpgradeArguments {
    #[command(flatten)]
    at: SocketArguments,
    /// Print an object for programs
    #[arg(long)]
    json: bool,
}

pub(super) fn list(asked: ShowArguments) -> anyhow::Result<ExitCode> {
    show(asked, "/v1/sites", table::list)
}

pub(super) fn status(asked: ShowArguments) -> anyhow::Result<ExitCode> {
    show(asked, "/v1/status", table::status)
}

fn show(asked: ShowArguments, path: &str, table: fn(&Value) -> String) -> anyhow::Result<ExitCode> {
    let told = Found::look(asked.at.socket)?.required()?.get(path)?;
    match asked.json {
        true => say(format_args!("{told:#}"))?,
        false => out::write(|out| out.write_all(table(&told).as_bytes()))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn upgrade(asked: UpgradeArguments) -> anyhow::Result<ExitCode> {
    let running = Found::look(asked.at.socket)?.required()?;
    let told = running.ask("POST", "/v1/upgrade", Some(&json!({})))?;
    match asked.json {
        true => say(format_args!("{told:#}"))?,
        false => say(format_args!(
            "process {} serves from now on, hostmux {}; process {} finishes what it has begun",
            number(&told, "pid"),
            text(&told, "version"),
            number(&told, "was"),
        ))?,
    }
    match text(&told, "degraded") {
        "" => Ok(ExitCode::SUCCESS),
        degraded => {
            eprintln!("degraded: {degraded}; `hostmux status` tells more");
            Ok(ExitCode::from(DEGRADED))
        }
    }
}

/// `config`: named before the command.
pub(super) fn add(asked: AddArguments, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let target = Target::of(&asked.place);
    if asked.runtime {
        let body = endpoints(&target, &asked.endpoints, None);
        let told = ask_endpoints(asked.at, "POST", &target, &body)?;
        say(format_args!(
            "added {} to {} while it runs; sites.yaml stays as it is",
            names(&told, "added"),
            asked.place
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let edit = Edit::Add {
        endpoints: &asked.endpoints,
    };
    let done = format!("added {} to {}", asked.endpoints.join(" "), asked.place);
    edit_and_apply(asked.config.or(config), asked.at, &target, &edit, &done)
}

/// `config`: named before the command.
pub(super) fn remove(asked: RemoveArguments, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let target = Target::of(&asked.place);
    if asked.runtime {
        let body = endpoints(&target, &asked.endpoints, Some(asked.force));
        let told = ask_endpoints(asked.at, "DELETE", &target, &body)?;
        say(format_args!(
            "removed {} from {} while it runs; sites.yaml stays as it is",
            names(&told, "removed"),
            asked.place
        ))?;
        if let left @ 1.. = number(&told, "in_flight") {
            say(format_args!("{left} under way there go on to their end"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let edit = Edit::Remove {
        endpoints: &asked.endpoints,
        force: asked.force,
    };
    let done = match asked.endpoints.as_slice() {
        [] => format!("removed {}", asked.place),
        gone => format!("removed {} from {}", gone.join(" "), asked.place),
    };
    edit_and_apply(asked.config.or(config), asked.at, &target, &edit, &done)
}

pub(super) fn drain(asked: DrainArguments) -> anyhow::Result<ExitCode> {
    let change = json!({ "draining": !asked.undo });
    let told = ask_endpoint(asked.at, &asked.place, &asked.endpoint, change)?;
    let name = text(&told, "endpoint");
    match asked.undo {
        true => say(format_args!("{name} of {} has requests again", asked.place))?,
        false => say(format_args!(
            "{name} of {} gets no more requests; {} under way there",
            asked.place,
            number(&told, "in_flight")
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn weight(asked: WeightArguments) -> anyhow::Result<ExitCode> {
    let change = json!({ "weight": asked.weight });
    let told = ask_endpoint(asked.at, &asked.place, &asked.endpoint, change)?;
    say(format_args!(
        "{} of {} has weight {} while it runs; sites.yaml stays as it is",
        text(&told, "endpoint"),
        asked.place,
        asked.weight
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pause(asked: SiteArguments) -> anyhow::Result<ExitCode> {
    gate(asked.at, &asked.host, "pause", &json!({}))?;
    say(format_args!(
        "{} is paused: new requests wait, those under way go on; `hostmux resume {}` lets them on",
        asked.host, asked.host
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(asked: SiteArguments) -> anyhow::Result<ExitCode> {
    let told = gate(asked.at, &asked.host, "resume", &json!({}))?;
    match text(&told, "was") {
        "open" => say(format_args!("{} was open already", asked.host))?,
        was => say(format_args!("{} is open; it was {was}", asked.host))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn stop(asked: StopArguments) -> anyhow::Result<ExitCode> {
    let body = match &asked.message {
        Some(message) => json!({ "message": message }),
        None => json!({}),
    };
    gate(asked.at, &asked.host, "stop", &body)?;
    say(format_args!(
        "{} is stopped: visitors get a page that says so; `hostmux resume {}` opens it",
        asked.host, asked.host
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn gate(at: SocketArguments, host: &str, what: &str, body: &Value) -> anyhow::Result<Value> {
    let path = format!("/v1/sites/{}/{what}", segment(host));
    Found::look(at.socket)?
        .required()?
        .ask("POST", &path, Some(body))
}

fn ask_endpoints(
    at: SocketArguments,
    method: &str,
    target: &Target<'_>,
    body: &Value,
) -> anyhow::Result<Value> {
    let path = format!("/v1/sites/{}/endpoints", segment(target.host));
    Found::look(at.socket)?
        .required()?
        .ask(method, &path, Some(body))
}

fn ask_endpoint(
    at: SocketArguments,
    place: &str,
    endpoint: &str,
    mut change: Value,
) -> anyhow::Result<Value> {
    let target = Target::of(place);
    if let Some(prefix) = target.prefix {
        change["prefix"] = prefix.into();
    }
    let path = format!(
        "/v1/sites/{}/endpoints/{}",
        segment(target.host),
        segment(endpoint)
    );
    Found::look(at.socket)?
        .required()?
        .ask("PATCH", &path, Some(&change))
}

fn endpoints(target: &Target<'_>, endpoints: &[String], force: Option<bool>) -> Value {
    let mut body = json!({ "endpoints": endpoints, "runtime": true });
    if let Some(prefix) = target.prefix {
        body["prefix"] = prefix.into();
    }
    if let Some(force) = force {
        body["force"] = force.into();
    }
    body
}

fn names(told: &Value, key: &str) -> String {
    let names = array(told, key).iter().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(" ")
}

/// Edits the file, and has a running hostmux take it over.
fn edit_and_apply(
    named: Option<PathBuf>,
    at: SocketArguments,
    target: &Target<'_>,
    edit: &Edit<'_>,
    done: &str,
) -> anyhow::Result<ExitCode> {
    let running = match Found::look(at.socket)? {
        Found::Running(running) => Some(running),
        Found::Nobody(_) => None,
    };
    let served = match &running {
        Some(running) => Some(PathBuf::from(text(&running.get("/v1/server")?, "config"))),
        None => None,
    };
    let file = match (named, &served) {
        (None, Some(served)) if std::env::var_os("HOSTMUX_CONFIG").is_none() => served.clone(),
        (named, _) => load::find(named)?,
    };
    let colour = super::colour(std::io::stderr().is_terminal());
    file::change(&file, target, edit, colour)?;
    say(format_args!("{done} ({})", file.display()))?;
    match (&running, &served) {
        (Some(running), Some(served)) if same(served, &file) => apply(running, target.host)?,
        (Some(_), Some(served)) => say(format_args!(
            "the running hostmux serves another file, {}",
            served.display()
        ))?,
        _ => say(format_args!(
            "no hostmux is running: it counts from the next start on"
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `host`: whose site was edited.
fn apply(running: &Running, host: &str) -> anyhow::Result<()> {
    let told = running.ask("POST", "/v1/reload", Some(&json!({})))?;
    let also: Vec<&str> = ["added", "removed", "changed", "broken"]
        .into_iter()
        .filter_map(|key| told.get(key)?.as_array())
        .flatten()
        .map(|change| text(change, "site"))
        .filter(|name| *name != host)
        .collect();
    say(format_args!("the running hostmux has taken it over"))?;
    if !also.is_empty() {
        let also = also.join(", ");
        say(format_args!(
            "with what else had changed in the file: {also}"
        ))?;
    }
    let waiting = names(&told, "waiting");
    if !waiting.is_empty() {
        say(format_args!(
            "a restart or an upgrade is needed for what else was changed: {waiting}"
        ))?;
    }
    Ok(())
}

/// Whether two paths lead to one file.
pub(super) fn same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
