//! Edits of real files, each noticed by the system's notices alone and by the
//! clock alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::*;

/// How long anything may take before a test has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The clock is not meant to strike.
const NEVER: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_millis(5);

const WAYS: [(How, Duration); 2] = [(How::Events, NEVER), (How::Poll, SOON)];

/// What calls for a look.
#[derive(Clone, Copy, Debug)]
enum How {
    /// The system's notices, and the clock.
    Events,
    /// The clock alone.
    Poll,
}

impl<P> Watch<P> {
    /// As where the system tells nothing.
    fn by_the_clock(mut self) -> Self {
        self.state = State::Idle(Eyes::default());
        self
    }
}

type Asked = Box<dyn Fn() -> Arc<[PathBuf]>>;

/// Watches `sites.yaml` and the folder `certs` of a folder, with what is in it.
struct Case {
    folder: tempfile::TempDir,
    watch: Watch<Asked>,
    way: How,
}

impl Case {
    async fn of((way, interval): (How, Duration), arrange: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        arrange(folder.path());
        let at = folder.path().to_owned();
        let paths: Asked = Box::new(move || {
            let mut paths = vec![at.join("sites.yaml"), at.join("certs")];
            for name in ["a.pem", "b.test", "b.test/b.pem", "e.test", "e.test/e.pem"] {
                paths.push(at.join("certs").join(name));
            }
            paths.into()
        });
        let mut watch = Watch::new(interval, SystemTime::UNIX_EPOCH, paths);
        if let How::Poll = way {
            watch = watch.by_the_clock();
        }
        within(watch.changed()).await;
        let mut case = Self { folder, watch, way };
        case.rests().await;
        case
    }

    /// Looks until nothing of what has happened can be noticed once more.
    async fn rests(&mut self) {
        let looks = async {
            loop {
                let sight = self.watch.look().await.unwrap();
                if sight.settled {
                    break Seen {
                        sum: sight.sum,
                        settled: true,
                    };
                }
            }
        };
        self.watch.seen = Some(within(looks).await);
        // What the system told of before is no notice of what comes.
        tokio::select! {
            biased;
            () = self.watch.touched.notified() => {}
            () = ready(()) => {}
        }
    }

    /// Does something that is noticed, and noticed again after another time.
    async fn notices(&mut self, what: &str, edit: impl FnOnce(&Path)) {
        edit(self.folder.path());
        let noticed = tokio::time::timeout(PATIENCE, self.watch.changed()).await;
        assert!(noticed.is_ok(), "{what} was not noticed by {:?}", self.way);
        self.rests().await;
    }
}

async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

fn shell(folder: &Path, line: &str) {
    let done = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .status();
    assert!(done.unwrap().success(), "{line}");
}

/// A file, a pair of certificates and a folder of one, as certbot has them.
fn plain(folder: &Path) {
    shell(
        folder,
        "echo 'sites: { a.test: 1 }' > sites.yaml
         mkdir -p certs/b.test archive
         echo 1 > certs/a.pem && echo 1 > certs/a.key
         echo 1 > archive/b1.pem && ln -s ../../archive/b1.pem certs/b.test/b.pem",
    );
}

