//! The program as it is started: what it prints, and how it ends.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Backend, Client, Conn, get};

/// How long the program may take before a test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A started hostmux. Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    said: Vec<String>,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn all(&self) -> String {
        format!("{}\n{}", self.out, self.err)
    }
}

impl Program {
    /// Starts it in a folder that is its state as well, with this on its standard input.
    pub(crate) fn start(folder: &Path, arguments: &[&str], input: &str) -> Self {
        Self::spawn(
            Command::new(env!("CARGO_BIN_EXE_hostmux")).args(arguments),
            folder,
            input,
        )
    }

    /// The same by another name.
    pub(crate) fn start_as(path: &Path, folder: &Path, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(path).args(arguments), folder, "")
    }

    /// The same, with so many descriptors.
    pub(crate) fn start_with_descriptors(
        folder: &Path,
        arguments: &[&str],
        descriptors: u32,
    ) -> Self {
        let limited = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_hostmux")]);
        Self::spawn(shell.args(arguments), folder, "")
    }

    /// The same, with these as its standard streams and the log of events kept:
    /// what comes in and goes out there a shell can put elsewhere.
    pub(crate) fn start_in_shell(folder: &Path, script: &str, streams: [OwnedFd; 2]) -> Self {
        let [input, output] = streams;
        let mut child = Command::new("/bin/sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_hostmux")])
            .current_dir(folder)
            .env_clear()
            .env("STATE_DIRECTORY", folder.join("state"))
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let err = lines(child.stderr.take().unwrap());
        Self {
            child,
            out: channel().1,
            err,
            said: Vec::new(),
        }
    }

    fn spawn(command: &mut Command, folder: &Path, input: &str) -> Self {
        let mut child = command
            .current_dir(folder)
            .env_clear()
            .env("STATE_DIRECTORY", folder.join("state"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        Self {
            child,
            out,
            err,
            said: Vec::new(),
        }
    }

    /// Waits for a line of the log of events that holds these words; gives it.
    pub(crate) fn says(&mut self, words: &str) -> String {
        loop {
            let line = self.err.recv_timeout(PATIENCE);
            let line =
                line.unwrap_or_else(|_| panic!("it did not say {words:?} but {:#?}", self.said));
            self.said.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Waits until it listens; where, for https and http.
    pub(crate) fn listens(&mut self) -> [SocketAddr; 2] {
        let mut address = || {
            let line: serde_json::Value = serde_json::from_str(&self.says("listening")).unwrap();
            line["address"].as_str().unwrap().parse().unwrap()
        };
        [address(), address()]
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of this very process, while another may hold its streams.
    pub(crate) fn ended_alone(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(crate) fn ended(mut self) -> Ended {
        // Its streams end when it does.
        let rest = |lines: &Receiver<String>| {
            let mut all = Vec::new();
            loop {
                match lines.recv_timeout(PATIENCE) {
                    Ok(line) => all.push(line),
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return all,
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                        panic!("it did not end, but said {all:#?}")
                    }
                }
            }
        };
        let out = rest(&self.out).join("\n");
        let mut err = std::mem::take(&mut self.said);
        err.extend(rest(&self.err));
        Ended {
            code: self.child.wait().unwrap().code(),
            out,
            err: err.join("\n"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Runs it to its end.
fn run(arguments: &[&str], files: &[(&str, &str)], input: &str) -> Ended {
    Program::start(folder(files).path(), arguments, input).ended()
}

pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

pub(crate) const LISTEN: &str = "listen: { https: \"127.0.0.1:0\", http: \"127.0.0.1:0\" }\n";
const GOOD: &str = "sites:\n  a.test: 8080\n  \"*.b.test\": [8081, 8082]\nfallback: 8888\n";
const BROKEN: &str = "sites:\n  a.test: 8O80\n  A.test: 8081\n  b.test: { upstrem: 80 }\n";

#[test]
fn it_says_what_it_is() {
    let version = run(&["--version"], &[], "");
    assert_eq!(
        (version.code, version.out),
        (Some(0), format!("hostmux {}", env!("CARGO_PKG_VERSION")))
    );
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["run", "--help"],
        &["check", "--help"],
        &["lookup", "--help"],
        &["demo", "--help"],
        &["list", "--help"],
        &["status", "--help"],
        &["reload", "--help"],
        &["diff", "--help"],
        &["add", "--help"],
        &["remove", "--help"],
        &["drain", "--help"],
        &["weight", "--help"],
        &["pause", "--help"],
        &["resume", "--help"],
        &["stop", "--help"],
        &["upgrade", "--help"],
        &["init", "--help"],
        &["service", "--help"],
        &["service", "install", "--help"],
        &["service", "uninstall", "--help"],
        &["service", "status", "--help"],
        &["doctor", "--help"],
    ] {
        let help = run(arguments, &[], "");
        assert_eq!(
            (help.code, help.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(help.out.contains("Usage: hostmux"), "{}", help.out);
    }
    let help = run(&["--help"], &[], "").out;
    for word in [
        "run",
        "demo",
        "check",
        "lookup",
        "list",
        "status",
        "reload",
        "diff",
        "add",
        "remove",
        "drain",
        "weight",
        "pause",
        "resume",
        "stop",
        "upgrade",
        "init",
        "service",
        "doctor",
        "HOSTMUX_CONFIG",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["--nonsense"][..],
        &["nonsense"],
        &["check", "a", "b"],
        &["lookup"],
        &["run", "-c"],
        &["demo", "--port", "x"],
        &["demo", "--port", "99999"],
    ] {
        let ended = run(arguments, &[], "");
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(ended.err.contains("error:"), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn check_of_a_good_file_is_0() {
    for (arguments, input) in [
        (&["check"][..], ""),
        (&["check", "sites.yaml"], ""),
        (&["check", "-"], GOOD),
    ] {
        let ended = run(arguments, &[("sites.yaml", GOOD)], input);
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(
            ended.out.contains("2 sites, fallback localhost:8888"),
            "{}",
            ended.out
        );
    }
    let ended = run(&["check", "--json"], &[("sites.yaml", GOOD)], "");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "[]"));
}

#[test]
fn check_of_a_broken_file_is_1_and_tells_every_fault_at_its_place() {
    let ended = run(&["check", "x.yaml"], &[("x.yaml", BROKEN)], "");
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""));
    for place in ["x.yaml:2:11", "x.yaml:3:3", "x.yaml:4:13"] {
        assert!(ended.out.contains(place), "{place}: {}", ended.out);
    }
    assert!(
        ended.out.contains("did you mean `upstream`?") && !ended.out.contains('\u{1b}'),
        "{}",
        ended.out
    );
    let ended = run(&["check", "--json", "-"], &[], BROKEN);
    let faults: Vec<serde_json::Value> = serde_json::from_str(&ended.out).unwrap();
    let lines: Vec<_> = faults
        .iter()
        .map(|fault| fault["line"].as_u64().unwrap())
        .collect();
    assert_eq!((ended.code, lines), (Some(1), vec![2, 3, 4]));
}

#[test]
fn a_file_that_cannot_be_read_is_1() {
    let missing = run(&["check", "none.yaml"], &[], "");
    assert_eq!(missing.code, Some(1));
    assert!(missing.all().contains("none.yaml"), "{}", missing.all());
    let folder = run(&["check", "."], &[], "");
    assert_eq!(folder.code, Some(1));
    assert!(folder.all().contains("sites.yaml"), "{}", folder.all());
    let bytes = folder_with_bytes(b"sites:\n  a.test: \xff\n");
    let ended = Program::start(bytes.path(), &["check"], "").ended();
    assert_eq!(ended.code, Some(1));
    assert!(ended.all().contains("UTF-8"), "{}", ended.all());
}

fn folder_with_bytes(bytes: &[u8]) -> tempfile::TempDir {
    let folder = folder(&[]);
    std::fs::write(folder.path().join("sites.yaml"), bytes).unwrap();
    folder
}

#[test]
fn lookup_tells_who_would_answer() {
    for (url, code, words) in [
        ("https://a.test/x", 0, "localhost:8080"),
        ("one.b.test", 0, "localhost:8081"),
        ("https://none.test", 0, "fallback"),
        ("http://a.test", 0, "308"),
    ] {
        let ended = run(&["lookup", url], &[("sites.yaml", GOOD)], "");
        assert_eq!(ended.code, Some(code), "{url}: {}", ended.err);
        assert!(ended.out.contains(words), "{url}: {}", ended.out);
    }
    let routes = "sites:\n  a.test:\n    upstream: 1\n    routes:\n      /v1: { upstream: 2, strip_prefix: on }\n      /v1/x: 3\n";
    for (url, words) in [
        (
            "a.test/v1/y?z",
            "/v1 (line 5)\nroute_why    the longest prefix",
        ),
        ("a.test/v1/y?z", "path         /y, as the endpoint sees it"),
        ("a.test/v1/x/y", "localhost:3"),
        ("a.test/w", "/ (line 2)\nroute_why    no longer prefix"),
        ("a.test/v1%2fx", "400"),
    ] {
        let ended = run(&["lookup", url], &[("sites.yaml", routes)], "");
        assert!(ended.out.contains(words), "{url}: {}", ended.out);
    }
    let nobody = run(
        &["lookup", "none.test"],
        &[("sites.yaml", "sites:\n  a.test: 8080\n")],
        "",
    );
    assert_eq!(nobody.code, Some(1));
    assert_eq!(
        run(&["lookup", "ftp://a.test"], &[("sites.yaml", GOOD)], "").code,
        Some(1)
    );
}

/// The port is held, so that a bind would be told, too.
#[test]
fn a_broken_file_is_not_run() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let text = format!("listen: {{ https: \"127.0.0.1:{port}\", http: off }}\n{BROKEN}");
    for arguments in [&["run"][..], &[], &["run", "-c", "sites.yaml"]] {
        let ended = run(arguments, &[("sites.yaml", &text)], "");
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
        for place in ["sites.yaml:3:11", "sites.yaml:4:3", "sites.yaml:5:13"] {
            assert!(ended.err.contains(place), "{place}: {}", ended.err);
        }
        assert!(
            !ended.err.contains("listen on"),
            "nothing is bound: {}",
            ended.err
        );
    }
}

#[test]
fn no_file_at_all_is_told() {
    let ended = run(&["run"], &[], "");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("sites.yaml") && ended.err.contains("-c FILE"),
        "{}",
        ended.err
    );
}

#[test]
fn taken_ports_are_told_with_their_holder() {
    let held = [
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    ];
    let [one, two] = held.each_ref().map(|held| held.local_addr().unwrap());
    let text = format!("listen: {{ https: \"{one}\", http: \"{two}\" }}\n{GOOD}");
    let ended = run(&["run"], &[("sites.yaml", &text)], "");
    assert_eq!(ended.code, Some(1));
    for held in [one, two] {
        assert!(
            ended.err.contains(&format!("cannot listen on {held}")),
            "{}",
            ended.err
        );
    }
    assert!(
        ended
            .err
            .contains(&format!("process {}", std::process::id())),
        "{}",
        ended.err
    );
}

/// A configuration before an endpoint, on free ports.
fn before(backend: &Backend) -> String {
    format!(
        "{LISTEN}sites:\n  a.test: {{ upstream: {}, plain_http: serve }}\n",
        backend.at()
    )
}

#[tokio::test]
async fn it_serves_and_stops_when_told() {
    let backend = Backend::echo().await;
    for signal in [Signal::TERM, Signal::INT] {
        let folder = folder(&[("sites.yaml", &before(&backend))]);
        let mut program = Program::start(folder.path(), &["run"], "");
        let [_, http] = program.listens();
        let mut client = Client::connect(http).await;
        assert_eq!(client.get("a.test", "/hello").await.status, 200);
        program.signal(signal);
        assert!(client.is_closed().await, "what is idle is closed at once");
        let ended = program.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let line: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(
            (&line["path"], &line["status"]),
            (&"/hello".into(), &200.into())
        );
        use std::os::unix::fs::PermissionsExt;
        let key = std::fs::metadata(folder.path().join("state/local-ca/ca.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_it_stops() {
    let (gate, open) = tokio::sync::watch::channel(false);
    let backend = Backend::script(move |mut conn: Conn| {
        let mut open = open.clone();
        async move {
            conn.request().await;
            open.wait_for(|open| *open).await.unwrap();
            conn.send(crate::harness::ok(b"finished")).await;
        }
    })
    .await;
    let folder = folder(&[("sites.yaml", &before(&backend))]);
    let mut program = Program::start(folder.path(), &[], "");
    let [_, http] = program.listens();
    let mut client = Client::connect(http).await;
    client.send(get("a.test", "/")).await;
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    program.signal(Signal::TERM);
    program.says("draining");
    gate.send(true).unwrap();
    assert_eq!(client.answer().await.text(), "finished");
    assert_eq!(program.ended().code, Some(0));
}

/// Half of what descriptors are left is for clients. Those that come then wait,
/// and are served when others go.
#[tokio::test]
async fn at_the_limit_of_connections_others_wait_until_some_leave() {
    let backend = Backend::echo().await;
    let folder = folder(&[("sites.yaml", &before(&backend))]);
    let mut program = Program::start_with_descriptors(folder.path(), &["run"], 128);
    let [_, http] = program.listens();
    let mut clients = Vec::new();
    for _ in 0..32 {
        let mut client = Client::connect(http).await;
        assert_eq!(client.get("a.test", "/").await.status, 200);
        clients.push(client);
    }
    let mut late = Client::connect(http).await;
    late.send(get("a.test", "/late")).await;
    program.says("the limit of connections is reached");
    assert!(
        backend
            .requests()
            .iter()
            .all(|request| request.target() != "/late")
    );
    clients.truncate(16);
    assert_eq!(late.answer().await.status, 200);
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code, Some(0));
}

#[tokio::test]
async fn a_second_signal_stops_it_at_once() {
    let backend = Backend::stalling().await;
    let folder = folder(&[("sites.yaml", &before(&backend))]);
    let mut program = Program::start(folder.path(), &["run"], "");
    let [_, http] = program.listens();
    let mut client = Client::connect(http).await;
    client.send(get("a.test", "/")).await;
    backend.wait_for(|seen| seen.requests.len() == 1).await;
    program.signal(Signal::TERM);
    program.says("draining");
    program.signal(Signal::TERM);
    let ended = program.ended();
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    assert!(client.head().await.is_none());
}

/// Ports that are taken are replaced, so that it needs nothing.
#[tokio::test]
async fn the_demonstration_serves() {
    let folder = folder(&[]);
    let program = Program::start(folder.path(), &["demo", "--port", "0"], "");
    let mut said = Vec::new();
    while !said
        .last()
        .is_some_and(|line: &String| line.contains("Ctrl-C"))
    {
        said.push(program.out.recv_timeout(PATIENCE).unwrap());
    }
    let line = said.iter().find(|line| line.contains("--cacert")).unwrap();
    let mut words = line
        .split_whitespace()
        .skip_while(|word| *word != "--cacert")
        .skip(1);
    let (ca, resolve) = (words.next().unwrap(), words.nth(1).unwrap());
    let port: u16 = resolve.split(':').nth(1).unwrap().parse().unwrap();
    let front = crate::harness::Front::new(
        SocketAddr::from(([127, 0, 0, 1], port)),
        &std::fs::read(ca).unwrap(),
    );
    for (name, site) in [
        ("sub1.xyz.com", "sub1.xyz.com"),
        ("sub2.xyz.com", "sub2.xyz.com"),
        ("no.xyz.com", "fallback"),
    ] {
        let words = format!("the endpoint of {site}");
        assert!(
            front
                .tls(name)
                .await
                .get(name, "/")
                .await
                .text()
                .contains(&words)
        );
        assert!(
            front
                .h2(name)
                .await
                .get(name, "/")
                .await
                .text()
                .contains(&words)
        );
    }
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code, Some(0));
}
