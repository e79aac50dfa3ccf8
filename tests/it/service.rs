//! `hostmux service`, below a folder that stands for `/` and with a systemctl
//! that only writes down what it is told. Nothing is installed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{Ended, LISTEN, Program, folder};

const SITES: &str = "sites: { a.test: 1 }\n";

/// A system of its own.
struct System {
    folder: tempfile::TempDir,
}

impl System {
    /// With this configuration.
    fn with(sites: &str) -> Self {
        let system = Self {
            folder: folder(&[]),
        };
        system.write("/etc/hostmux/sites.yaml", sites);
        fs::create_dir_all(system.path("/run/systemd/system")).unwrap();
        fs::create_dir(system.folder.path().join("bin")).unwrap();
        let here = system.folder.path().display().to_string();
        for program in ["systemd-sysusers", "systemd-tmpfiles", "runuser"] {
            system.program(program, &format!("echo \"{program} $*\" >> {here}/log\n"));
        }
        let version = version().unwrap_or(255);
        system.program(
            "systemctl",
            &format!(
                "for unit; do :; done\n\
                 case \"$1\" in\n\
                 --version) echo 'systemd {version} ({version}-1)'; exit ;;\n\
                 show)\n\
                   [ -e {here}/root/etc/systemd/system/$unit ] && echo LoadState=loaded || echo LoadState=not-found\n\
                   [ -e {here}/$unit.active ] && echo ActiveState=active || echo ActiveState=inactive\n\
                   echo SubState=some; echo MainPID=71; echo 'Listen=[::]:443 (Stream)'; exit ;;\n\
                 esac\n\
                 echo \"systemctl $*\" >> {here}/log\n\
                 case \"$1 $2\" in\n\
                 'enable --now') : > {here}/$unit.active ;;\n\
                 'disable --now' | stop*) rm -f {here}/*.active ;;\n\
                 esac\n"
            ),
        );
        system
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.folder.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nPATH=/bin:/usr/bin\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(&path[1..])
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn does(&self, arguments: &[&str]) -> Ended {
        let done = Command::new(env!("CARGO_BIN_EXE_hostmux"))
            .arg("service")
            .args(arguments)
            .arg("--root")
            .arg(self.folder.path().join("root"))
            .env_clear()
            .env("PATH", self.folder.path().join("bin"))
            .env("STATE_DIRECTORY", self.folder.path().join("state"))
            .output()
            .unwrap();
        Ended {
            code: done.status.code(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }

    /// A hostmux that runs where the service would, and units that tell of it.
    fn serving(&self, sites: &str) -> Program {
        let folder = self.folder.path();
        fs::write(folder.join("sites.yaml"), format!("{LISTEN}{sites}")).unwrap();
        let mut program = Program::start(folder, &["run"], "");
        program.listens();
        symlink(folder.join("state"), self.path("/run/hostmux")).unwrap();
        for unit in UNITS {
            self.write(unit, "");
            let name = Path::new(unit).file_name().unwrap().to_str().unwrap();
            fs::write(folder.join(format!("{name}.active")), "").unwrap();
        }
        program
    }

    /// What the system's commands were told since the last time.
    fn told(&self) -> Vec<String> {
        let log = self.folder.path().join("log");
        let told = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        let root = self.path("/").display().to_string();
        told.lines().map(|line| line.replace(&root, "/")).collect()
    }

    /// All files of the system, with what they hold.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("/")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push((path.clone(), fs::read(path).unwrap())),
                }
            }
        }
        found.sort();
        found
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], words: &str) {
        let before = self.files();
        let ended = self.does(arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains(words), "{words}: {}", ended.err);
        assert!(ended.err.contains("  = help: "), "{}", ended.err);
        assert!(
            self.files() == before,
            "{arguments:?} has changed something"
        );
        assert_eq!(self.told(), [""; 0]);
    }
}

/// The version of the systemd that is here.
fn version() -> Option<u32> {
    let told = Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    told.split(' ').nth(1)?.parse().ok()
}

const UNITS: [&str; 2] = [
    "/etc/systemd/system/hostmux.service",
    "/etc/systemd/system/hostmux.socket",
];

