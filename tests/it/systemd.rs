//! What systemd is told, by a socket that stands for it, and by itself where
//! the machine runs it.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{LISTEN, Program, folder};
use crate::harness::{Backend, Client, until};

/// Where notifications come.
struct Notified(UnixDatagram);

impl Notified {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self(socket)
    }

    /// The next one that holds this; those before it are gone.
    fn hears(&self, words: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let length = self.0.recv(&mut bytes);
            let length = length.unwrap_or_else(|error| panic!("{words:?}: {error}"));
            let said = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if said.lines().any(|line| line.starts_with(words)) {
                return said;
            }
        }
    }
}

#[test]
fn systemd_is_told_of_the_life_of_a_process() {
    let folder = folder(&[("sites.yaml", &format!("{LISTEN}sites:\n  a.test: 1\n"))]);
    let path = folder.path().join("notify");
    let systemd = Notified::at(&path);
    let script = format!(
        "NOTIFY_SOCKET={} WATCHDOG_USEC=100000 WATCHDOG_PID=$$; \
         export NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID; exec \"$0\" run",
        path.display()
    );
    let nothing = || -> OwnedFd { std::fs::File::open("/dev/null").unwrap().into() };
    let mut program = Program::start_in_shell(folder.path(), &script, [nothing(), nothing()]);
    assert!(systemd.hears("READY=1").contains("STATUS=1 sites"));
    systemd.hears("WATCHDOG=1");
    program.listens();

    // What is seen to change is shown as well.
    let more = format!("{LISTEN}sites:\n  a.test: 1\n  b.test: 2\n  c.test: 3\n");
    std::fs::write(folder.path().join("sites.yaml"), more).unwrap();
    systemd.hears("STATUS=3 sites");

    std::fs::write(folder.path().join("sites.yaml"), "sites: [").unwrap();
    program.signal(Signal::HUP);
    assert!(systemd.hears("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(systemd.hears("READY=1").contains("refused"));

    let good = format!("{LISTEN}sites:\n  a.test: 1\n  b.test: 2\n");
    std::fs::write(folder.path().join("sites.yaml"), good).unwrap();
    program.signal(Signal::USR2);
    let main = systemd.hears("MAINPID=");
    assert!(!main.contains("READY"), "{main}");
    let pid = main.trim().strip_prefix("MAINPID=").unwrap();
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    assert!(systemd.hears("READY=1").contains("STATUS=2 sites"));
    systemd.hears("WATCHDOG=1");
    // The old one says nothing when it ends.
    assert_eq!(program.ended_alone(), Some(0));
    systemd.hears("WATCHDOG=1");
    kill_process(pid, Signal::TERM).unwrap();
    systemd.hears("STOPPING=1");
}

#[test]
fn a_service_that_systemd_cannot_follow_is_not_upgraded() {
    let folder = folder(&[("sites.yaml", &format!("{LISTEN}sites:\n  a.test: 1\n"))]);
    let script = "SYSTEMD_EXEC_PID=$$; export SYSTEMD_EXEC_PID; exec \"$0\" run";
    let nothing = || -> OwnedFd { std::fs::File::open("/dev/null").unwrap().into() };
    let mut program = Program::start_in_shell(folder.path(), script, [nothing(), nothing()]);
    program.listens();
    program.signal(Signal::USR2);
    let log = program.says("no upgrade");
    assert!(
        log.contains("the end of the service") && log.contains("Type=notify"),
        "{log}"
    );
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code, Some(0));
}

/// A unit of the user's own systemd. Dropped, it is stopped.
struct Unit(String);

impl Unit {
    fn systemctl(&self, arguments: &[&str]) -> String {
        let done = Command::new("systemctl")
            .arg("--user")
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn main_pid(&self) -> String {
        let service = format!("{}.service", self.0);
        self.systemctl(&["show", "--property=MainPID", "--value", &service])
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let (socket, service) = (format!("{}.socket", self.0), format!("{}.service", self.0));
        self.systemctl(&["stop", &socket, &service]);
    }
}

/// Why there is no systemd to try it with.
fn no_systemd() -> Option<String> {
    let asked = Command::new("systemctl")
        .args(["--user", "is-system-running"])
        .output();
    let said = match asked {
        Ok(said) => String::from_utf8_lossy(&said.stdout).trim().to_owned(),
        Err(error) => return Some(format!("systemctl cannot be started: {error}")),
    };
    let runs = ["running", "degraded"].contains(&said.as_str());
    (!runs).then(|| format!("systemctl --user is-system-running: {said:?}"))
}

#[tokio::test]
async fn under_systemd_neither_a_restart_nor_an_upgrade_costs_a_request() {
    if let Some(why) = no_systemd() {
        // Not by the macro, which a test that passes keeps to itself.
        let mut err = std::io::stderr();
        writeln!(err, "nothing was tried with systemd itself: {why}").unwrap();
        return;
    }
    let endpoint = Backend::echo().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let yaml = format!(
        "listen: {{ https: \"127.0.0.1:0\", http: \"{address}\" }}\n\
         sites:\n  a.test: {{ upstream: \"{}\", plain_http: serve }}\n",
        endpoint.at()
    );
    let folder = folder(&[("sites.yaml", &yaml)]);
    let state = folder.path().join("state");
    let unit = Unit(format!("hostmux-test-{}", std::process::id()));
    let started = Command::new("systemd-run")
        .args(["--user", "--collect", "--unit", &unit.0])
        .args(["--property=Type=notify", "--property=NotifyAccess=main"])
        .args(["--property=WatchdogSec=10", "--property=KillMode=mixed"])
        .arg(format!("--socket-property=ListenStream={address}"))
        .arg(format!("--setenv=STATE_DIRECTORY={}", state.display()))
        .args([env!("CARGO_BIN_EXE_hostmux"), "run", "-c"])
        .arg(folder.path().join("sites.yaml"))
        .output()
        .unwrap();
    assert!(started.status.success(), "{started:?}");
    let get = async || {
        let mut client = Client::connect(address).await;
        client.get("a.test", "/").await.status
    };
    // The first connection starts it.
    assert_eq!(get().await, 200);
    let service = format!("{}.service", unit.0);
    let first = unit.main_pid();
    unit.systemctl(&["restart", "--no-block", &service]);
    for _ in 0..20 {
        assert_eq!(get().await, 200);
    }
    until(|| unit.main_pid() != first && unit.main_pid() != "0").await;
    let second = unit.main_pid();
    let upgraded = Program::start(folder.path(), &["upgrade"], "").ended();
    assert_eq!(upgraded.code, Some(0), "{}", upgraded.err);
    until(|| unit.main_pid() != second).await;
    let third = unit.main_pid();
    assert!(
        upgraded.out.contains(&format!("process {third} serves")),
        "{}",
        upgraded.out
    );
    assert_eq!(get().await, 200);
    until(|| !Path::new(&format!("/proc/{second}")).exists()).await;
    assert_eq!(get().await, 200);
    assert_eq!(unit.systemctl(&["is-active", &service]), "active");
}
