//! What is found in files made at run time, and what is said of it.

use std::path::PathBuf;

use super::*;
use crate::diagnostic::{self, Severity};
use crate::tls::CertificateFiles;
use crate::tls::identity::{Origin, day};
use crate::tls::specimen::{Folder, Specimen};

pub(super) fn settings(otherwise: Otherwise, sites: &[(&str, Option<&str>)]) -> Settings {
    let site = |&(host, pair): &(&str, Option<&str>)| SiteSettings {
        at: diagnostic::Path::root().key("sites").key(host),
        hosts: vec![HostPattern::parse(host).unwrap()],
        certificate: pair.map(|pair| CertificateFiles {
            chain: PathBuf::from(format!("{pair}.pem")),
            key: PathBuf::from(format!("{pair}.key")),
        }),
    };
    Settings {
        directory: PathBuf::from("certs"),
        directory_is_required: false,
        otherwise,
        sites: sites.iter().map(site).collect(),
        authorities: Vec::new(),
    }
}

/// `error sites.a.test.certificate.chain: message [label]`
fn told(folder: &Folder, diagnostics: &[Diagnostic]) -> Vec<String> {
    let prefix = format!("{}/", folder.path().display());
    let line = |diagnostic: &Diagnostic| {
        let place = match &diagnostic.place {
            Place::Key(path) | Place::Value(path) => path.to_string(),
            Place::File | Place::Span(_) => unreachable!("nothing of TLS stands at a span"),
        };
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        assert!(
            diagnostic
                .help
                .as_ref()
                .is_some_and(|help| !help.is_empty())
        );
        format!(
            "{severity} {place}: {} [{}]",
            diagnostic.message, diagnostic.label
        )
        .replace(&prefix, "")
    };
    diagnostics.iter().map(line).collect()
}

pub(super) fn load(folder: &Folder, settings: &Settings) -> (Inventory, Vec<String>) {
    let (inventory, found) = Inventory::load(settings, folder.path(), SystemTime::now(), None);
    (inventory, told(folder, &found))
}

/// Reads again what may have changed since.
pub(super) fn reload(
    folder: &Folder,
    settings: &Settings,
    previous: &Inventory,
    now: SystemTime,
) -> (Inventory, Vec<String>) {
    let (inventory, found) = Inventory::load(settings, folder.path(), now, Some(previous));
    (inventory, told(folder, &found))
}

pub(super) fn shown(inventory: &Inventory, name: &str) -> String {
    which(inventory.identity_for(name))
}

fn which(which: Which<'_>) -> String {
    match which {
        Which::Files(identity) => match &identity.origin {
            Origin::Files { chain, .. } => {
                chain.file_stem().unwrap().to_string_lossy().into_owned()
            }
            Origin::LocalCa => unreachable!(),
        },
        Which::LocalCa => "local CA".to_owned(),
        Which::Refused => "refused".to_owned(),
    }
}

#[test]
fn a_sites_own_pair_comes_before_the_directorys() {
    let folder = Folder::new();
    folder.pair("certs/exact", &Specimen::of(&["a.test", "b.test"]));
    folder.pair("certs/wild", &Specimen::of(&["*.w.test"]));
    folder.pair("own", &Specimen::of(&["a.test", "extra.test"]));
    folder.pair("own-wild", &Specimen::of(&["*.w.test", "*.v.test"]));
    let sites = [
        ("a.test", Some("own")),
        ("b.test", None),
        ("*.v.test", Some("own-wild")),
        ("x.w.test", None),
    ];
    let (inventory, told) = load(&folder, &settings(Otherwise::LocalCa, &sites));
    assert_eq!(told, [""; 0]);
    let check = |name: &str, want: &str| assert_eq!(shown(&inventory, name), want, "{name}");
    check("a.test", "own");
    check("A.Test.", "own");
    check("b.test", "exact");
    check("extra.test", "own");
    check("x.v.test", "own-wild");
    check("y.x.v.test", "local CA");
    check("unknown.test", "local CA");
    check("not a name", "refused");
}

#[test]
fn the_longest_lived_valid_certificate_wins() {
    let folder = Folder::new();
    folder.pair("certs/a-short", &Specimen::between(&["a.test"], -1, 10));
    folder.pair(
        "certs/b-long",
        &Specimen::between(&["a.test", "b.test"], -1, 20),
    );
    folder.pair(
        "certs/c-old",
        &Specimen::between(&["a.test", "old.test"], -20, -1),
    );
    folder.pair(
        "certs/d-future",
        &Specimen::between(&["a.test", "x.w.test"], 1, 99),
    );
    folder.pair("certs/e-wild", &Specimen::between(&["*.w.test"], -1, 5));
    let (inventory, told) = load(&folder, &settings(Otherwise::LocalCa, &[]));
    let check = |name: &str, want: &str| assert_eq!(shown(&inventory, name), want, "{name}");
    check("a.test", "b-long");
    check("b.test", "b-long");
    check("old.test", "c-old");
    check("x.w.test", "e-wild");
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with(
        "warning certificates.directory: the certificate `certs/c-old.pem` expired on "
    ));
    assert!(told[1].starts_with(
        "warning certificates.directory: the certificate `certs/d-future.pem` is not valid before "
    ));
}

