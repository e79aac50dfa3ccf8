//! The commands that ask and tell a running hostmux, from outside.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::cli::{Ended, LISTEN, Program, folder};
use crate::harness::{Backend, Client, until};

/// A `sites.yaml` with comments, and where clients can try it.
fn sites(endpoint: &Backend) -> String {
    format!(
        "# mine\n{LISTEN}sites:\n  a.test:   # the app\n    plain_http: serve\n    upstream: {}\n",
        endpoint.at()
    )
}

struct House {
    folder: tempfile::TempDir,
    program: Program,
    http: SocketAddr,
}

impl House {
    fn open(endpoint: &Backend) -> Self {
        let folder = folder(&[("sites.yaml", &sites(endpoint))]);
        let mut program = Program::start(folder.path(), &["run"], "");
        let [_, http] = program.listens();
        Self {
            folder,
            program,
            http,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.path().join("sites.yaml")).unwrap()
    }

    /// A command that is followed; what it prints.
    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let ended = command(self.path(), arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
        ended.out
    }

    /// A command that is refused, with these words and this help.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], words: &str, help: &str) {
        let ended = command(self.path(), arguments);
        refused(&ended, words, help);
    }

    async fn get(&self) -> u16 {
        Client::connect(self.http)
            .await
            .get("a.test", "/")
            .await
            .status
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Ended {
    Program::start(folder, arguments, "").ended()
}

#[track_caller]
fn refused(ended: &Ended, words: &str, help: &str) {
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let lines: Vec<&str> = ended.err.lines().collect();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("error: ") && line.contains(words)),
        "{}",
        ended.err
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("  = help: ") && line.contains(help)),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn add_and_remove_edit_the_file_and_apply_it() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let house = House::open(&first);
    let before = house.file();
    let said = house.does(&["add", "a.test", second.at()]);
    assert!(said.contains("taken it over"), "{said}");
    let list = format!("upstream: [{}, {}]", first.at(), second.at());
    let after = before.replace(&format!("upstream: {}", first.at()), &list);
    assert_eq!(house.file(), after);
    for _ in 0..4 {
        assert_eq!(house.get().await, 200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (2, 2));

    house.refuses(&["add", "a.test", second.at()], "already", "nothing to do");
    house.refuses(&["add", "a.test", "8O80"], "`8O80` is not a port", "`8080`");
    house.refuses(&["remove", "a.test", "1"], "no endpoint", "endpoints there");
    house.refuses(&["remove", "a.test"], "all of `a.test`", "force");
    assert_eq!(house.file(), after);

    house.does(&["remove", "a.test", first.at()]);
    assert_eq!(house.get().await, 200);
    assert_eq!(second.requests().len(), 3);
    house.refuses(&["remove", "a.test", second.at()], "last endpoint", "force");
    // A site more, and gone again.
    house.does(&["add", "b.test", second.at()]);
    let list = house.does(&["list"]);
    assert!(
        list.contains("b.test") && list.contains(second.at()),
        "{list}"
    );
    house.does(&["remove", "b.test", "--force"]);
    assert!(!house.does(&["list"]).contains("b.test"));
}

#[tokio::test]
async fn runtime_changes_are_not_written_and_status_says_so() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let house = House::open(&first);
    let before = house.file();
    let said = house.does(&["add", "a.test", second.at(), "--runtime"]);
    assert!(said.contains("while it runs"), "{said}");
    let name = format!("localhost:{}", second.at());
    let status = house.does(&["status"]);
    assert!(
        status.contains(&format!("{name} added to a.test")),
        "{status}"
    );
    let json: serde_json::Value = serde_json::from_str(&house.does(&["status", "--json"])).unwrap();
    assert_eq!(json["runtime_changes"][0]["endpoint"], name);
    let said = house.does(&["weight", "a.test", second.at(), "5"]);
    assert!(said.contains("weight 5"), "{said}");
    house.does(&["drain", "a.test", first.at()]);
    let status = house.does(&["status"]);
    assert!(
        status.contains("draining") && status.contains("weight of"),
        "{status}"
    );
    house.does(&["drain", "a.test", first.at(), "--undo"]);
    house.does(&["remove", "a.test", second.at(), "--runtime"]);
    house.refuses(
        &["remove", "a.test", first.at(), "--runtime"],
        "last endpoint",
        "--force",
    );
    house.refuses(
        &["add", "a.tset", "1", "--runtime"],
        "no site `a.tset`",
        "did you mean `a.test`",
    );
    house.refuses(
        &["weight", "a.test", first.at(), "257"],
        "not a weight",
        "256",
    );
    assert_eq!(house.file(), before);
    let json: serde_json::Value = serde_json::from_str(&house.does(&["status", "--json"])).unwrap();
    assert_eq!(json["runtime_changes"], serde_json::json!([]));
    let list: serde_json::Value = serde_json::from_str(&house.does(&["list", "--json"])).unwrap();
    assert_eq!(list["sites"][0]["name"], "a.test");
}

