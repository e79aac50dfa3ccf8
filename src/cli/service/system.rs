//! systemd and the commands of the system.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, bail};

use super::{At, files};

/// A command and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Line(Vec<String>);

impl Line {
    pub(super) fn new<const N: usize>(words: [&str; N]) -> Self {
        Self(words.map(str::to_owned).to_vec())
    }

    /// Runs it to its end.
    pub(super) fn output(&self) -> anyhow::Result<Output> {
        let (program, arguments) = self.0.split_first().context("an empty command")?;
        Command::new(program)
            .args(arguments)
            .output()
            .with_context(|| format!("`{self}` cannot be run"))
    }

    /// Runs it; that it fails is an error with what it said.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let output = self.output()?;
        if output.status.success() {
            return Ok(());
        }
        bail!("`{self}` failed ({}){}", output.status, said(&output))
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// What a command printed, below a line that tells of it.
pub(super) fn said(output: &Output) -> String {
    let all = [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream));
    let lines = all.iter().flat_map(|stream| stream.lines());
    lines.map(|line| format!("\n  {line}")).collect()
}

/// Whether a program is on `PATH`.
pub(super) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether systemd has started this system (sd_booted(3)).
pub(super) fn runs(at: &At) -> bool {
    at.path("/run/systemd/system").is_dir()
}

/// Its version; `None` if it does not say.
pub(super) fn version() -> Option<u32> {
    let output = Line::new(["systemctl", "--version"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.strip_prefix("systemd ")?;
    let digits = version.find(|c: char| !c.is_ascii_digit());
    version[..digits.unwrap_or(version.len())].parse().ok()
}

/// Refuses who may not change the system, with the command that would: `words`
/// are those behind `hostmux`.
pub(super) fn permitted(at: &At, words: &str) -> anyhow::Result<()> {
    if !runs(at) {
        bail!(
            "this machine was not started by systemd: there is nothing that could run the service\n  \
             = help: `hostmux run` serves in the foreground; whatever starts programs here can start that"
        );
    }
    if at.is_whole_system() && !rustix::process::geteuid().is_root() {
        // sudo does not look where the programs of a user lie.
        let own = std::env::current_exe().ok();
        let own = own.filter(|own| files::misplaced(own).is_some());
        let own = own.map_or_else(|| "hostmux".to_owned(), |own| own.display().to_string());
        bail!("only root may change the services of this machine\n  = help: sudo {own} {words}");
    }
    Ok(())
}

/// What systemd says of a unit.
#[derive(Debug, Default)]
pub(super) struct Unit(HashMap<String, String>);

impl Unit {
    const PROPERTIES: &'static str = "--property=LoadState,ActiveState,SubState,UnitFileState,FragmentPath,MainPID,NRestarts,Result,StatusText,Listen";

    /// Asks; what cannot be asked is not there.
    pub(super) fn ask(name: &str) -> Self {
        let asked = Line::new(["systemctl", "show", Self::PROPERTIES, name]).output();
        asked.map_or_else(
            |_| Self::default(),
            |output| Self::read(&String::from_utf8_lossy(&output.stdout)),
        )
    }

    fn read(text: &str) -> Self {
        let mut values = HashMap::<String, String>::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            // `Listen` comes once for each socket.
            let held = values.entry(key.to_owned()).or_default();
            if !held.is_empty() {
                held.push(' ');
            }
            held.push_str(value.trim());
        }
        Self(values)
    }

    /// A property; empty if it has none.
    pub(super) fn say(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.say("LoadState") == "loaded"
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.say("ActiveState"), "active" | "reloading")
    }

    /// It is not tried again until this is taken back.
    pub(super) fn is_failed(&self) -> bool {
        self.say("ActiveState") == "failed"
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.say("MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    /// `0.0.0.0:443 (Stream) [::]:80 (Stream)` as addresses.
    pub(super) fn listens(&self) -> Vec<&str> {
        let words = self.say("Listen").split(' ');
        words
            .filter(|word| !word.is_empty() && !word.starts_with('('))
            .collect()
    }
}

/// A path as a command's argument, and as a word of a unit: a line feed in it
/// would begin another line there.
pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    let Some(text) = path.to_str() else {
        bail!("{} is not in UTF-8", path.display());
    };
    if text.chars().any(char::is_control) {
        bail!(
            "{text:?} has control characters in it\n  = help: a service needs a path without them"
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read() {
        let unit = Unit::read(
            "LoadState=loaded\nActiveState=active\nMainPID=71\nListen=[::]:443 (Stream)\nListen=[::]:80 (Stream)\nStatusText=a=b\n",
        );
        assert!(unit.is_loaded() && unit.is_active());
        assert_eq!(unit.pid(), Some(71));
        assert_eq!(unit.listens(), ["[::]:443", "[::]:80"]);
        assert_eq!((unit.say("StatusText"), unit.say("Result")), ("a=b", ""));
        let none = Unit::read("MainPID=0\nLoadState=not-found\n");
        assert!(!none.is_loaded() && none.pid().is_none() && none.listens().is_empty());
    }
}
