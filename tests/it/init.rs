//! `hostmux init`: a first `sites.yaml` from sockets that really listen.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::{Ended, Program, folder};

/// Something that listens on loopback and gives one answer.
fn speaks(answer: &'static [u8]) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut client, _) = socket.accept().unwrap();
        let _ = client.read(&mut [0; 1024]);
        let _ = client.write_all(answer);
    });
    port.to_string()
}

/// Asks only for these ports: others of this machine are other tests'.
fn init(folder: &Path, ports: &[&str], arguments: &[&str]) -> Ended {
    let mut all = vec!["init"];
    all.extend(ports.iter().flat_map(|port| ["--port", *port]));
    all.extend(arguments);
    Program::start(folder, &all, "").ended()
}

fn check(folder: &Path, file: &str) -> Ended {
    Program::start(folder, &["check", file], "").ended()
}

/// The line of the file that leads to a port.
fn line<'t>(text: &'t str, endpoint: &str) -> &'t str {
    let end = format!(": {endpoint}");
    let mut lines = text.lines().map(str::trim_start);
    let found = lines.find(|line| {
        line.split("   # ")
            .next()
            .unwrap()
            .trim_end()
            .ends_with(&end)
    });
    found.unwrap_or_else(|| panic!("nothing leads to {endpoint}:\n{text}"))
}

#[test]
fn what_speaks_http_becomes_a_site_and_the_rest_does_not() {
    let http = speaks(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let again = speaks(b"HTTP/1.0 200 OK\r\n\r\nhello");
    let grpc = speaks(b"\0\0\0\x04\0\0\0\0\0");
    let tls = speaks(b"\x15\x03\x01\0\x02\x02\x46");
    let other = speaks(b"SSH-2.0-OpenSSH_9.2\r\n");
    let folder = folder(&[]);
    let ports = [&http, &again, &grpc, &tls, &other].map(String::as_str);
    let ended = init(folder.path(), &ports, &[]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), ""),
        "{}",
        ended.err
    );
    for words in [
        "3 sites were found",
        "sites.yaml is written",
        "hostmux check\n",
        "hostmux run",
        &format!("left out: port {other}, "),
    ] {
        assert!(ended.err.contains(words), "{words}: {}", ended.err);
    }
    let text = std::fs::read_to_string(folder.path().join("sites.yaml")).unwrap();
    assert!(!text.contains(&format!(": {other}")), "{text}");
    assert!(
        line(&text, &format!("https://{tls}")).starts_with("# "),
        "{text}"
    );
    let mut names = vec![
        line(&text, &http),
        line(&text, &again),
        line(&text, &format!("h2c://{grpc}")),
    ];
    for (line, port) in names.iter().zip([&http, &again, &grpc]) {
        // This process is the one that listens, and this its folder.
        let own = std::env::current_dir().unwrap();
        let remark = line.split_once("   # ").unwrap().1;
        assert!(remark.starts_with(&format!("port {port}, ")), "{line}");
        assert!(remark.contains(&format!(" in {}", own.display())), "{line}");
    }
    names
        .iter_mut()
        .for_each(|line| *line = line.split_once(": ").unwrap().0);
    assert!(
        names.iter().all(|name| name.ends_with(".localhost")),
        "{names:?}"
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3, "{text}");
    // Names below localhost are this machine's own.
    assert!(text.contains("\"127.0.0.1:"), "{text}");
    let checked = check(folder.path(), "sites.yaml");
    assert_eq!(checked.code, Some(0), "{}", checked.out);
    assert!(checked.out.contains("3 sites"), "{}", checked.out);
}

#[test]
fn a_file_that_is_there_stays() {
    let port = speaks(b"HTTP/1.1 200 OK\r\n\r\n");
    let folder = folder(&[("sites.yaml", "mine\n")]);
    let read = || std::fs::read_to_string(folder.path().join("sites.yaml")).unwrap();
    let refused = init(folder.path(), &[&port], &[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("is there already"), "{}", refused.err);
    assert!(refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(read(), "mine\n");

    let printed = init(folder.path(), &["1"], &["--dry-run"]);
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    // A port that was named and is none was passed over in silence.
    assert!(
        printed.err.contains("left out: port 1: "),
        "{}",
        printed.err
    );
    assert!(printed.out.contains("sites:\n"), "{}", printed.out);
    assert_eq!(read(), "mine\n");

    // It was anybody's to read then, as new files are.
    let file = folder.path().join("sites.yaml");
    let rights = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&file, rights(0o600)).unwrap();
    let forced = init(folder.path(), &[&port], &["--force"]);
    assert_eq!(forced.code, Some(0), "{}", forced.err);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    line(&read(), &port);
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["sites.yaml"]);
}

#[test]
fn with_nothing_found_there_is_an_example() {
    let folder = folder(&[]);
    let ended = init(
        folder.path(),
        &["1"],
        &["-o", "first.yaml", "--domain", "Xyz.COM"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("example"), "{}", ended.err);
    assert!(
        ended.err.contains("hostmux check -c first.yaml"),
        "{}",
        ended.err
    );
    let text = std::fs::read_to_string(folder.path().join("first.yaml")).unwrap();
    assert!(line(&text, "3000").starts_with("app.xyz.com"), "{text}");
    // All may connect: the names are not this machine's alone.
    assert!(!text.contains("127.0.0.1:"), "{text}");
    assert_eq!(check(folder.path(), "first.yaml").code, Some(0));
}

#[test]
fn a_domain_that_ends_no_name_is_refused() {
    let folder = folder(&[]);
    for domain in ["10.0.0.1", "a b", "", "*.xyz.com", &"a.".repeat(120)] {
        let ended = init(folder.path(), &["1"], &["--domain", domain]);
        assert_eq!(ended.code, Some(1), "{domain:?}: {}", ended.err);
        assert!(!folder.path().join("sites.yaml").exists());
    }
    let nowhere = init(folder.path(), &["1"], &["-o", "no/folder/sites.yaml"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(
        nowhere.err.contains("cannot write no/folder/sites.yaml"),
        "{}",
        nowhere.err
    );
}
