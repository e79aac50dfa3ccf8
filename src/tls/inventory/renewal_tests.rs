//! What a reload makes of pairs that are half renewed, and which files it read.

use std::time::Duration;

use super::tests::{load, reload, settings, shown};
use super::*;
use crate::tls::specimen::{DAY, Folder, Specimen};

const SITE: [(&str, Option<&str>); 1] = [("a.test", Some("own"))];

fn leaf(inventory: &Inventory, name: &str) -> Vec<u8> {
    let which = inventory.identity_for(name);
    let Which::Files(identity) = which else {
        panic!("{name}: {which:?}");
    };
    identity.chain()[0].to_vec()
}

/// When `earlier` was, as it is told.
fn moment(time: SystemTime) -> String {
    crate::tls::identity::moment(time)
}

#[test]
fn a_sites_pair_that_is_half_renewed_stays_as_it_was() {
    let settings = settings(Otherwise::LocalCa, &SITE);
    let renewed = Specimen::of(&["a.test"]);
    let check = |change: &dyn Fn(&Folder), want: &[&str]| {
        let folder = Folder::new();
        let old = Specimen::of(&["a.test"]);
        folder.pair("own", &old);
        let now = SystemTime::now();
        let (first, told) = load(&folder, &settings);
        assert_eq!(told, [""; 0]);
        change(&folder);
        let mut previous = first;
        // However often it is read again, the time told is that of the first.
        for minute in 1..3 {
            let later = now + Duration::from_secs(60 * minute);
            let (next, told) = reload(&folder, &settings, &previous, later);
            assert_eq!(leaf(&next, "a.test"), old.der().to_vec());
            assert_eq!(told.len(), want.len(), "{told:?}");
            for (told, want) in told.iter().zip(want) {
                assert!(
                    told.starts_with("warning sites.a.test.certificate."),
                    "{told}"
                );
                assert!(
                    told.contains(&format!("{want}; the one read at ")),
                    "{told}"
                );
                let seconds = [0, 1].map(|second| moment(now + Duration::from_secs(second)));
                assert!(seconds.iter().any(|at| told.contains(at)), "{told}");
            }
            previous = next;
        }
        folder.pair("own", &renewed);
        let (next, told) = reload(&folder, &settings, &previous, now);
        assert_eq!(told, [""; 0]);
        assert_eq!(leaf(&next, "a.test"), renewed.der().to_vec());
    };
    let chain = |folder: &Folder, text: String| drop(folder.write("own.pem", text));
    let key = |folder: &Folder, text: String| drop(folder.write("own.key", text));
    check(
        &|folder| chain(folder, renewed.pem()),
        &["the private key does not belong to the certificate (`own.pem`)"],
    );
    check(
        &|folder| key(folder, renewed.key_pem()),
        &["the private key does not belong to the certificate (`own.pem`)"],
    );
    check(
        &|folder| chain(folder, String::new()),
        &["`own.pem` is empty"],
    );
    check(
        &|folder| chain(folder, renewed.pem()[..200].to_owned()),
        &["`own.pem` is damaged: section end \"CERTIFICATE\" missing"],
    );
    check(
        &|folder| {
            std::fs::remove_file(folder.path().join("own.pem")).unwrap();
            std::fs::remove_file(folder.path().join("own.key")).unwrap();
        },
        &["`own.pem` does not exist", "`own.key` does not exist"],
    );
    let pair = |folder: &Folder, specimen: &Specimen| folder.pair("own", specimen);
    check(
        &|folder| pair(folder, &Specimen::of(&["b.test"])),
        &["the certificate does not cover `a.test`"],
    );
    let yesterday = Specimen::between(&["a.test"], -20, -1);
    let expired = format!(
        "the certificate `own.pem` expired on {}",
        crate::tls::identity::day(SystemTime::now() - DAY)
    );
    check(&|folder| pair(folder, &yesterday), &[&expired]);
}

#[test]
fn a_pair_that_runs_out_while_it_is_served_is_a_warning() {
    let settings = settings(Otherwise::LocalCa, &SITE);
    let folder = Folder::new();
    folder.pair("own", &Specimen::between(&["a.test"], -1, 2));
    let (first, _) = load(&folder, &settings);
    let late = SystemTime::now() + 3 * DAY;
    let (second, told) = reload(&folder, &settings, &first, late);
    assert!(
        told.len() == 1 && told[0].starts_with("warning sites.a.test"),
        "{told:?}"
    );
    let (third, told) = reload(&folder, &settings, &second, late);
    assert!(
        told.len() == 1 && told[0].starts_with("warning sites.a.test"),
        "{told:?}"
    );
    assert_eq!(shown(&third, "a.test"), "own");
    let (_, cold) = Inventory::load(&settings, folder.path(), late, None);
    assert_eq!(cold[0].severity, crate::diagnostic::Severity::Error);
}

