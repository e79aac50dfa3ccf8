use rcgen::{BasicConstraints, DnType, IsCa};

use super::*;
use crate::tls::specimen::{DAY, Specimen};

fn key(specimen: &Specimen) -> Key {
    let der = PrivateKeyDer::Pkcs8(specimen.key.serialize_der().into());
    Key::load(&der).unwrap()
}

fn pair(chain: &[&Specimen], of: &Specimen) -> Result<Identity, BadPair> {
    let chain: Vec<_> = chain
        .iter()
        .map(|specimen| specimen.der().clone())
        .collect();
    Identity::from_pair(&chain, &[key(of)], Origin::LocalCa)
}

#[test]
fn names_are_the_alternative_ones() {
    let check = |names: &[&str], covered: &[&str], not: &[&str]| {
        let specimen = Specimen::of(names);
        let identity = pair(&[&specimen], &specimen).unwrap();
        for name in covered {
            assert!(identity.covers(name), "{names:?} {name}");
        }
        for name in not {
            assert!(!identity.covers(name), "{names:?} {name}");
        }
    };
    check(&["a.test"], &["a.test"], &["b.test", "x.a.test", "test"]);
    check(&["*.a.test"], &["x.a.test"], &["a.test", "y.x.a.test"]);
    check(
        &["A.Test", "xn--bcher-kva.test"],
        &["a.test", "xn--bcher-kva.test"],
        &["A.Test"],
    );
    check(
        &["127.0.0.1", "::1"],
        &["127.0.0.1", "[::1]"],
        &["::1", "localhost"],
    );
}

#[test]
fn the_common_name_counts_only_alone() {
    let named = |names: &[&str]| {
        let specimen = Specimen::with(names, |params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "cn.test");
        });
        pair(&[&specimen], &specimen).unwrap()
    };
    let alone = named(&[]);
    assert!(alone.covers("cn.test"));
    assert_eq!(alone.flaws, [Flaw::CommonNameOnly]);
    let beside = named(&["a.test"]);
    assert!(!beside.covers("cn.test"));
    assert_eq!(beside.flaws, []);
}

#[test]
fn a_certificate_without_a_host_is_none() {
    for title in ["Some local CA (x)", "MyRootCA"] {
        let ca = Specimen::ca(title);
        assert!(matches!(pair(&[&ca], &ca), Err(BadPair::NoName)), "{title}");
    }
}

#[test]
fn a_certificate_that_is_a_ca_is_a_flaw() {
    let specimen = Specimen::with(&["a.test"], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert_eq!(pair(&[&specimen], &specimen).unwrap().flaws, [Flaw::IsCa]);
}

#[test]
fn the_leaf_is_found_by_its_key_and_sent_first() {
    let root = Specimen::ca("root");
    let middle = Specimen::ca("middle").signed_by(&root);
    let leaf = Specimen::of(&["a.test"]).signed_by(&middle);
    let other = Specimen::of(&["b.test"]);
    let want: Vec<_> = [&leaf, &middle, &root]
        .map(|specimen| specimen.der().clone())
        .into();
    for chain in [
        [&leaf, &middle, &root],
        [&root, &middle, &leaf],
        [&middle, &leaf, &root],
    ] {
        assert_eq!(pair(&chain, &leaf).unwrap().chain(), want);
    }
    let with_other = pair(&[&other, &root, &leaf, &middle], &leaf).unwrap();
    assert_eq!(with_other.chain(), want);
    assert!(matches!(
        pair(&[&leaf, &middle], &other),
        Err(BadPair::KeyMismatch)
    ));
}

#[test]
fn rubbish_in_a_chain_is_told_with_its_position() {
    let leaf = Specimen::of(&["a.test"]);
    let chain = [
        leaf.der().clone(),
        vec![0x30, 0x03, 0x02, 0x01, 0x00].into(),
    ];
    let bad = Identity::from_pair(&chain, &[key(&leaf)], Origin::LocalCa);
    assert!(matches!(bad, Err(BadPair::Unparsable { position: 2, .. })));
    let no_key = PrivateKeyDer::Pkcs8(vec![0x30, 0x03, 0x02, 0x01, 0x00].into());
    assert!(matches!(Key::load(&no_key), Err(BadPair::UnsupportedKey)));
}

#[test]
fn validity_is_asked_of_a_moment() {
    let specimen = Specimen::between(&["a.test"], -2, 2);
    let identity = pair(&[&specimen], &specimen).unwrap();
    let now = SystemTime::now();
    assert_eq!(identity.validity(now - 3 * DAY), Validity::NotYet);
    assert_eq!(identity.validity(now), Validity::Valid);
    assert_eq!(identity.validity(now + 3 * DAY), Validity::Expired);
}

#[test]
fn a_day_reads_as_a_day() {
    assert_eq!(day(time(1_800_000_000)), "2027-01-15");
    assert_eq!(day(time(-1)), "1969-12-31");
}
