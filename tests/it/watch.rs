//! Files that change are taken over by themselves; what is wrong with them
//! changes nothing and is said once.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cli::{LISTEN, Program, folder};
use crate::harness::{Backend, Certificates, Client, Front, ok, until_asked};

/// A hostmux that serves a file of a folder, before two endpoints.
struct House {
    folder: tempfile::TempDir,
    program: Program,
    https: SocketAddr,
    http: SocketAddr,
    endpoints: [Backend; 2],
}

impl House {
    /// `arrange`: what is in the folder; the text it is given leads to the first.
    async fn open(arrange: impl FnOnce(&Path, &str)) -> Self {
        let one = Backend::answering(ok(b"one")).await;
        let two = Backend::answering(ok(b"two")).await;
        let folder = folder(&[]);
        arrange(folder.path(), &text(one.at()));
        let mut program = Program::start(folder.path(), &["run"], "");
        let [https, http] = program.listens();
        let house = Self {
            folder,
            program,
            https,
            http,
            endpoints: [one, two],
        };
        house.serves("a.test", "one").await;
        house
    }

    async fn plain() -> Self {
        Self::open(|folder, text| fs::write(folder.join("sites.yaml"), text).unwrap()).await
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The text that leads to one of the endpoints.
    fn text(&self, endpoint: usize) -> String {
        text(self.endpoints[endpoint].at())
    }

    /// What `shell` sees: the text to come as the file `next`, and both ports.
    fn shell(&self, endpoint: usize, line: &str) {
        fs::write(self.path("next"), self.text(endpoint)).unwrap();
        let done = Command::new("sh")
            .args(["-e", "-c", line])
            .current_dir(self.folder.path())
            .env("WAS", self.endpoints[1 - endpoint].at())
            .env("NOW", self.endpoints[endpoint].at())
            .status();
        assert!(done.unwrap().success(), "{line}");
    }

    async fn serves(&self, host: &str, body: &str) {
        until_asked(async || self.get(host).await == body).await;
    }

    async fn get(&self, host: &str) -> String {
        let mut client = Client::connect(self.http).await;
        client.get(host, "/").await.text()
    }
}

fn text(endpoint: &str) -> String {
    format!("{LISTEN}defaults: {{ plain_http: serve }}\nsites:\n  a.test: {endpoint}\n")
}

/// Each leads to the other endpoint.
#[tokio::test]
async fn every_kind_of_edit_is_taken_over() {
    let house = House::plain().await;
    let edits = [
        "mv sites.yaml sites.yaml~; cat next > sites.yaml; rm sites.yaml~",
        "cp next .sites.yaml.swp; mv .sites.yaml.swp sites.yaml",
        "sed -i s/$WAS/$NOW/ sites.yaml",
        "cp next sites.yaml",
        "cat next > sites.yaml",
        "rm sites.yaml; cp next sites.yaml",
        "mkdir real; cp next real/sites.yaml; ln -sf real/sites.yaml sites.yaml",
        "cat next > real/sites.yaml",
        "mv real gone; mkdir real; cp next real/sites.yaml",
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let endpoint = (n + 1) % 2;
        house.shell(endpoint, edit);
        house.serves("a.test", ["one", "two"][endpoint]).await;
    }
    let line = "echo \"  b.test: $NOW\" >> sites.yaml";
    house.shell(0, line);
    house.serves("b.test", "one").await;
}

/// A ConfigMap of Kubernetes: all links are switched by one rename.
#[tokio::test]
async fn a_switch_of_links_is_taken_over_each_time() {
    let house = House::open(|folder, text| {
        fs::create_dir(folder.join("..2026_0")).unwrap();
        fs::write(folder.join("..2026_0/sites.yaml"), text).unwrap();
        symlink("..2026_0", folder.join("..data")).unwrap();
        symlink("..data/sites.yaml", folder.join("sites.yaml")).unwrap();
    })
    .await;
    for n in 1..4 {
        let (now, was) = (n, n - 1);
        house.shell(
            n % 2,
            &format!(
                "mkdir ..2026_{now}; cp next ..2026_{now}/sites.yaml; \
                 ln -s ..2026_{now} ..data_tmp; mv -T ..data_tmp ..data; rm -r ..2026_{was}"
            ),
        );
        house.serves("a.test", ["one", "two"][n % 2]).await;
    }
}

/// The system tells of a file by the name by which it is written to: not of
/// one that is written to elsewhere, as on a file system of another machine.
#[tokio::test]
async fn what_the_system_does_not_tell_is_seen_by_the_clock() {
    let house = House::open(|folder, text| {
        fs::write(folder.join("sites.yaml"), text).unwrap();
        fs::create_dir(folder.join("elsewhere")).unwrap();
        fs::hard_link(folder.join("sites.yaml"), folder.join("elsewhere/x")).unwrap();
    })
    .await;
    for n in 1..3 {
        house.shell(n % 2, "cat next > elsewhere/x");
        house.serves("a.test", ["one", "two"][n % 2]).await;
    }
}

/// The certificates of a directory, their keys and names.
#[tokio::test]
async fn a_renewed_certificate_is_shown_in_the_next_handshake() {
    let issued = [(); 3].map(|()| Certificates::of(&[&["a.test"]]));
    let copy = |from: &Certificates, to: &Path, ending: &str| {
        let from = Path::new(from.path()).join(format!("0.{ending}"));
        let new = to.join(format!("new.{ending}.tmp"));
        fs::copy(from, &new).unwrap();
        fs::rename(new, to.join(format!("a.{ending}"))).unwrap();
    };
    let mut house = House::open(|folder, text| {
        let certs = folder.join("certs");
        fs::create_dir(&certs).unwrap();
        copy(&issued[0], &certs, "pem");
        copy(&issued[0], &certs, "key");
        fs::write(folder.join("sites.yaml"), text).unwrap();
    })
    .await;
    let ca = fs::read(house.path("state/local-ca/ca.pem")).unwrap();
    let shown = async |of: &Certificates| {
        until_asked(async || {
            let mut front = Front::new(house.https, &ca);
            front.trust(of.issuer.clone());
            let config = front.client_config(&["http/1.1"]);
            front.handshake("a.test", config).await.is_ok()
        })
        .await;
    };
    shown(&issued[0]).await;
    for renewed in &issued[1..] {
        // One file after the other, as certbot writes them.
        copy(renewed, &house.path("certs"), "key");
        copy(renewed, &house.path("certs"), "pem");
        shown(renewed).await;
        // Who watches the log sees it too, and that it is not a site that has changed.
        house.program.says("certificate added");
        house.program.says("certificate removed");
    }
}

/// Each leaves something that is no configuration.
#[tokio::test]
async fn what_is_no_configuration_changes_nothing_and_is_said_once() {
    let mut house = House::plain().await;
    let slips = [
        "rm sites.yaml",
        ": > sites.yaml",
        "head -c 150 next > sites.yaml; echo '  a.test: [80' >> sites.yaml",
        "rm sites.yaml; mkdir sites.yaml",
        "rm sites.yaml; mkfifo sites.yaml",
        "rm sites.yaml; ln -s sites.yaml sites.yaml",
        "ln -sf other.yaml sites.yaml; ln -s sites.yaml other.yaml",
    ];
    for slip in slips {
        house.shell(1, slip);
        house.program.says("configuration refused");
        assert_eq!(house.get("a.test").await, "one", "{slip}");
        // It is looked at again, and says nothing new.
        house.shell(1, "touch -h sites.yaml || true");
        house.shell(0, "rm -rf sites.yaml; cp next sites.yaml");
        house.program.says("configuration taken over");
        assert_eq!(house.get("a.test").await, "one", "{slip}");
    }
    house.shell(1, "cp next sites.yaml");
    house.serves("a.test", "two").await;
    house.program.signal(rustix::process::Signal::TERM);
    let ended = house.program.ended();
    // What lies between the steps of an edit may be told, too.
    let told: Vec<serde_json::Value> = ended
        .err
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .map(|line: serde_json::Value| line["fault"].clone())
        .collect();
    let twice = told
        .windows(2)
        .find(|two| two[0].is_string() && two[0] == two[1]);
    assert_eq!(twice, None, "{}", ended.err);
}

#[tokio::test]
async fn a_file_that_may_not_be_read_changes_nothing() {
    let mut house = House::plain().await;
    let file = house.path("sites.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&file).is_ok() {
        eprintln!("not tried: this user may read every file");
        return;
    }
    house.program.says("configuration refused");
    assert_eq!(house.get("a.test").await, "one");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    house.program.says("configuration taken over");
}

/// Written in place, so that it is empty at times.
#[tokio::test]
async fn a_file_that_never_rests_is_taken_over_now_and_then() {
    let house = House::plain().await;
    let begun = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for n in 0..200 {
        pace.tick().await;
        let text = format!("{}  b{n}.test: 1\n", house.text(0));
        fs::write(house.path("sites.yaml"), text).unwrap();
        if n % 20 == 0 {
            assert_eq!(house.get("a.test").await, "one");
        }
    }
    fs::write(house.path("sites.yaml"), house.text(1)).unwrap();
    house.serves("a.test", "two").await;
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    house.program.signal(rustix::process::Signal::TERM);
    let log = house.program.ended().err;
    let told = ["configuration taken over", "configuration refused"];
    let told: usize = told.iter().map(|words| log.matches(words).count()).sum();
    // Once a second, and where the machine took a rest from writing.
    assert!(
        told <= 5 * seconds + 3,
        "{told} times in {seconds} s: {log}"
    );
}