#[test]
fn a_name_that_a_pair_never_covered_is_an_error() {
    let folder = Folder::new();
    folder.pair("own", &Specimen::of(&["a.test"]));
    let (first, _) = load(&folder, &settings(Otherwise::LocalCa, &SITE));
    let two = [("a.test", Some("own")), ("b.test", Some("own"))];
    let two = settings(Otherwise::LocalCa, &two);
    let want = "error sites.b.test.certificate.chain: the certificate does not cover `b.test` \
                [covers `a.test`]";
    let (second, told) = reload(&folder, &two, &first, SystemTime::now());
    assert_eq!(told, [want]);
    folder.write("own.key", "");
    let (third, told) = reload(&folder, &two, &second, SystemTime::now());
    assert_eq!(
        told.iter()
            .filter(|told| told.starts_with("error"))
            .collect::<Vec<_>>(),
        [want]
    );
    assert_eq!(shown(&third, "a.test"), "own");
}

#[test]
fn a_pair_that_was_never_good_is_no_pair_to_keep() {
    let folder = Folder::new();
    folder.write("own.pem", Specimen::of(&["a.test"]).pem());
    folder.write("own.key", Specimen::of(&["a.test"]).key_pem());
    let settings = settings(Otherwise::LocalCa, &SITE);
    let (first, told) = load(&folder, &settings);
    assert!(told[0].starts_with("error"), "{told:?}");
    assert_eq!(
        reload(&folder, &settings, &first, SystemTime::now()).1,
        told
    );
}