/// Each line is one edit, made with what was there after the one before.
const EDITS: [&str; 25] = [
    // Editors: a backup by rename, then a new file; a new file put in its place.
    "mv sites.yaml sites.yaml~ && echo 'sites: { a.test: 2 }' > sites.yaml && rm sites.yaml~",
    "echo 'sites: { a.test: 3 }' > .sites.yaml.swp && mv .sites.yaml.swp sites.yaml",
    "sed -i s/3/4/ sites.yaml",
    "echo 'sites: { a.test: 5 }' > new.yaml && cp new.yaml sites.yaml",
    "echo '# more' >> sites.yaml",
    "printf 'sites: { a.test: 6 }' > sites.yaml",
    ": > sites.yaml",
    "rm sites.yaml",
    "echo 'sites: { a.test: 7 }' > sites.yaml",
    // What is no file.
    "rm sites.yaml && mkdir sites.yaml",
    "rmdir sites.yaml && mkfifo sites.yaml",
    "rm sites.yaml && ln -s sites.yaml sites.yaml",
    "ln -sfn other.yaml sites.yaml && ln -s sites.yaml other.yaml",
    "rm sites.yaml other.yaml && cp new.yaml sites.yaml",
    "chmod 0 sites.yaml",
    "chmod 600 sites.yaml",
    // Certificates.
    "echo 2 > certs/a.pem",
    ": > certs/c.pem",
    "mv certs/c.pem certs/d.pem",
    "echo 2 > archive/b2.pem && ln -sfn ../../archive/b2.pem certs/b.test/b.pem",
    "echo 3 >> archive/b2.pem",
    "mkdir certs/e.test",
    "echo 1 > certs/e.test/e.pem",
    "rm -r certs/b.test",
    "mv certs old && mkdir certs && cp old/*.pem certs/",
];

#[tokio::test]
async fn every_kind_of_edit_is_noticed() {
    for way in WAYS {
        let mut case = Case::of(way, plain).await;
        for edit in EDITS {
            case.notices(edit, |folder| shell(folder, edit)).await;
        }
    }
}

/// What Kubernetes does with a ConfigMap: the file is a link to a link that is
/// switched to another folder by a rename; the old folder goes.
#[tokio::test]
async fn a_switch_of_links_is_noticed_each_time() {
    let version = |n: usize| {
        format!(
            "mkdir ..2026_{n} && echo 'sites: {{ a.test: {n} }}' > ..2026_{n}/sites.yaml \
             && ln -s ..2026_{n} ..data_tmp && mv -T ..data_tmp ..data"
        )
    };
    for way in WAYS {
        let mut case = Case::of(way, |folder| {
            shell(folder, &version(0));
            symlink("..data/sites.yaml", folder.join("sites.yaml")).unwrap();
        })
        .await;
        for n in 1..5 {
            let switch = format!("{} && rm -r ..2026_{}", version(n), n - 1);
            case.notices(&switch, |folder| shell(folder, &switch)).await;
        }
        let edit = "echo '# in place' >> ..data/sites.yaml";
        case.notices(edit, |folder| shell(folder, edit)).await;
    }
}

/// Whatever is missing of the way to a file is waited for.
#[tokio::test]
async fn folders_go_and_come_back() {
    for way in WAYS {
        let mut case = Case::of(way, |folder| {
            shell(
                folder,
                "mkdir -p real/deep && ln -s real/deep/sites.yaml sites.yaml",
            );
        })
        .await;
        for edit in [
            "echo 'sites: {}' > real/deep/sites.yaml",
            "rm -r real",
            "mkdir real",
            "mkdir real/deep",
            "echo 'sites: {}' > real/deep/sites.yaml",
            "echo '# more' >> real/deep/sites.yaml",
            "mkdir certs",
            "echo 1 > certs/a.pem",
            "rm -r certs",
            "mkdir certs",
            "echo 1 > certs/a.pem",
            "rm certs/a.pem && rmdir certs && echo 1 > certs",
            "rm certs",
        ] {
            case.notices(edit, |folder| shell(folder, edit)).await;
        }
    }
}

/// The notices are for one name of a file; the clock sees it by any.
#[tokio::test]
async fn what_the_system_does_not_tell_the_clock_sees() {
    let way = (How::Events, SOON);
    let mut case = Case::of(way, |folder| {
        plain(folder);
        fs::create_dir(folder.join("elsewhere")).unwrap();
        fs::hard_link(folder.join("sites.yaml"), folder.join("elsewhere/x")).unwrap();
    })
    .await;
    let edit = "echo '# more' >> elsewhere/x";
    case.notices(edit, |folder| shell(folder, edit)).await;
}