#[test]
fn every_fault_of_the_sites_pairs_is_found_at_once() {
    let folder = Folder::new();
    folder.pair("good", &Specimen::of(&["good.test"]));
    folder.pair("old", &Specimen::between(&["old.test"], -20, -1));
    folder.write("key-only.key", Specimen::of(&["x.test"]).key_pem());
    folder.write("mixed.pem", Specimen::of(&["mixed.test"]).pem());
    folder.write("mixed.key", Specimen::of(&["mixed.test"]).key_pem());
    folder.write("swapped.pem", Specimen::of(&["x.test"]).key_pem());
    folder.write("swapped.key", Specimen::of(&["x.test"]).pem());
    folder.pair("wild", &Specimen::of(&["*.wild.test"]));
    let sites = [
        ("good.test", Some("good")),
        ("none.test", Some("none")),
        ("half.test", Some("key-only")),
        ("old.test", Some("old")),
        ("mixed.test", Some("mixed")),
        ("swapped.test", Some("swapped")),
        ("other.test", Some("good")),
        ("*.good.test", Some("good")),
        ("*.wild.test", Some("wild")),
        ("x.wild.test", Some("wild")),
    ];
    let (_, told) = load(&folder, &settings(Otherwise::LocalCa, &sites));
    let old = day(SystemTime::now() - crate::tls::specimen::DAY);
    assert_eq!(
        told,
        [
            "error sites.none.test.certificate.chain: `none.pem` does not exist [no such file]",
            "error sites.none.test.certificate.key: `none.key` does not exist [no such file]",
            "error sites.half.test.certificate.chain: `key-only.pem` does not exist [no such file]",
            &format!(
                "error sites.old.test.certificate.chain: the certificate `old.pem` expired on {old} [expired]"
            ),
            "error sites.mixed.test.certificate.key: the private key does not belong to the \
             certificate (`mixed.pem`) [belongs to another certificate]",
            "error sites.swapped.test.certificate.chain: `swapped.pem` holds a private key, but \
             no certificate [cannot be used]",
            "error sites.swapped.test.certificate.key: `swapped.key` holds a certificate, but no \
             private key [cannot be used]",
            "error sites.other.test.certificate.chain: the certificate does not cover \
             `other.test` [covers `good.test`]",
            "error sites.*.good.test.certificate.chain: the certificate does not cover \
             `*.good.test` [covers `good.test`]",
        ]
    );
}

#[test]
fn a_pair_in_the_directory_and_at_a_site_is_told_once() {
    let folder = Folder::new();
    folder.pair("certs/old", &Specimen::between(&["old.test"], -20, -1));
    let sites = [("old.test", Some("certs/old"))];
    let (_, told) = load(&folder, &settings(Otherwise::LocalCa, &sites));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn flaws_of_a_certificate_are_warnings() {
    let folder = Folder::new();
    let specimen = Specimen::with(&[], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "a.test");
    });
    folder.pair("own", &specimen);
    let sites = [("a.test", Some("own"))];
    let (inventory, told) = load(&folder, &settings(Otherwise::LocalCa, &sites));
    assert_eq!(
        told,
        [
            "warning sites.a.test.certificate.chain: the certificate `own.pem` says that it is a \
             CA [some clients refuse it]",
            "warning sites.a.test.certificate.chain: the certificate `own.pem` has no subject \
             alternative name [browsers refuse it]",
        ]
    );
    assert_eq!(shown(&inventory, "a.test"), "own");
}

#[test]
fn a_missing_directory_is_a_fault_only_where_it_was_written_down() {
    let folder = Folder::new();
    let mut settings = settings(Otherwise::LocalCa, &[]);
    assert_eq!(load(&folder, &settings).1, [""; 0]);
    settings.directory_is_required = true;
    assert_eq!(
        load(&folder, &settings).1,
        ["error certificates.directory: the directory `certs` does not exist [no such directory]"]
    );
    folder.write("certs", "a file");
    settings.directory_is_required = false;
    assert!(load(&folder, &settings).1[0].contains("could not be read"));
}

#[test]
fn a_site_that_would_be_refused_is_warned_of() {
    let folder = Folder::new();
    folder.pair("certs/a", &Specimen::of(&["a.test", "*.w.test"]));
    let sites = [
        ("a.test", None),
        ("b.test", None),
        ("*.w.test", None),
        ("x.w.test", None),
    ];
    let (inventory, told) = load(&folder, &settings(Otherwise::Refuse, &sites));
    assert_eq!(
        told,
        ["warning sites.b.test: no certificate covers `b.test` [its clients are refused]"]
    );
    assert_eq!(shown(&inventory, "b.test"), "refused");
}

#[test]
fn clients_without_a_name_get_what_names_an_address() {
    let folder = Folder::new();
    folder.pair("certs/a", &Specimen::of(&["a.test"]));
    let unnamed = |otherwise, sites: &[(&str, Option<&str>)]| {
        let (inventory, _) = load(&folder, &settings(otherwise, sites));
        which(inventory.identity_unnamed())
    };
    assert_eq!(unnamed(Otherwise::LocalCa, &[]), "local CA");
    assert_eq!(unnamed(Otherwise::Refuse, &[]), "a", "the only one");
    folder.pair("certs/b", &Specimen::of(&["b.test"]));
    assert_eq!(unnamed(Otherwise::Refuse, &[]), "refused");
    folder.pair("certs/loopback", &Specimen::of(&["localhost", "127.0.0.1"]));
    assert_eq!(unnamed(Otherwise::LocalCa, &[]), "loopback");
    folder.pair("own", &Specimen::of(&["192.0.2.1"]));
    assert_eq!(
        unnamed(Otherwise::Refuse, &[("192.0.2.1", Some("own"))]),
        "own"
    );
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.pair("own", &Specimen::of(&["a.test"]));
    let key = folder.path().join("own.key");
    std::fs::set_permissions(key, PermissionsExt::from_mode(0o644)).unwrap();
    let sites = [("a.test", Some("own"))];
    assert_eq!(
        load(&folder, &settings(Otherwise::LocalCa, &sites)).1,
        [
            "warning sites.a.test.certificate.key: the private key `own.key` can be read by other \
          users (mode 0644) [readable by others]"
        ]
    );
}
