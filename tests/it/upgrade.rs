//! Upgrades: another process takes all over, and nobody notices.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::cli::{LISTEN, Program, folder};
use crate::harness::{Backend, Client, Front, until};

/// A hostmux that runs by a link, as a package manager or a deployment puts
/// one there, and whoever comes after it.
struct Line {
    folder: tempfile::TempDir,
    program: Program,
    https: SocketAddr,
    http: SocketAddr,
    /// Processes that are no child of ours.
    later: Vec<i32>,
}

impl Line {
    fn start(endpoint: &Backend) -> Self {
        let yaml = format!(
            "{LISTEN}sites:\n  a.test: {{ upstream: \"{}\", plain_http: serve }}\n  b.test: 9\n",
            endpoint.at()
        );
        let folder = folder(&[("sites.yaml", &yaml)]);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hostmux"), folder.path().join("hostmux"))
            .unwrap();
        let path = folder.path().join("hostmux");
        let mut program = Program::start_as(&path, folder.path(), &["run"]);
        let [https, http] = program.listens();
        Self {
            folder,
            program,
            https,
            http,
            later: Vec::new(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let ended = Program::start(self.path(), arguments, "").ended();
        (ended.code, ended.out, ended.err)
    }

    fn status(&self) -> Value {
        let (code, out, err) = self.command(&["status", "--json"]);
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// The process that answers commands.
    fn pid(&self) -> i32 {
        i32::try_from(self.status()["pid"].as_u64().unwrap()).unwrap()
    }

    /// By the command; gives the new process.
    fn upgrades(&mut self) -> i32 {
        let (code, out, err) = self.command(&["upgrade", "--json"]);
        assert_eq!(code, Some(0), "{err}");
        let told: Value = serde_json::from_str(&out).unwrap();
        let pid = i32::try_from(told["pid"].as_u64().unwrap()).unwrap();
        self.later.push(pid);
        pid
    }

    /// Puts another program where hostmux is.
    fn replace(&self, script: &str) {
        // Not by this process, which starts others: what one of them holds open
        // for writing cannot be executed.
        let write = "printf %s \"$1\" > next && chmod 755 next && mv next hostmux";
        let written = std::process::Command::new("/bin/sh")
            .args(["-c", write, "sh", script])
            .current_dir(self.path())
            .status();
        assert!(written.unwrap().success());
    }

    async fn get(&self) -> u16 {
        let mut client = Client::connect(self.http).await;
        client.get("a.test", "/").await.status
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for pid in &self.later {
            signal(*pid, Signal::KILL);
        }
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Requests without end: on a connection that is kept, and each on a new one.
struct Load {
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    fn on(line: &Line) -> Self {
        let mut load = Self {
            over: Arc::default(),
            served: Arc::default(),
            clients: JoinSet::new(),
        };
        let pem = std::fs::read(line.path().join("state/local-ca/ca.pem")).unwrap();
        for n in 0..6 {
            let (over, served) = (load.over.clone(), load.served.clone());
            let (http, https, pem) = (line.http, line.https, pem.clone());
            load.clients.spawn(async move {
                let front = Front::new(https, &pem);
                let mut kept = None;
                while !over.load(Ordering::Relaxed) {
                    let mut client = match (n % 3, kept.take()) {
                        (0, Some(client)) => client,
                        (2, _) => front.tls("a.test").await,
                        _ => Client::connect(http).await,
                    };
                    let answer = client.get("a.test", "/").await;
                    assert_eq!((answer.status, answer.whole), (200, true));
                    served.fetch_add(1, Ordering::Relaxed);
                    // A client goes to another connection when it is told to.
                    let ends = answer.field("connection").as_deref() == Some("close");
                    kept = (!ends).then_some(client);
                }
            });
        }
        load
    }

    /// Waits for some more requests.
    async fn goes_on(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until(|| self.served.load(Ordering::Relaxed) > before + 100).await;
    }

    async fn ends(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
    }
}

#[tokio::test]
async fn three_upgrades_in_a_row_cost_no_request() {
    let endpoint = Backend::echo().await;
    let mut line = Line::start(&endpoint);
    let load = Load::on(&line);
    load.goes_on().await;
    let mut pid = i32::try_from(line.program.id()).unwrap();
    let mut descriptors = Vec::new();
    for _ in 0..3 {
        signal(pid, Signal::USR2);
        let socket = line.path().join("state/hostmux.sock");
        until(|| UnixStream::connect(&socket).is_ok()).await;
        let mut next = line.pid();
        while next == pid {
            load.goes_on().await;
            next = line.pid();
        }
        line.later.push(next);
        until(|| !runs(pid)).await;
        load.goes_on().await;
        descriptors.push(
            std::fs::read_dir(format!("/proc/{next}/fd"))
                .unwrap()
                .count(),
        );
        pid = next;
    }
    load.ends().await;
    // Nothing but the sockets went along: it does not grow.
    assert!(descriptors[2] <= descriptors[0] + 16, "{descriptors:?}");
    assert_eq!(line.get().await, 200);
    signal(pid, Signal::TERM);
    until(|| !runs(pid)).await;
    let socket = line.path().join("state/hostmux.sock");
    assert!(!socket.exists(), "it goes with the last one");
}

#[tokio::test]
async fn the_command_names_the_new_process_which_reads_the_file_anew() {
    let endpoint = Backend::echo().await;
    let mut line = Line::start(&endpoint);
    let old = line.pid();
    let text = std::fs::read_to_string(line.path().join("sites.yaml")).unwrap();
    let more = text.replace(
        "http: \"127.0.0.1:0\"",
        "http: [\"127.0.0.1:0\", \"127.0.0.2:0\"]",
    );
    std::fs::write(line.path().join("sites.yaml"), more + "  c.test: 9\n").unwrap();
    let (code, out, err) = line.command(&["upgrade"]);
    assert_eq!(code, Some(0), "{err}");
    let new = line.pid();
    line.later.push(new);
    assert!(
        out.contains(&format!("process {new} serves"))
            && out.contains(&format!("process {old} finishes")),
        "{out}"
    );
    assert_ne!(new, old);
    let sites = line.command(&["list"]).1;
    assert!(sites.contains("c.test"), "{sites}");
    assert_eq!(line.get().await, 200);
    // Both write to the same log.
    assert!(line.program.says("127.0.0.2").contains("listening"));
    until(|| !runs(old)).await;
    // One that is started by hand has no part in it.
    let mut third = Program::start(line.path(), &["run"], "");
    third.says("another hostmux listens for commands");
    third.signal(Signal::KILL);
    assert_eq!(line.pid(), new);
}

#[tokio::test]
async fn what_was_changed_by_hand_is_kept() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let mut line = Line::start(&first);
    for arguments in [
        &["add", "a.test", second.at(), "--runtime"][..],
        &["weight", "a.test", second.at(), "7"],
        &["drain", "a.test", first.at()],
        &["stop", "b.test", "-m", "back at noon"],
    ] {
        let (code, _, err) = line.command(arguments);
        assert_eq!(code, Some(0), "{err}");
    }
    let before = line.status()["runtime_changes"].clone();
    assert_eq!(before.as_array().unwrap().len(), 4, "{before}");
    line.upgrades();
    assert_eq!(line.status()["runtime_changes"], before);
    assert_eq!(line.get().await, 200);
    assert_eq!((first.requests().len(), second.requests().len()), (0, 1));
    let stopped = Client::connect(line.http).await.get("b.test", "/").await;
    assert!(
        stopped.text().contains("back at noon"),
        "{}",
        stopped.text()
    );
}

#[tokio::test]
async fn a_program_that_does_not_come_to_serve_costs_nothing() {
    let endpoint = Backend::echo().await;
    let mut line = Line::start(&endpoint);
    let pid = line.pid();
    let mut kept = Client::connect(line.http).await;
    assert_eq!(kept.get("a.test", "/").await.status, 200);
    for (script, want) in [
        ("#!/bin/sh\nexit 9\n", "exit status: 9"),
        ("#!/bin/sh\nkill -SEGV $$\n", "signal: 11"),
        ("no program at all", "could not be started"),
        (
            "#!/bin/sh\necho what >&0\nexec sleep 60\n",
            "could not be understood",
        ),
    ] {
        line.replace(script);
        let (code, _, err) = line.command(&["upgrade"]);
        assert_eq!(code, Some(1), "{script}");
        assert!(err.contains("error: ") && err.contains("= help: "), "{err}");
        assert!(err.contains(want), "{err}");
        let log = line.program.says("no upgrade");
        assert!(log.contains("goes on"), "{log}");
        assert_eq!(line.pid(), pid);
        let status = line.command(&["status"]).1;
        assert!(status.contains("the upgrade of"), "{status}");
    }
    std::fs::remove_file(line.path().join("hostmux")).unwrap();
    signal(pid, Signal::USR2);
    let log = line.program.says("no upgrade");
    assert!(log.contains("could not be started"), "{log}");
    assert_eq!(kept.get("a.test", "/").await.status, 200);
    assert_eq!(line.get().await, 200);
    let socket = line.path().join("state/hostmux.sock");
    assert!(socket.exists());
    line.program.signal(Signal::TERM);
}

/// The real program, which finds that it cannot serve.
#[tokio::test]
async fn a_new_process_says_why_it_does_not_serve() {
    let endpoint = Backend::echo().await;
    let mut line = Line::start(&endpoint);
    let pid = line.pid();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = line.path().join("sites.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("http: \"127.0.0.1:0\"", &format!("http: \"{address}\""));
    std::fs::write(&file, changed).unwrap();
    let (code, _, err) = line.command(&["upgrade"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains(&format!("cannot listen on {address}")),
        "{err}"
    );
    assert_eq!(line.pid(), pid);
    assert_eq!(line.get().await, 200);
    // It had the control socket in its hands, and has not taken it away.
    std::fs::write(&file, text).unwrap();
    assert_ne!(line.upgrades(), pid);
    assert_eq!(line.get().await, 200);
}

#[tokio::test]
async fn one_upgrade_at_a_time_and_a_stop_ends_it() {
    let endpoint = Backend::echo().await;
    let mut line = Line::start(&endpoint);
    let there = line.path().join("there");
    line.replace(&format!(
        "#!/bin/sh\necho $$ > {0}.part; mv {0}.part {0}; exec sleep 60\n",
        there.display()
    ));
    line.program.signal(Signal::USR2);
    until(|| there.exists()).await;
    let (code, _, err) = line.command(&["upgrade"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("under way already"), "{err}");
    line.program.signal(Signal::USR2);
    line.program.says("under way already");
    assert_eq!(line.get().await, 200);
    let pid: i32 = std::fs::read_to_string(&there)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    line.program.signal(Signal::TERM);
    line.program.says("draining");
    until(|| !runs(pid)).await;
    line.program.says("stopped");
}

/// It accepted while it could still be given up, and its connections with it.
#[tokio::test]
async fn a_new_process_accepts_nobody_before_it_is_told_to() {
    let (endpoint, listener) = (Backend::echo().await, TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    let yaml = format!(
        "listen: {{ https: \"127.0.0.1:0\", http: \"{address}\" }}\nsites:\n  a.test: {{ upstream: {}, plain_http: serve }}\n",
        endpoint.at()
    );
    let folder = folder(&[("sites.yaml", &yaml)]);
    let (mut line, theirs) = UnixStream::pair().unwrap();
    let script = format!(
        "HOSTMUX_UPGRADE_FROM={}; export HOSTMUX_UPGRADE_FROM; exec \"$0\" run",
        std::process::id()
    );
    let nothing = std::fs::File::open("/dev/null").unwrap();
    let streams = [theirs.into(), nothing.into()];
    let mut program = Program::start_in_shell(folder.path(), &script, streams);
    let offer = format!(
        "{{\"protocol\": 1, \"version\": \"1\", \"sockets\": [{{\"kind\": \"http\", \"listen\": \"{address}\"}}]}}\n"
    );
    hand_over(&line, offer.as_bytes(), &listener);
    program.says("listening");
    // One after the other; whoever accepts first has it.
    for _ in 0..50 {
        let _client = std::net::TcpStream::connect(address).unwrap();
        until(|| listener.accept().is_ok()).await;
    }
    line.write_all(b"{\"go\": true}\n").unwrap();
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    program.signal(Signal::KILL);
}

/// A line, and a socket beside it (`SCM_RIGHTS`, unix(7)).
fn hand_over(line: &UnixStream, offer: &[u8], socket: &TcpListener) {
    let sockets = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    assert!(beside.push(SendAncillaryMessage::ScmRights(&sockets)));
    let sent = sendmsg(
        line,
        &[IoSlice::new(offer)],
        &mut beside,
        SendFlags::empty(),
    );
    assert_eq!(sent.unwrap(), offer.len());
}

/// It waited for the end of the drain, and held it up.
#[tokio::test]
async fn who_asks_for_an_upgrade_of_a_process_that_ends_is_told_at_once() {
    let endpoint = Backend::echo().await;
    let mut line = Line::start(&endpoint);
    // A head that does not end holds the drain.
    let mut slow = Client::connect(line.http).await;
    slow.send(b"GET / HTTP/1.1\r\n").await;
    line.program.signal(Signal::TERM);
    line.program.says("draining");
    let (code, _, err) = line.command(&["upgrade"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("this process ends"), "{err}");
    line.program.signal(Signal::TERM);
    line.program.says("stopped at once");
}

#[test]
fn what_cannot_be_upgraded_says_why() {
    let folder = folder(&[]);
    let yaml = format!("{LISTEN}sites:\n  a.test: 1\n");
    let mut program = Program::start(folder.path(), &["run", "-c", "-"], &yaml);
    program.listens();
    program.signal(Signal::USR2);
    let log = program.says("no upgrade");
    assert!(log.contains("in no file"), "{log}");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code, Some(0));
}

/// The variable is there, and nobody hands anything over.
#[test]
fn a_word_of_somebody_else_is_not_believed() {
    let folder = folder(&[("sites.yaml", &format!("{LISTEN}sites:\n  a.test: 1\n"))]);
    let shell = |pid: &str| {
        let script = format!("HOSTMUX_UPGRADE_FROM={pid}; export HOSTMUX_UPGRADE_FROM; \"$0\" run");
        let nothing = || std::fs::File::open("/dev/null").unwrap().into();
        Program::start_in_shell(folder.path(), &script, [nothing(), nothing()])
    };
    // The shell is the parent, and no hostmux.
    let ended = shell("$$").ended();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("does not lead to it"), "{}", ended.err);
    let path = PathBuf::from(folder.path());
    let script = "HOSTMUX_UPGRADE_FROM=1; export HOSTMUX_UPGRADE_FROM; exec \"$0\" run";
    let nothing = || std::fs::File::open("/dev/null").unwrap().into();
    let mut program = Program::start_in_shell(&path, script, [nothing(), nothing()]);
    program.listens();
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code, Some(0));
}

/// Nobody was told that the new process served less than the file says.
#[tokio::test]
async fn an_upgrade_with_a_faulty_file_says_what_is_not_served() {
    let endpoint = Backend::echo().await;
    let mut line = Line::start(&endpoint);
    let file = line.path().join("sites.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    for (faulty, words) in [
        (
            good.replace("b.test: 9", "b.test: 9O"),
            "not served: `b.test` (config line",
        ),
        ("sites: [\n".to_owned(), "its last good copy is served"),
    ] {
        std::fs::write(&file, &faulty).unwrap();
        let (code, out, err) = line.command(&["upgrade", "--json"]);
        assert_eq!(code, Some(4), "{err}");
        assert!(err.contains("degraded: ") && err.contains(words), "{err}");
        let told: Value = serde_json::from_str(&out).unwrap();
        assert!(told["degraded"].as_str().unwrap().contains(words), "{told}");
        line.later
            .push(i32::try_from(told["pid"].as_u64().unwrap()).unwrap());
        assert_eq!(line.get().await, 200);
        assert_eq!(line.status()["condition"], "degraded");
    }
}

/// They ended a process that was still reading its file.
#[tokio::test]
async fn signals_that_come_while_it_starts_end_nothing() {
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
    let endpoint = Backend::echo().await;
    let yaml = format!("{LISTEN}sites: {{ a.test: \"{}\" }}\n", endpoint.at());
    let folder = folder(&[]);
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut program = Program::start(folder.path(), &["run", "-c", "pipe"], "");
    // Nobody can write before somebody reads.
    let write = || open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
    let writer = std::cell::Cell::new(None);
    until(|| {
        writer.set(write());
        let opened = writer.take();
        let is_open = opened.is_some();
        writer.set(opened);
        is_open
    })
    .await;
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        program.signal(signal);
    }
    let writer = writer.take().unwrap();
    assert_eq!(rustix::io::write(&writer, yaml.as_bytes()), Ok(yaml.len()));
    drop(writer);
    program.listens();
}
