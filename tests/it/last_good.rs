//! Starts with a faulty file: what is served, what is said, how it ends.

use std::path::Path;

use rustix::process::Signal;

use crate::cli::Program;
use crate::harness::{Backend, Client};

fn sites(listen: &str, endpoint: &Backend) -> String {
    format!(
        "listen: {{ {listen} }}\ndefaults: {{ plain_http: serve }}\nsites:\n  a.test: \"{}\"\n",
        endpoint.at()
    )
}

const FREE: &str = "https: \"127.0.0.1:0\", http: \"127.0.0.1:0\"";

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("sites.yaml"), text).unwrap();
}

async fn status(program: &mut Program, host: &str) -> u16 {
    let [_, http] = program.listens();
    Client::connect(http).await.get(host, "/").await.status
}

fn stop(program: Program) -> (Option<i32>, String) {
    program.signal(Signal::TERM);
    let ended = program.ended();
    (ended.code, ended.err)
}

/// Runs once with a file without a fault, so that there is a last good copy.
async fn folder_with_a_copy(endpoint: &Backend) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &sites(FREE, endpoint));
    let mut program = Program::start(folder.path(), &["run"], "");
    assert_eq!(status(&mut program, "a.test").await, 200);
    assert_eq!(stop(program).0, Some(0));
    folder
}

#[tokio::test]
async fn a_restart_with_a_faulty_file_comes_up_with_the_last_good_copy_and_says_so() {
    let endpoint = Backend::echo().await;
    let folder = folder_with_a_copy(&endpoint).await;
    let whole = sites(FREE, &endpoint);
    let half = &whole[..whole.len() - 3];
    for bad in ["", half, "listen: 1\nsites: 2\n", "sites:\n\ta.test: 1\n"] {
        write(folder.path(), bad);
        let mut program = Program::start(folder.path(), &["run", "-c", "sites.yaml"], "");
        program.says("error: ");
        program.says("the last good copy is served in its place");
        assert_eq!(status(&mut program, "a.test").await, 200);
        let told = Program::start(folder.path(), &["status"], "").ended();
        assert!(
            told.out.contains("degraded: the file was refused"),
            "{}",
            told.out
        );
        // What is read later is known for the same.
        let told = Program::start(folder.path(), &["status", "--json"], "").ended();
        let told: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        let file = folder.path().join("sites.yaml");
        assert_eq!(
            told["refused"]["faults"][0]["file"],
            file.display().to_string()
        );
        assert_eq!(stop(program).0, Some(0));
    }
    // Nobody is kept from being told: strictly taken it does not start.
    let strict = Program::start(folder.path(), &["run", "--strict"], "").ended();
    assert_eq!(strict.code, Some(1), "{}", strict.err);
    // A file that is gone, or is another thing now.
    std::fs::remove_file(folder.path().join("sites.yaml")).unwrap();
    let mut program = Program::start(folder.path(), &["run"], "");
    program.says("it is not there");
    assert_eq!(status(&mut program, "a.test").await, 200);
    assert_eq!(stop(program).0, Some(0));
    std::fs::create_dir(folder.path().join("sites.yaml")).unwrap();
    let mut program = Program::start(folder.path(), &["run", "-c", "sites.yaml"], "");
    program.says("error: cannot read sites.yaml");
    assert_eq!(status(&mut program, "a.test").await, 200);
    assert_eq!(stop(program).0, Some(0));
}

#[tokio::test]
async fn without_a_copy_a_faulty_file_does_not_start() {
    let endpoint = Backend::echo().await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "sites:\n\ta.test: 1\n");
    let ended = Program::start(folder.path(), &["run"], "").ended();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    // The copy of another file is none of this one.
    let other = folder_with_a_copy(&endpoint).await;
    std::fs::create_dir(folder.path().join("state")).unwrap();
    std::fs::rename(
        other.path().join("state/last-good"),
        folder.path().join("state/last-good"),
    )
    .unwrap();
    let ended = Program::start(folder.path(), &["run"], "").ended();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
}

#[tokio::test]
async fn a_start_with_a_broken_site_serves_the_others_unless_it_is_strict() {
    let endpoint = Backend::echo().await;
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &format!("{}  b.test: 8O80\n", sites(FREE, &endpoint)),
    );
    let check = Program::start(folder.path(), &["check"], "").ended();
    assert_eq!(check.code, Some(4), "{}", check.out);
    assert!(
        check
            .out
            .contains("degraded: 1 site would be served without `b.test`"),
        "{}",
        check.out
    );
    let lookup = Program::start(folder.path(), &["lookup", "https://b.test/"], "").ended();
    assert!(
        lookup
            .out
            .contains("500, config line 5: `8O80` is not a port"),
        "{}",
        lookup.out
    );
    let strict = Program::start(folder.path(), &["run", "--strict"], "").ended();
    assert_eq!(strict.code, Some(1), "{}", strict.err);
    let broken = std::fs::read_to_string(folder.path().join("sites.yaml")).unwrap();
    write(folder.path(), &sites(FREE, &endpoint));
    let mut strict = Program::start(folder.path(), &["run", "--strict"], "");
    strict.listens();
    write(folder.path(), &broken);
    strict.says("configuration refused");
    assert_eq!(stop(strict).0, Some(0));
    let mut program = Program::start(folder.path(), &["run"], "");
    let said = program.says("site broken");
    assert!(
        said.contains("\"site\":\"b.test\"") && said.contains("\"line\":5"),
        "{said}"
    );
    let [_, http] = program.listens();
    let mut client = Client::connect(http).await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    let page = client.get("b.test", "/").await;
    assert_eq!(page.status, 500);
    assert!(page.text().contains("config line 5"), "{}", page.text());
    let status = Program::start(folder.path(), &["status"], "").ended();
    assert!(
        status.out.contains("broken") && status.out.contains("config line 5: `8O80`"),
        "{}",
        status.out
    );
    assert_eq!(stop(program).0, Some(0));
}
