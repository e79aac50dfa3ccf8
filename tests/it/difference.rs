//! `hostmux reload` and `hostmux diff`: how the file differs from what runs.

use crate::cli::{Ended, Program, folder};
use crate::harness::Proxy;

/// A command to a hostmux that watches nothing.
fn command(proxy: &Proxy, arguments: &[&str]) -> Ended {
    let socket = proxy.socket();
    let mut all = arguments.to_vec();
    all.extend(["--socket", socket.to_str().unwrap()]);
    Program::start(socket.parent().unwrap(), &all, "").ended()
}

const SITES: &str = "sites:\n  a.test: 1\n  b.test: 2\n  c.test: 3\n";

#[tokio::test]
async fn diff_and_reload_tell_the_same_difference() {
    let proxy = Proxy::commanded(&format!("# where it listens\n{SITES}"));
    let listen = format!(
        "listen: {{ https: \"{}\", http: \"{}\" }}\n",
        proxy.https, proxy.http
    );
    proxy.write(&format!("{listen}{SITES}"));
    let ended = command(&proxy, &["diff"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("is what runs since"), "{}", ended.out);

    proxy.write(&format!(
        "{listen}sites:\n  a.test: 1\n  d.test: 4\n  b.test: 22\n"
    ));
    let lines = "\n  added    d.test  line 4\
                 \n  changed  b.test  line 5\
                 \n  removed  c.test  was on line 5";
    for (arguments, first, empty) in [
        (&["diff"][..], "is not what runs", false),
        (&["diff", "-c", "sites.yaml"], "is not what runs", false),
        (&["reload"], "was taken over", false),
        (&["reload"], "nothing has changed in", true),
        (&["diff"], "is what runs since", true),
    ] {
        let ended = command(&proxy, arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains(first), "{arguments:?}: {}", ended.out);
        assert_eq!(ended.out.contains(lines), !empty, "{}", ended.out);
    }
    let (status, told) = proxy.command("GET /v1/diff", "").await;
    assert_eq!((status, &told["added"]), (200, &serde_json::json!([])));
}

#[tokio::test]
async fn what_was_changed_by_hand_is_part_of_the_difference() {
    let proxy = Proxy::commanded(SITES);
    assert_eq!(command(&proxy, &["pause", "b.test"]).code, Some(0));
    let out = command(&proxy, &["diff"]).out;
    assert!(
        out.contains("not in sites.yaml:\n  b.test is paused"),
        "{out}"
    );
    let json = command(&proxy, &["diff", "--json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["runtime_changes"][0]["site"], "b.test");
    assert_eq!(json["degraded"], false);
}

#[tokio::test]
async fn faults_are_told_as_check_tells_them() {
    let proxy = Proxy::commanded(SITES);
    let drawn = "sites.yaml:3:11\n  |\n3 |   b.test: 8O80\n  |           ^^^^";
    // One site's own: all others are taken over.
    proxy.write("sites:\n  a.test: 1\n  b.test: 8O80\n  c.test: 33\n");
    for arguments in [["diff"], ["reload"]] {
        let ended = command(&proxy, &arguments);
        assert_eq!(ended.code, Some(4), "{}", ended.err);
        assert!(ended.err.contains(drawn), "{}", ended.err);
        for line in [
            "  changed  c.test  line 4\n",
            "  broken   b.test  line 3: `8O80` is not a port\n",
            "degraded: ",
        ] {
            assert!(ended.out.contains(line), "{}", ended.out);
        }
    }
    // Of the file as a whole.
    proxy.write("sites:\n  a.test: [1\n");
    for (arguments, words) in [
        (["diff"], "would not be taken over"),
        (
            ["reload"],
            "was not taken over, and what ran before runs on",
        ),
    ] {
        let ended = command(&proxy, &arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
        assert!(ended.err.contains("sites.yaml:2:"), "{}", ended.err);
        assert!(ended.err.contains(words), "{}", ended.err);
        let json = command(&proxy, &[arguments[0], "--json"]);
        assert_eq!(json.code, Some(1));
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert!(json["faults"][0]["line"].is_u64(), "{json}");
    }
    assert_eq!(proxy.plain().await.get("none.test", "/").await.status, 404);
}

#[tokio::test]
async fn another_file_is_not_what_runs() {
    let proxy = Proxy::commanded(SITES);
    let other = folder(&[("x.yaml", SITES)]);
    let other = other.path().join("x.yaml");
    let ended = command(&proxy, &["diff", "-c", other.to_str().unwrap()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("serves another file"), "{}", ended.err);
    for what in ["reload", "diff"] {
        let nobody = folder(&[]);
        let ended = Program::start(nobody.path(), &[what], "").ended();
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains("no hostmux is running"), "{}", ended.err);
    }
}