/// A reload may name other files.
#[tokio::test]
async fn other_paths_are_watched_once_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    plain(folder.path());
    let (first, second) = (
        folder.path().join("sites.yaml"),
        folder.path().join("certs/a.key"),
    );
    let paths: Arc<std::sync::Mutex<Arc<[PathBuf]>>> =
        Arc::new(std::sync::Mutex::new([first.clone()].into()));
    let asked = paths.clone();
    let mut watch = Watch::new(SOON, SystemTime::UNIX_EPOCH, move || {
        asked.lock().unwrap().clone()
    });
    within(watch.changed()).await;
    *paths.lock().unwrap() = [first, second].into();
    // They may have changed before they were watched.
    within(watch.changed()).await;
    shell(folder.path(), "echo 2 > certs/a.key");
    within(watch.changed()).await;
}

/// What has changed since it was read is told at once: it was not, of a file
/// that was removed between a start and its first look.
#[tokio::test]
async fn what_changed_since_it_was_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sites.yaml");
    let watch = |read| {
        let paths: Arc<[PathBuf]> = [file.clone()].into();
        Watch::new(SOON, read, move || paths.clone()).by_the_clock()
    };
    fs::write(&file, "").unwrap();
    within(watch(SystemTime::UNIX_EPOCH).changed()).await;
    fs::remove_file(&file).unwrap();
    within(watch(SystemTime::UNIX_EPOCH).changed()).await;
    fs::create_dir(&file).unwrap();
    within(watch(SystemTime::UNIX_EPOCH).changed()).await;
}

/// What was read since it changed is not told.
#[tokio::test]
async fn what_was_read_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sites.yaml");
    fs::write(&file, "").unwrap();
    let paths: Arc<[PathBuf]> = [file.clone()].into();
    let later = SystemTime::now() + Duration::from_secs(10);
    let mut watch = Watch::new(SOON, later, move || paths.clone()).by_the_clock();
    // What was written just now might be told once more.
    let first = loop {
        let sight = Sight::of(std::slice::from_ref(&file));
        if sight.settled {
            break sight.sum;
        }
    };
    let told = async {
        watch.changed().await;
        watch.seen.as_ref().unwrap().sum
    };
    // The first look may come late; one of these is after it.
    let edits = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for n in 0.. {
            pace.tick().await;
            if n > 0 {
                fs::write(&file, n.to_string()).unwrap();
            }
        }
    };
    let told = async {
        tokio::select! {
            told = told => told,
            () = edits => first,
        }
    };
    assert_ne!(within(told).await, first);
}

#[tokio::test]
async fn more_than_is_watched_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files: Arc<[PathBuf]> = (0..events::FOLDERS_MAX + 8)
        .map(|n| {
            let inner = folder.path().join(n.to_string());
            fs::create_dir(&inner).unwrap();
            fs::write(inner.join("x.pem"), "").unwrap();
            inner.join("x.pem")
        })
        .collect();
    let paths = files.clone();
    let mut watch = Watch::new(SOON, SystemTime::UNIX_EPOCH, move || paths.clone());
    within(watch.changed()).await;
    for file in [files.first().unwrap(), files.last().unwrap()] {
        fs::write(file, "1").unwrap();
        within(watch.changed()).await;
    }
    let paths = vec![files[0].clone(); look::PATHS_MAX + 1];
    assert!(Sight::of(&paths).cut && !Sight::of(&paths[1..]).cut);
}

/// A future that is dropped takes nothing with it.
#[tokio::test]
async fn a_wait_can_be_given_up() {
    for way in WAYS {
        let mut case = Case::of(way, plain).await;
        for _ in 0..3 {
            let given_up = tokio::time::timeout(Duration::from_millis(2), case.watch.changed());
            let _ = given_up.await;
        }
        case.notices("an edit", |folder| shell(folder, "echo >> sites.yaml"))
            .await;
    }
}