#[test]
fn a_pair_of_the_directory_that_is_half_renewed_stays_as_it_was() {
    let settings = settings(Otherwise::LocalCa, &[]);
    let renewed = Specimen::of(&["a.test"]);
    let folder = || {
        let folder = Folder::new();
        folder.pair("certs/a", &Specimen::of(&["a.test"]));
        folder.pair("certs/b", &Specimen::of(&["b.test"]));
        folder
    };
    let remove = |folder: &Folder, name: &str| {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    };
    let check = |name: &str, change: &dyn Fn(&Folder)| {
        let folder = folder();
        let (first, _) = load(&folder, &settings);
        change(&folder);
        let mut previous = reload(&folder, &settings, &first, SystemTime::now()).0;
        let (next, told) = reload(&folder, &settings, &previous, SystemTime::now());
        for name in ["a.test", "b.test"] {
            assert_eq!(leaf(&next, name), leaf(&first, name), "{name}");
        }
        let kept = "warning certificates.directory: the pair of `certs/a.pem` does not load; \
                    the one read at ";
        assert_eq!(
            told.iter().filter(|told| told.starts_with(kept)).count(),
            1,
            "{name} {told:?}"
        );
        assert!(
            told.iter().all(|told| told.starts_with("warning ")),
            "{name} {told:?}"
        );
        previous = next;
        for name in ["certs/a.pem", "certs/a.key"] {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
        folder.pair("certs/a", &renewed);
        let (next, told) = reload(&folder, &settings, &previous, SystemTime::now());
        assert_eq!(told, [""; 0], "{name}");
        assert_eq!(leaf(&next, "a.test"), renewed.der().to_vec(), "{name}");
    };
    check("chain first", &|folder| {
        drop(folder.write("certs/a.pem", renewed.pem()))
    });
    check("key first", &|folder| {
        drop(folder.write("certs/a.key", renewed.key_pem()))
    });
    check("empty", &|folder| drop(folder.write("certs/a.pem", "")));
    check("half", &|folder| {
        drop(folder.write("certs/a.key", &renewed.key_pem()[..60]))
    });
    check("chain gone", &|folder| remove(folder, "certs/a.pem"));
    check("key gone", &|folder| remove(folder, "certs/a.key"));
    check("a link that leads nowhere", &|folder| {
        remove(folder, "certs/a.pem");
        std::os::unix::fs::symlink("none", folder.path().join("certs/a.pem")).unwrap();
    });
    check("a link that leads to itself", &|folder| {
        remove(folder, "certs/a.key");
        std::os::unix::fs::symlink("a.key", folder.path().join("certs/a.key")).unwrap();
    });

    // Both taken away: so it was meant.
    let folder = folder();
    let (first, _) = load(&folder, &settings);
    remove(&folder, "certs/a.pem");
    remove(&folder, "certs/a.key");
    let (next, told) = reload(&folder, &settings, &first, SystemTime::now());
    assert_eq!(told, [""; 0]);
    assert_eq!(shown(&next, "a.test"), "local CA");
    assert_eq!(shown(&next, "b.test"), "b");
    // Another certificate in its files: so it was meant, too.
    folder.pair("certs/b", &Specimen::of(&["c.test"]));
    let (next, told) = reload(&folder, &settings, &next, SystemTime::now());
    assert_eq!(told, [""; 0]);
    assert_eq!(shown(&next, "b.test"), "local CA");
    assert_eq!(shown(&next, "c.test"), "b");
}

#[test]
fn a_full_chain_that_is_half_written_is_not_replaced_by_a_shorter_one() {
    let settings = settings(Otherwise::LocalCa, &[]);
    let folder = Folder::new();
    let issuer = Specimen::ca("some issuer");
    let own = Specimen::of(&["a.test"]).signed_by(&issuer);
    folder.write("certs/a/cert.pem", own.pem());
    folder.write("certs/a/fullchain.pem", own.pem() + &issuer.pem());
    folder.write("certs/a/privkey.pem", own.key_pem());
    let (first, _) = load(&folder, &settings);
    folder.write("certs/a/fullchain.pem", own.pem() + &issuer.pem()[..100]);
    let (next, told) = reload(&folder, &settings, &first, SystemTime::now());
    assert_eq!(told.len(), 2, "{told:?}");
    let Which::Files(identity) = next.identity_for("a.test") else {
        panic!();
    };
    assert_eq!(identity.chain().len(), 2);
}

#[test]
fn a_directory_that_goes_away_leaves_its_certificates() {
    let mut settings = settings(Otherwise::LocalCa, &[]);
    let folder = Folder::new();
    folder.pair("certs/a", &Specimen::of(&["a.test"]));
    let (first, _) = load(&folder, &settings);
    let away = folder.path().join("away");
    std::fs::rename(folder.path().join("certs"), &away).unwrap();
    let (next, told) = reload(&folder, &settings, &first, SystemTime::now());
    assert!(
        told.len() == 1
            && told[0].starts_with(
                "warning certificates.directory: the directory `certs` does not exist; the one read at "
            ),
        "{told:?}"
    );
    assert_eq!(leaf(&next, "a.test"), leaf(&first, "a.test"));
    let (next, _) = reload(&folder, &settings, &next, SystemTime::now());
    assert_eq!(leaf(&next, "a.test"), leaf(&first, "a.test"));
    // Where it was written down it is a fault of the file, as at the start.
    settings.directory_is_required = true;
    let (_, told) = reload(&folder, &settings, &next, SystemTime::now());
    assert_eq!(
        told,
        ["error certificates.directory: the directory `certs` does not exist [no such directory]"]
    );
    // Another directory has nothing to do with it.
    settings.directory = "other".into();
    settings.directory_is_required = false;
    let (next, told) = reload(&folder, &settings, &next, SystemTime::now());
    assert_eq!(told, [""; 0]);
    assert_eq!(shown(&next, "a.test"), "local CA");
}

#[test]
fn every_file_that_was_read_or_missed_is_told() {
    let folder = Folder::new();
    let mut sites = settings(
        Otherwise::LocalCa,
        &[
            ("a.test", Some("own")),
            ("b.test", Some("certs/b")),
            ("c.test", Some("own")),
        ],
    );
    sites.authorities = ["ca.pem", "none.pem"]
        .map(|ca| crate::tls::AuthoritySettings {
            at: crate::diagnostic::Path::root().key("ca"),
            ca: Some(ca.into()),
        })
        .to_vec();
    folder.pair("own", &Specimen::of(&["a.test", "c.test"]));
    folder.pair("certs/b", &Specimen::of(&["b.test"]));
    folder.write("certs/sub/broken.crt", "");
    folder.write("certs/README", "");
    folder.write("ca.pem", Specimen::ca("ca").pem());
    let check = |base: &Path| {
        let (inventory, _) = Inventory::load(&sites, base, SystemTime::now(), None);
        let files = inventory.files().iter();
        let files: Vec<_> = files
            .map(|path| path.strip_prefix(folder.path()).unwrap())
            .collect();
        let want = [
            "own.pem",
            "own.key",
            "certs/b.pem",
            "certs/b.key",
            "ca.pem",
            "none.pem",
            "certs",
            "certs/sub",
            "certs/sub/broken.crt",
        ];
        assert_eq!(files, want.map(Path::new));
    };
    check(folder.path());
    check(&folder.path().join("./"));
    // Nothing is there at all.
    let (inventory, _) = load(&Folder::new(), &settings(Otherwise::LocalCa, &[]));
    assert!(inventory.files().len() == 1 && inventory.files()[0].ends_with("certs"));
}
