//! `hostmux service status`: what systemd says, and what the process says.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::system::Unit;
use super::{SERVICE, SOCKET, StatusArguments};
use crate::cli::control::client::{Found, SERVICE_SOCKET};
use crate::cli::control::told::text;
use crate::cli::{DEGRADED, FAILED, out};

pub(super) fn run(asked: &StatusArguments) -> anyhow::Result<ExitCode> {
    let (service, socket) = (Unit::ask(SERVICE), Unit::ask(SOCKET));
    let answer = match service.is_active() {
        true => answer(asked),
        false => None,
    };
    let degraded = answer.as_ref().is_some_and(is_degraded);
    match asked.json {
        true => out::say(format_args!(
            "{:#}",
            data(&service, &socket, answer.as_ref())
        ))?,
        false => out::say(table(&service, &socket, answer.as_ref()))?,
    }
    Ok(match (service.is_active(), degraded) {
        (false, _) => ExitCode::from(FAILED),
        (true, true) => ExitCode::from(DEGRADED),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// What the service's process says of itself; `None` if it does not.
fn answer(asked: &StatusArguments) -> Option<Value> {
    let socket = asked.at.path(SERVICE_SOCKET);
    match Found::look(Some(socket)).and_then(|found| found.required()?.get("/v1/status")) {
        Ok(told) => Some(told),
        Err(error) => {
            eprintln!("warning: {error}");
            None
        }
    }
}

/// Not all that its file says is served.
fn is_degraded(told: &Value) -> bool {
    text(told, "condition") == "degraded"
}

fn data(service: &Unit, socket: &Unit, answer: Option<&Value>) -> Value {
    let unit = |unit: &Unit| {
        json!({
            "installed": unit.is_loaded(),
            "active": unit.say("ActiveState"),
            "sub": unit.say("SubState"),
            "enabled": unit.say("UnitFileState"),
            "file": unit.say("FragmentPath"),
        })
    };
    let mut told = unit(service);
    told["pid"] = service.pid().into();
    told["result"] = service.say("Result").into();
    told["restarts"] = service.say("NRestarts").parse::<u64>().ok().into();
    told["version"] = answer.and_then(|told| told.get("version").cloned()).into();
    told["config"] = answer.and_then(|told| told.get("config").cloned()).into();
    told["degraded"] = answer.map(is_degraded).into();
    told["socket"] = unit(socket);
    told["socket"]["listens"] = socket.listens().into();
    told
}

fn table(service: &Unit, socket: &Unit, answer: Option<&Value>) -> String {
    let mut told = format!("{SERVICE}  {}", state(service));
    if let Some(pid) = service.pid() {
        told.push_str(&format!(", process {pid}"));
    }
    if !matches!(service.say("Result"), "" | "success") {
        let result = service.say("Result");
        told.push_str(&format!(
            ", {result}\n                 journalctl -u hostmux -n 30"
        ));
    }
    if let Some(answer) = answer {
        let sites = answer["sites"].as_array().map_or(0, Vec::len);
        let (version, config) = (text(answer, "version"), text(answer, "config"));
        told.push_str(&format!(
            "\n  version        {version}\n  configuration  {config}\n  sites          {sites}"
        ));
        if is_degraded(answer) {
            told.push_str(", degraded: `hostmux status` tells why");
        }
    }
    told.push_str(&format!("\n{SOCKET}   {}", state(socket)));
    let listens = socket.listens();
    if !listens.is_empty() {
        told.push_str(&format!(": {}", listens.join(" ")));
    }
    told
}

/// `active (running), enabled`
fn state(unit: &Unit) -> String {
    if !unit.is_loaded() {
        return "not installed".to_owned();
    }
    let (active, sub) = (unit.say("ActiveState"), unit.say("SubState"));
    match unit.say("UnitFileState") {
        "" => format!("{active} ({sub})"),
        enabled => format!("{active} ({sub}), {enabled}"),
    }
}
