//! The CA in a folder made at run time, and what its leaves say.

use std::os::unix::fs::PermissionsExt;

use x509_parser::prelude::*;

use super::*;
use crate::tls::specimen::{Folder, Specimen};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_is_made_once_and_for_its_owner_only() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    let state = folder.path().join("state/hostmux");
    assert!(LocalCa::load(&state, now).unwrap().is_none());
    let made = LocalCa::open(&state, now).unwrap();
    let again = LocalCa::open(&state, now).unwrap();
    assert_eq!(made.certificate, again.certificate);
    assert_eq!(mode(&state.join("local-ca")), 0o700);
    assert_eq!(mode(&state.join("local-ca/ca.key")), 0o600);
    assert_eq!(made.diagnostics(), []);
    assert_eq!(
        fs::read_dir(&state).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn it_says_what_a_ca_has_to_say() {
    let folder = Folder::new();
    let ca = LocalCa::open(folder.path(), SystemTime::now()).unwrap();
    let (_, certificate) = X509Certificate::from_der(ca.certificate()).unwrap();
    assert!(
        certificate
            .subject()
            .to_string()
            .contains("hostmux local CA (")
    );
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.value.key_cert_sign() && !usage.value.digital_signature());
    let life = certificate
        .validity()
        .time_to_expiration()
        .unwrap()
        .whole_days();
    assert!((3_648..=3_650).contains(&life), "{life}");
}

#[test]
fn a_leaf_is_what_browsers_ask_for() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    let ca = LocalCa::open(folder.path(), now).unwrap();
    let leaf = ca.leaf("app.test", Asked::ByStranger, now).unwrap();
    assert!(leaf.covers("app.test") && !leaf.covers("b.test"));
    let (_, certificate) = X509Certificate::from_der(&leaf.chain()[0]).unwrap();
    let (_, issuer) = X509Certificate::from_der(ca.certificate()).unwrap();
    assert_eq!(certificate.issuer().as_raw(), issuer.subject().as_raw());
    certificate
        .verify_signature(Some(issuer.public_key()))
        .unwrap();
    assert!(!certificate.is_ca());
    assert!(
        certificate
            .extended_key_usage()
            .unwrap()
            .unwrap()
            .value
            .server_auth
    );
    let alt_names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        alt_names.value.general_names,
        [GeneralName::DNSName("app.test")]
    );
    let extensions = || {
        certificate
            .extensions()
            .iter()
            .map(X509Extension::parsed_extension)
    };
    let own_id = extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension else {
            return None;
        };
        Some(id)
    });
    let issuer_id = extensions().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(id) = extension else {
            return None;
        };
        id.key_identifier.as_ref()
    });
    assert!(own_id.is_some() && issuer_id.is_some() && own_id != issuer_id);
    let validity = certificate.validity();
    let (from, to) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    assert_eq!(to - from, 90 * 86_400 - 1);
    assert!((3_600..3_610).contains(&(ASN1Time::now().timestamp() - from)));
}

#[test]
fn leaves_differ_in_their_serial_numbers() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    let ca = LocalCa::open(folder.path(), now).unwrap();
    let serial = |name: &str| {
        let leaf = ca.leaf(name, Asked::BySite, now).unwrap();
        X509Certificate::from_der(&leaf.chain()[0])
            .unwrap()
            .1
            .raw_serial()
            .to_vec()
    };
    assert_ne!(serial("a.test"), serial("b.test"));
    assert_eq!(serial("a.test"), serial("a.test"));
}

#[test]
fn addresses_and_long_names_have_leaves_too() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    let ca = LocalCa::open(folder.path(), now).unwrap();
    let long = format!("{}.{}.test", "a".repeat(63), "b".repeat(63));
    for name in ["127.0.0.1", "[::1]", "localhost", "under_score.test", &long] {
        let leaf = ca.leaf(name, Asked::ByStranger, now).unwrap();
        let facts = Facts::of(&leaf.chain()[0]).unwrap();
        assert_eq!(facts.names, [HostPattern::parse(name).unwrap()], "{name}");
    }
}