#[tokio::test]
async fn a_site_stops_pauses_and_resumes() {
    let endpoint = Backend::echo().await;
    let house = House::open(&endpoint);
    house.does(&["stop", "a.test", "-m", "back at noon"]);
    let answer = Client::connect(house.http).await.get("a.test", "/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("back at noon"), "{}", answer.text());
    assert!(house.does(&["status"]).contains("stopped"));
    house.does(&["pause", "a.test"]);
    assert!(house.does(&["list"]).contains("paused"));
    let said = house.does(&["resume", "a.test"]);
    assert!(said.contains("it was paused"), "{said}");
    assert_eq!(house.get().await, 200);
    house.refuses(&["pause", "b.test"], "no site `b.test`", "a.test");
}

#[test]
fn without_a_running_hostmux_the_file_is_edited_all_the_same() {
    let folder = folder(&[("sites.yaml", "sites:\n  a.test: 8080 # the app\n")]);
    let file = folder.path().join("sites.yaml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ended = command(folder.path(), &["add", "a.test", "8081"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("no hostmux is running"), "{}", ended.out);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "sites:\n  a.test: [8080, 8081] # the app\n");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let tried = "state/hostmux.sock";
    for arguments in [
        &["list"][..],
        &["status", "--json"],
        &["add", "a.test", "8082", "--runtime"],
        &["remove", "a.test", "8081", "--runtime"],
        &["drain", "a.test", "8080"],
        &["weight", "a.test", "8080", "1"],
        &["pause", "a.test"],
        &["resume", "a.test"],
        &["stop", "a.test"],
    ] {
        refused(&command(folder.path(), arguments), tried, "--socket");
    }
    refused(
        &command(folder.path(), &["list", "--socket", "/nowhere/x"]),
        "/nowhere/x",
        "hostmux run",
    );
    for wrong in [
        &["add", "a.test"][..],
        &["weight", "a.test", "1", "x"],
        &["pause"],
        &["list", "x"],
    ] {
        assert_eq!(command(folder.path(), wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn an_edit_that_would_be_wrong_is_not_written() {
    let text = "sites:\n  a.test: 8080\n  b.test: 8O80\n";
    let folder = folder(&[("sites.yaml", text)]);
    let ended = command(folder.path(), &["add", "b.test", "8081"]);
    refused(&ended, "nothing was written", "hostmux check");
    assert!(ended.err.contains("sites.yaml:3:12"), "{}", ended.err);
    let now = std::fs::read_to_string(folder.path().join("sites.yaml")).unwrap();
    assert_eq!(now, text);
}

#[tokio::test]
async fn a_second_hostmux_serves_without_commands_and_a_killed_ones_socket_is_replaced() {
    let endpoint = Backend::echo().await;
    let mut house = House::open(&endpoint);
    let mut second = Program::start(house.path(), &["run"], "");
    second.says("another hostmux listens for commands");
    second.listens();
    second.signal(Signal::TERM);
    assert_eq!(second.ended().code, Some(0));
    let socket = house.path().join("state/hostmux.sock");
    assert!(socket.exists(), "it is the first one's");
    house.does(&["status"]);

    house.program.signal(Signal::KILL);
    until(|| std::os::unix::net::UnixStream::connect(&socket).is_err()).await;
    assert!(socket.exists());
    house.program = Program::start(house.path(), &["run"], "");
    house.http = house.program.listens()[1];
    let status = house.does(&["status"]);
    assert!(status.contains("a.test"), "{status}");
    house.program.signal(Signal::TERM);
    until(|| !socket.exists()).await;
}

/// Endpoints that come and go under load cost no request, and nothing of them is left.
#[tokio::test]
async fn a_thousand_endpoints_come_and_go_under_load() {
    const TIMES: usize = 1_000;
    const CLIENTS: usize = 8;
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (third, fourth) = (Backend::echo().await, Backend::echo().await);
    let house = House::open(&first);
    house.does(&["add", "a.test", second.at(), "--runtime"]);
    let pid = house.program.id();
    let open = move || std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let before = open();

    let (over, failed, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (over, failed, served) = (over.clone(), failed.clone(), served.clone());
        let http = house.http;
        clients.spawn(async move {
            let mut client = Client::connect(http).await;
            while !over.load(Ordering::Relaxed) {
                let status = client.get("a.test", "/").await.status;
                failed.fetch_add(usize::from(status != 200), Ordering::Relaxed);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let socket = house.path().join("state/hostmux.sock");
    let [third, fourth] = [&third, &fourth].map(|endpoint| endpoint.at().to_owned());
    for turn in 0..TIMES / 2 {
        let endpoint = if turn % 2 == 0 { &third } else { &fourth };
        for method in ["POST", "DELETE"] {
            let body = format!(r#"{{"endpoints": ["{endpoint}"], "runtime": true}}"#);
            let status = told(&socket, method, &body).await;
            assert_eq!(status, 200);
        }
    }
    over.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let served = served.load(Ordering::Relaxed);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {served}");
    assert!(served >= CLIENTS, "{served}");
    // Idle connections to endpoints that are gone go with the next sweep.
    until(|| open() <= before + 2 * CLIENTS).await;
    let status: serde_json::Value =
        serde_json::from_str(&house.does(&["status", "--json"])).unwrap();
    let route = &status["sites"][0]["routes"][0];
    assert_eq!(route["endpoints"].as_array().unwrap().len(), 2);
    assert_eq!(route["leaving"], serde_json::json!([]));
}

async fn told(socket: &Path, method: &str, body: &str) -> u16 {
    let length = body.len();
    let head = format!(
        "{method} /v1/sites/a.test/endpoints HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut client = Client::connect_unix(socket).await;
    client.ask(head + body).await.status
}
