//! Sockets that systemd hands over, and what becomes of a restart with them.
//!
//! A shell is systemd here: it puts the sockets where they belong and says so.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::Signal;

use crate::cli::{Ended, LISTEN, Program, folder};
use crate::harness::{Backend, Client, get};

/// Two sockets as a socket unit opens them.
struct Unit([TcpListener; 2]);

impl Unit {
    fn open() -> Self {
        Self([(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()))
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        self.0.each_ref().map(|socket| socket.local_addr().unwrap())
    }

    /// A `sites.yaml` of one site that names both.
    fn sites(&self, endpoint: &str) -> String {
        let [https, http] = self.addresses();
        format!(
            "listen: {{ https: \"{https}\", http: \"{http}\" }}\n\
             sites:\n  a.test: {{ upstream: \"{endpoint}\", plain_http: serve }}\n"
        )
    }

    /// Starts the service; `also`: what the shell does before that.
    fn start(&self, folder: &Path, also: &str) -> Program {
        let sockets = self
            .0
            .each_ref()
            .map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        let script = format!(
            "exec 3<&0 4<&1 0</dev/null 1>/dev/null; \
             LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=https:http; \
             {also} export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; exec \"$0\" run"
        );
        Program::start_in_shell(folder, &script, sockets)
    }
}

fn ended_well(program: Program) -> Ended {
    program.signal(Signal::TERM);
    let ended = program.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    ended
}

#[tokio::test]
async fn who_comes_during_a_restart_waits_and_is_answered() {
    let endpoint = Backend::echo().await;
    let unit = Unit::open();
    let folder = folder(&[("sites.yaml", &unit.sites(endpoint.at()))]);
    let mut first = unit.start(folder.path(), "");
    assert_eq!(first.listens(), unit.addresses());
    let [_, http] = unit.addresses();
    let status = Client::connect(http).await.get("a.test", "/").await.status;
    assert_eq!(status, 200);
    ended_well(first);

    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(http).await;
        client.send(get("a.test", "/")).await;
        waiting.push(client);
    }
    let mut second = unit.start(folder.path(), "");
    second.listens();
    for client in &mut waiting {
        assert_eq!(client.answer().await.status, 200);
    }
    ended_well(second);
}

#[tokio::test]
async fn what_is_of_no_use_is_told_and_the_rest_is_bound() {
    let endpoint = Backend::echo().await;
    let unit = Unit::open();
    let [_, http] = unit.addresses();
    let site = format!(
        "sites:\n  a.test: {{ upstream: \"{}\", plain_http: serve }}\n",
        endpoint.at()
    );
    let yaml = format!("listen: {{ https: \"127.0.0.1:0\", http: \"{http}\" }}\n{site}");
    let folder = folder(&[("sites.yaml", &yaml)]);
    // The third is no socket, and the first is not in the file.
    let mut program = unit.start(folder.path(), "exec 5</dev/null; LISTEN_FDS=3;");
    let useless = program.says("is not used");
    assert!(useless.contains("number 3"), "{useless}");
    let stranger = program.says("does not name");
    assert!(
        stranger.contains(&unit.addresses()[0].to_string()) && stranger.contains("ListenStream="),
        "{stranger}"
    );
    let [https, adopted] = program.listens();
    assert_eq!(adopted, http);
    assert_ne!(https, unit.addresses()[0]);
    let status = Client::connect(http).await.get("a.test", "/").await.status;
    assert_eq!(status, 200);
    ended_well(program);
}

#[tokio::test]
async fn what_was_given_to_another_process_is_not_taken() {
    let unit = Unit::open();
    let folder = folder(&[("sites.yaml", &format!("{LISTEN}sites:\n  a.test: 1\n"))]);
    let mut program = unit.start(folder.path(), "LISTEN_PID=1;");
    let [https, http] = program.listens();
    assert!(!unit.addresses().contains(&https) && !unit.addresses().contains(&http));
    let ended = ended_well(program);
    assert!(!ended.err.contains("handed over"), "{}", ended.err);
}

#[tokio::test]
async fn a_count_that_is_not_true_is_told() {
    let unit = Unit::open();
    let folder = folder(&[("sites.yaml", &format!("{LISTEN}sites:\n  a.test: 1\n"))]);
    for count in ["4000000000", "9", "-1", "many", "99999999999999999999"] {
        let mut program = unit.start(folder.path(), &format!("LISTEN_FDS={count};"));
        program.says("LISTEN_FDS does not count");
        program.listens();
        ended_well(program);
    }
}

/// The port is held by systemd, which says nothing to who looks for its holder.
#[tokio::test]
async fn an_address_that_systemd_holds_otherwise_is_explained() {
    let unit = Unit([
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    ]);
    let port = unit.addresses()[0].port();
    let yaml = format!("listen: {{ https: {port}, http: off }}\nsites:\n  a.test: 1\n");
    let folder = folder(&[("sites.yaml", &yaml)]);
    let ended = unit.start(folder.path(), "").ended();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(
        ended
            .err
            .contains(&format!("systemd holds 127.0.0.1:{port}"))
            && ended.err.contains(&format!("ListenStream={port}")),
        "{}",
        ended.err
    );
}
