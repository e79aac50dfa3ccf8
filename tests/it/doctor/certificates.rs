//! What names get a certificate, and for how long.

use std::time::SystemTime;

use rcgen::{CertificateParams, KeyPair};

use super::Patient;

const SITE: &str = "sites: { a.localhost: unix:/nonexistent/gone.sock }\n";

/// A pair for a name, in `certs/`, that is valid from and to so many days from now.
fn pair(patient: &Patient, name: &str, from: i64, to: i64) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    let at = |days| {
        let (year, month, day) = day(days);
        rcgen::date_time_ymd(year, month, day)
    };
    (params.not_before, params.not_after) = (at(from), at(to));
    let certificate = params.self_signed(&key).unwrap();
    patient.secret("certs/a.pem", &certificate.pem());
    patient.secret("certs/a.key", &key.serialize_pem());
}

/// Year, month and day so many days from now.
fn day(days: i64) -> (i32, u8, u8) {
    let then = jiff::Timestamp::now().as_second() + days * 86_400;
    let then = jiff::Timestamp::from_second(then).unwrap();
    let parts = then.strftime("%Y %m %d").to_string();
    let parts: Vec<u16> = parts.split(' ').map(|part| part.parse().unwrap()).collect();
    let small = |part: u16| u8::try_from(part).unwrap();
    (parts[0].into(), small(parts[1]), small(parts[2]))
}

#[tokio::test]
async fn one_that_has_expired() {
    let patient = Patient::with(SITE);
    pair(&patient, "a.localhost", -90, -3);
    let report = patient.examined().await;
    let fix = report.finds("certificates", "error", "certs/a.pem expired on");
    assert!(fix.contains("renew it"), "{fix}");
    // `check` tells it too: once is enough.
    report.finds("configuration", "ok", "is valid");
}

#[tokio::test]
async fn one_that_expires_soon() {
    let patient = Patient::with(SITE);
    pair(&patient, "a.localhost", -90, 5);
    let report = patient.examined().await;
    let fix = report.finds("certificates", "warning", "certs/a.pem expires in ");
    assert!(fix.contains("renew it"), "{fix}");
}

#[tokio::test]
async fn one_that_is_not_valid_yet() {
    let patient = Patient::with(SITE);
    pair(&patient, "a.localhost", 5, 90);
    let report = patient.examined().await;
    let fix = report.finds("certificates", "error", "certs/a.pem is not valid before");
    assert!(fix.contains("the clock"), "{fix}");
}

#[tokio::test]
async fn one_that_is_well() {
    let patient = Patient::with(SITE);
    pair(&patient, "a.localhost", -5, 90);
    patient
        .examined()
        .await
        .finds("certificates", "ok", "a.pem, ");
}

#[tokio::test]
async fn a_sites_own_that_has_expired() {
    let patient = Patient::with(
        "sites: { a.localhost: { upstream: unix:/nonexistent/gone.sock, certificate: { chain: certs/a.pem, key: certs/a.key } } }\n",
    );
    pair(&patient, "a.localhost", -90, -3);
    let report = patient.examined().await;
    report.finds("certificates", "error", "certs/a.pem expired on");
    assert_eq!(report.code, Some(1));
}

#[tokio::test]
async fn a_sites_own_that_is_for_another_name() {
    let patient = Patient::with(
        "sites: { a.localhost: { upstream: unix:/nonexistent/gone.sock, certificate: { chain: certs/a.pem, key: certs/a.key } } }\n",
    );
    pair(&patient, "b.localhost", -9, 90);
    let report = patient.examined().await;
    let fix = report.finds("certificates", "error", "certs/a.pem does not name it");
    assert!(fix.contains("name a certificate that does"), "{fix}");
}

#[tokio::test]
async fn a_name_that_none_covers() {
    let patient = Patient::with(
        "certificates: { otherwise: refuse }\nsites: { a.localhost: unix:/nonexistent/gone.sock }\n",
    );
    let report = patient.examined().await;
    let fix = report.finds("certificates", "error", "no certificate covers a.localhost");
    assert!(fix.contains("otherwise: local_ca"), "{fix}");
}

#[tokio::test]
async fn names_of_the_own_ca_and_whether_it_is_trusted() {
    let patient = Patient::with(SITE);
    patient
        .examined()
        .await
        .finds("certificates", "note", "which the first start makes");
    let now = SystemTime::now();
    hostmux::tls::LocalCa::open(&patient.file("state"), now).unwrap();
    let report = patient.examined().await;
    let fix = report.finds("certificates", "note", "of hostmux's own CA");
    // Some systems keep what they trust in no file that is known.
    assert!(
        fix.is_empty() || fix.contains("update-ca-certificates"),
        "{fix}"
    );
}

#[tokio::test]
async fn an_own_ca_that_is_broken() {
    let patient = Patient::with(SITE);
    let now = SystemTime::now();
    hostmux::tls::LocalCa::open(&patient.file("state"), now).unwrap();
    patient.secret("state/local-ca/ca.pem", "nothing");
    let report = patient.examined().await;
    let fix = report.finds("certificates", "error", "the local CA's");
    assert!(fix.contains("local-ca"), "{fix}");
}