#[test]
fn strangers_cannot_have_leaves_without_bound() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    let ca = LocalCa::open(folder.path(), now).unwrap();
    let made = |asked| {
        let names = (0..200).map(|n| format!("{n}.test"));
        names
            .filter(|name| ca.leaf(name, asked, now).is_some())
            .count()
    };
    assert_eq!(made(Asked::ByStranger), 50);
    assert_eq!(
        made(Asked::BySite),
        200,
        "strangers take nothing from sites"
    );
}

#[test]
fn no_leaf_outlives_its_ca() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    let ca = LocalCa::open(folder.path(), now).unwrap();
    let late = ca.not_after() - DAY;
    assert_eq!(
        ca.leaf("a.test", Asked::BySite, late).unwrap().not_after,
        ca.not_after()
    );
    assert!(ca.leaf("a.test", Asked::BySite, late + 2 * DAY).is_none());
}

#[test]
fn of_two_that_start_at_once_one_makes_it() {
    for _ in 0..8 {
        let (folder, now) = (Folder::new(), SystemTime::now());
        let barrier = std::sync::Barrier::new(4);
        let made: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                barrier.wait();
                LocalCa::open(folder.path(), now).unwrap().certificate
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(made.iter().all(|certificate| *certificate == made[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_ca_that_cannot_be_used_is_not_replaced() {
    let now = SystemTime::now();
    let check = |change: &dyn Fn(&Folder), want: &str| {
        let folder = Folder::new();
        LocalCa::open(folder.path(), now).unwrap();
        change(&folder);
        let fault = LocalCa::open(folder.path(), now).unwrap_err();
        let text = fault
            .to_string()
            .replace(&format!("{}/", folder.path().display()), "");
        assert_eq!(text, want);
        assert!(!fault.diagnostic().help.unwrap().is_empty());
    };
    let other = Specimen::of(&["a.test"]);
    check(
        &|folder| fs::remove_file(folder.path().join("local-ca/ca.key")).unwrap(),
        "the local CA's `local-ca/ca.key` does not exist",
    );
    check(
        &|folder| drop(folder.write("local-ca/ca.pem", "")),
        "the local CA's `local-ca/ca.pem` is empty",
    );
    check(
        &|folder| drop(folder.write("local-ca/ca.key", other.key_pem())),
        "the local CA's `local-ca/ca.key` cannot be used: it does not belong to `ca.pem`",
    );
    let both = |folder: &Folder, specimen: &Specimen| {
        folder.write("local-ca/ca.pem", specimen.pem());
        folder.write("local-ca/ca.key", specimen.key_pem());
    };
    check(
        &|folder| both(folder, &other),
        "the local CA's `local-ca/ca.pem` cannot be used: it is no CA certificate",
    );
}

#[test]
fn time_is_judged_when_it_is_opened() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    LocalCa::open(folder.path(), now).unwrap();
    let later = LocalCa::open(folder.path(), now + CA_LIFE);
    assert!(matches!(later, Err(CaFault::Expired { .. })));
    let earlier = LocalCa::open(folder.path(), now - DAY);
    assert!(matches!(earlier, Err(CaFault::NotYetValid { .. })));
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    LocalCa::open(folder.path(), now).unwrap();
    let key = folder.path().join("local-ca/ca.key");
    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let warnings = LocalCa::open(folder.path(), now).unwrap().diagnostics();
    assert!(
        warnings[0]
            .message
            .contains("can be read by other users (mode 0644)")
    );
}

#[test]
fn a_ca_of_the_users_own_is_taken() {
    let (folder, now) = (Folder::new(), SystemTime::now());
    let own = Specimen::ca("mkcert ann@host");
    folder.write("local-ca/ca.pem", own.pem());
    folder.write("local-ca/ca.key", own.key_pem());
    let ca = LocalCa::open(folder.path(), now).unwrap();
    assert_eq!(ca.certificate(), own.der());
    assert!(ca.leaf("a.test", Asked::BySite, now).is_some());
}
