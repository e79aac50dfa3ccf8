//! `hostmux doctor`: what each check looks for is broken here, and found, with
//! what mends it.

mod certificates;
mod clock;
mod configuration;
mod descriptors;
mod endpoints;
mod names;
mod permissions;
mod ports;
mod refusals;
mod service;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::cli::{LISTEN, folder};
use crate::harness::Backend;

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

/// A machine's folder: `sites.yaml`, certificates, the state, and the only
/// programs that it has.
struct Patient {
    folder: tempfile::TempDir,
}

impl Patient {
    /// Listens on free ports of loopback.
    fn with(sites: &str) -> Self {
        Self::whole(&format!("{LISTEN}{sites}"))
    }

    /// One site, `a.localhost`, before an endpoint.
    fn before(endpoint: &str) -> Self {
        Self::with(&format!("sites: {{ a.localhost: \"{endpoint}\" }}\n"))
    }

    fn whole(yaml: &str) -> Self {
        Self {
            folder: folder(&[("sites.yaml", yaml)]),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A private key, or anything else that is nobody's but its owner's.
    fn secret(&self, name: &str, text: &str) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        self.allow(name, 0o600);
    }

    fn allow(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.file(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// A program that prints this.
    fn program(&self, name: &str, prints: &str) {
        let script = format!("#!/bin/sh\ncat <<'END'\n{prints}\nEND\n");
        let name = format!("bin/{name}");
        self.secret(&name, &script);
        self.allow(&name, 0o755);
        // `cat` is one of the programs that it has.
        let cat = ["/bin/cat", "/usr/bin/cat"];
        let cat = cat.iter().find(|path| Path::new(path).exists()).unwrap();
        let _ = std::os::unix::fs::symlink(cat, self.file("bin/cat"));
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("STATE_DIRECTORY", self.file("state"))
            .env("PATH", self.file("bin"))
            .stdin(Stdio::null());
        command
    }

    async fn printed(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_hostmux")));
        output(command.arg("doctor").args(arguments)).await
    }

    async fn examined(&self) -> Report {
        Report::of(&self.printed(&["--json"]).await)
    }

    /// The same, through a shell that runs `before` first.
    async fn examined_after(&self, before: &str) -> Report {
        let mut shell = self.command(Path::new("/bin/sh"));
        let line = format!("{before} && exec \"$0\" doctor --json");
        Report::of(&output(shell.args(["-c", &line, env!("CARGO_BIN_EXE_hostmux")])).await)
    }

    /// The same, as a user without rights: who runs the tests may have them all.
    async fn examined_by_nobody(&self) -> Report {
        if !rustix::process::geteuid().is_root() {
            return self.examined().await;
        }
        // Where the binary lies, that user may not look.
        let (binary, own) = (env!("CARGO_BIN_EXE_hostmux"), self.file("hostmux"));
        if std::fs::hard_link(binary, &own).is_err() {
            std::fs::copy(binary, &own).unwrap();
        }
        self.allow("", 0o755);
        let mut command = self.command(&own);
        command.uid(NOBODY).gid(NOBODY).args(["doctor", "--json"]);
        Report::of(&output(&mut command).await)
    }

    /// Gives a file to the user of [`Self::examined_by_nobody`].
    fn give(&self, name: &str) {
        if rustix::process::geteuid().is_root() {
            chown(self.file(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

/// Runs it to its end, while the endpoints of the test go on.
async fn output(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    ended.await.unwrap().unwrap()
}

/// What it said.
#[derive(Debug)]
struct Report {
    code: Option<i32>,
    all: Value,
}

impl Report {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let all = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        Self {
            code: output.status.code(),
            all,
        }
    }

    /// The findings of a check.
    fn of_check(&self, check: &str) -> Vec<&Value> {
        let findings = self.all["findings"].as_array().unwrap().iter();
        findings.filter(|found| found["check"] == check).collect()
    }

    /// The one finding of a check that holds these words, which is so bad; what
    /// it says mends it.
    #[track_caller]
    fn finds(&self, check: &str, severity: &str, words: &str) -> String {
        let of_check = self.of_check(check);
        let mut found = of_check
            .iter()
            .filter(|found| found["what"].as_str().unwrap().contains(words));
        let one = found
            .next()
            .unwrap_or_else(|| panic!("nothing of {check} says {words:?}: {of_check:#?}"));
        assert!(found.next().is_none(), "said twice: {of_check:#?}");
        assert_eq!(one["severity"], severity, "{one:#}");
        let fixes = one["fixes"].as_array().unwrap();
        if severity == "warning" || severity == "error" {
            assert!(!fixes.is_empty() && one["why"] != "", "{one:#}");
        }
        let fixes: Vec<&str> = fixes.iter().filter_map(Value::as_str).collect();
        fixes.join("\n")
    }
}

/// A machine on which nothing is wrong.
async fn well() -> (Patient, Backend) {
    let backend = Backend::echo().await;
    let patient = Patient::before(backend.at());
    patient.program("timedatectl", "yes");
    (patient, backend)
}

#[tokio::test]
async fn where_all_is_well_it_says_so_in_a_line_each() {
    let (patient, backend) = well().await;
    let printed = patient.printed(&[]).await;
    let text = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed.status.code(), Some(0), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let (blocks, count) = text.trim_end().split_once("\n\n").unwrap();
    assert!(count.ends_with("notes"), "{text}");
    for line in blocks.lines().filter(|line| line.starts_with("ok")) {
        assert_eq!(line.split_whitespace().next(), Some("ok"), "{text}");
    }
    for check in [
        "configuration",
        "ports",
        "permissions",
        "names",
        "certificates",
        "endpoints",
        "clock",
        "descriptors",
        "service",
    ] {
        assert!(blocks.contains(&format!(" {check} ")), "{check}: {text}");
    }
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn the_worst_is_how_it_exits() {
    let (patient, _backend) = well().await;
    assert_eq!(patient.examined().await.code, Some(0));
    patient.allow("sites.yaml", 0o666);
    let warned = patient.examined().await;
    assert_eq!(
        (warned.code, &warned.all["worst"]),
        (Some(4), &"warning".into())
    );
    std::fs::write(patient.file("sites.yaml"), "sites: { a.localhost: 0 }").unwrap();
    let failed = patient.examined().await;
    assert_eq!(
        (failed.code, &failed.all["worst"]),
        (Some(1), &"error".into())
    );
    let counts = &failed.all["counts"];
    assert_eq!(
        (&counts["error"], &counts["warning"]),
        (&1.into(), &1.into())
    );
}

#[tokio::test]
async fn it_changes_nothing() {
    let (patient, _backend) = well().await;
    let entries = |patient: &Patient| {
        let entries = std::fs::read_dir(patient.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = entries(&patient);
    patient.examined().await;
    assert_eq!(entries(&patient), before);
    assert!(!patient.file("state").exists());
}

#[tokio::test]
async fn of_many_sites_some_are_looked_at_and_the_rest_is_counted() {
    let sites: String = (0..600)
        .map(|n| format!("  a{n}.localhost: unix:/nonexistent/gone.sock\n"))
        .collect();
    let report = Patient::with(&format!("sites:\n{sites}")).examined().await;
    report.finds("names", "note", "344 more names were not looked at");
    report.finds(
        "endpoints",
        "note",
        "88 more names and endpoints were not looked at",
    );
    assert_eq!(report.of_check("names").len(), 257);
}