#[test]
fn a_dry_run_prints_all_and_does_nothing() {
    let system = System::with(SITES);
    let before = system.files();
    let ended = system.does(&["install", "--dry-run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for words in [
        "copy ",
        "/root/etc/systemd/system/hostmux.service:\n",
        "    ExecStart=/usr/local/bin/hostmux run -c /etc/hostmux/sites.yaml\n",
        "    ProtectSystem=strict\n",
        "    ListenStream=443\n    ListenStream=80\n",
        "    u hostmux - ",
        "    d /etc/hostmux/certs 0750 root hostmux -\n",
        "run systemctl daemon-reload\n",
        "run runuser -u hostmux -- ",
        "run systemctl enable --now hostmux.socket\nrun systemctl enable --now hostmux.service\n",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
    assert!(system.files() == before);
    assert_eq!(system.told(), [""; 0]);
}

#[test]
fn it_is_installed_changed_and_taken_away() {
    let system = System::with(&format!("{LISTEN}{SITES}"));
    let before = system.files();
    let ended = system.does(&["install"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let unit = system.read(UNITS[0]);
    assert!(unit.contains("\nExecStart=/usr/local/bin/hostmux run -c /etc/hostmux/sites.yaml\n"));
    let binary = fs::metadata(system.path("/usr/local/bin/hostmux")).unwrap();
    assert_eq!(binary.permissions().mode() & 0o7777, 0o755);
    let socket = system.read(UNITS[1]);
    assert!(
        socket.contains("\nListenStream=127.0.0.1:0\nListenStream=127.0.0.1:0\n"),
        "{socket}"
    );
    let first = [
        "systemd-sysusers /etc/sysusers.d/hostmux.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/hostmux.conf",
        "systemctl daemon-reload",
        "runuser -u hostmux -- /usr/local/bin/hostmux check /etc/hostmux/sites.yaml",
        "systemctl enable --now hostmux.socket",
        "systemctl enable --now hostmux.service",
    ];
    assert_eq!(system.told(), first);

    // Again, with the same sockets: they hold what comes meanwhile.
    assert_eq!(system.does(&["install"]).code, Some(0));
    let told = system.told();
    let end = [
        "systemctl enable hostmux.socket hostmux.service",
        "systemctl restart hostmux.service",
    ];
    assert_eq!(told[4..], end);
    // With others.
    system.write(
        "/etc/hostmux/sites.yaml",
        &format!("listen: {{ https: \"127.0.0.1:0\", http: off }}\n{SITES}"),
    );
    assert_eq!(system.does(&["install"]).code, Some(0));
    assert!(
        system
            .read(UNITS[1])
            .contains("\nListenStream=127.0.0.1:0\nBindIPv6Only=ipv6-only\n")
    );
    assert_eq!(
        system.told()[4],
        "systemctl stop hostmux.service hostmux.socket"
    );

    // By hand.
    let edited = unit.replace("WatchdogSec=30", "WatchdogSec=60");
    system.write(UNITS[0], &edited);
    system.refuses(
        &["install"],
        "etc/systemd/system/hostmux.service was written or edited by hand",
    );
    system.refuses(
        &["uninstall"],
        "etc/systemd/system/hostmux.service was written or edited by hand",
    );
    assert_eq!(system.does(&["install", "--force"]).code, Some(0));
    assert_eq!(system.read(UNITS[0]), unit);
    system.told();

    let printed = system.does(&["uninstall", "--dry-run"]);
    assert!(
        printed.out.contains("remove ") && system.path(UNITS[0]).exists(),
        "{}",
        printed.out
    );
    let ended = system.does(&["uninstall"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for kept in ["/etc/hostmux/sites.yaml", "/var/lib/hostmux"] {
        assert!(ended.out.contains(kept), "{}", ended.out);
    }
    let want = [
        "systemctl disable --now hostmux.service",
        "systemctl disable --now hostmux.socket",
        "systemctl daemon-reload",
    ];
    assert_eq!(system.told(), want);
    fs::remove_file(system.path("/usr/local/bin/hostmux")).unwrap();
    let names = |files: Vec<(PathBuf, _)>| -> Vec<PathBuf> {
        files.into_iter().map(|(path, _)| path).collect()
    };
    assert_eq!(names(system.files()), names(before));
    let again = system.does(&["uninstall"]);
    assert_eq!(
        (again.code, system.told().len()),
        (Some(0), 0),
        "{}",
        again.err
    );
}

#[test]
fn what_would_not_run_is_not_installed() {
    System::with("sites: { a.test: 8O80 }\n").refuses(&["install"], "is not a port");
    let system = System::with(SITES);
    system.refuses(&["install", "-c", "/none.yaml"], "it is not there");
    system.write("/home/ann/sites.yaml", SITES);
    system.refuses(&["install", "-c", "/home/ann/sites.yaml"], "below /home");
    // The check as its user sees the file; the service did not.
    fs::create_dir(system.path("/srv")).unwrap();
    symlink("../home/ann/sites.yaml", system.path("/srv/sites.yaml")).unwrap();
    system.refuses(
        &["install", "-c", "/srv/sites.yaml"],
        "leads to /home/ann/sites.yaml, which lies below /home",
    );
    fs::remove_file(system.path("/etc/hostmux/sites.yaml")).unwrap();
    system.refuses(&["install"], "there is no /etc/hostmux/sites.yaml");

    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let held = System::with(&format!("listen: {{ https: {port}, http: off }}\n{SITES}"));
    let words = format!("(process {}) holds port {port}", std::process::id());
    held.refuses(&["install"], &words);
    held.refuses(&["install", "--dry-run"], &words);

    let other = System::with(SITES);
    fs::remove_dir(other.path("/run/systemd/system")).unwrap();
    other.refuses(&["install"], "not started by systemd");
    other.refuses(&["uninstall"], "not started by systemd");
}

/// The user of the service may not be able to read what root can.
/// It became a line of the unit.
#[test]
fn a_path_that_would_be_more_than_a_word_of_the_unit_is_refused() {
    let system = System::with(SITES);
    let path = "/srv/a\nExecStartPre=/bin/true\n#/sites.yaml";
    system.write(path, SITES);
    system.refuses(&["install", "--config", path], "control characters");
}

#[test]
fn nothing_is_started_that_its_user_cannot_read() {
    let system = System::with(&format!("{LISTEN}{SITES}"));
    system.program("runuser", "echo 'cannot read certs/a.key'; exit 1\n");
    let ended = system.does(&["install"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("  cannot read certs/a.key\n"),
        "{}",
        ended.err
    );
    assert!(!system.told().iter().any(|line| line.contains("enable")));
}

#[test]
fn a_missing_systemd_sysusers_is_made_up_for() {
    let system = System::with(SITES);
    fs::remove_file(system.folder.path().join("bin/systemd-sysusers")).unwrap();
    let ended = system.does(&["install", "--dry-run"]);
    assert!(ended.out.contains("run useradd --system "), "{}", ended.out);
    system.write(
        "/etc/passwd",
        "root:x:0:0::/:/bin/sh\nhostmux:x:9:9::/:/bin/false\n",
    );
    let ended = system.does(&["install", "--dry-run"]);
    assert!(!ended.out.contains("useradd"), "{}", ended.out);
}

#[test]
fn status_tells_how_it_is_and_ends_so() {
    let system = System::with(SITES);
    let none = system.does(&["status"]);
    assert_eq!(none.code, Some(1), "{}", none.err);
    assert!(
        none.out.contains("hostmux.service  not installed"),
        "{}",
        none.out
    );

    let _program = system.serving(SITES);
    let runs = system.does(&["status"]);
    assert_eq!(runs.code, Some(0), "{}", runs.err);
    for words in [
        "hostmux.service  active (some), process 71\n",
        &format!("version        {}\n", env!("CARGO_PKG_VERSION")),
        "sites.yaml\n",
        "hostmux.socket   active (some): [::]:443",
    ] {
        assert!(runs.out.contains(words), "{words}: {}", runs.out);
    }
    let json = system.does(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["active"], "active");
    assert_eq!(json["pid"], 71);
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["degraded"], false);
    assert_eq!(json["socket"]["listens"], serde_json::json!(["[::]:443"]));
}

#[test]
fn a_service_that_serves_only_some_of_its_sites_is_degraded() {
    let system = System::with(SITES);
    let _program = system.serving("sites: { a.test: 1, b.test: 0 }\n");
    let degraded = system.does(&["status"]);
    assert_eq!(degraded.code, Some(4), "{}", degraded.err);
    assert!(degraded.out.contains("degraded"), "{}", degraded.out);
    let json = system.does(&["status", "--json"]);
    assert!(json.out.contains("\"degraded\": true"), "{}", json.out);

    // It runs, and so it may be installed.
    system.write(
        "/etc/hostmux/sites.yaml",
        &format!("{LISTEN}sites: {{ a.test: 1, b.test: 0 }}\n"),
    );
    let printed = system.does(&["install", "--dry-run", "--force"]);
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    assert!(printed.err.contains("0 is not a port"), "{}", printed.err);
}

/// systemd itself reads what is written here, and rates it.
#[test]
fn the_units_are_right_and_tight() {
    let Some(version) = version() else {
        eprintln!("systemd-analyze is not there: the units are not verified");
        return;
    };
    let system = System::with(SITES);
    assert_eq!(system.does(&["install"]).code, Some(0));
    let own = system.read(UNITS[0]);
    // It looks for the binary.
    let own = own.replace("/usr/local/bin/hostmux", env!("CARGO_BIN_EXE_hostmux"));
    system.write(UNITS[0], &own);
    let analyze = |arguments: &[&str]| {
        let done = Command::new("systemd-analyze")
            .args(arguments)
            .args(UNITS.map(|unit| system.path(unit)))
            .output()
            .unwrap();
        let all = [done.stdout, done.stderr].concat();
        (
            done.status.success(),
            String::from_utf8_lossy(&all).into_owned(),
        )
    };
    let (passed, said) = analyze(&["verify", "--man=no"]);
    assert!(
        passed && said.trim().is_empty(),
        "systemd {version}: {said}"
    );
    let service = system.path(UNITS[0]);
    let rated = Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true", "--threshold=20"])
        .arg(service)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&rated.stdout).into_owned();
    assert!(
        rated.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&rated.stderr)
    );
    let overall = text
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    eprintln!("systemd {version}: {}", overall.unwrap_or_default());
}
