//! Who may read and write what.

use super::Patient;
use crate::cli::Program;

fn some() -> Patient {
    Patient::with("sites: { a.localhost: unix:/nonexistent/gone.sock }\n")
}

#[tokio::test]
async fn a_file_that_everybody_may_write() {
    let patient = some();
    patient.allow("sites.yaml", 0o666);
    let report = patient.examined().await;
    let fix = report.finds(
        "permissions",
        "warning",
        "sites.yaml can be written by every user",
    );
    assert_eq!(fix, "`chmod o-w sites.yaml`");
    patient.allow("sites.yaml", 0o644);
    patient
        .examined()
        .await
        .finds("permissions", "ok", "sites.yaml is its owner's");
}

#[tokio::test]
async fn a_folder_that_everybody_may_write() {
    let patient = some();
    patient.allow("", 0o777);
    let fix =
        patient
            .examined()
            .await
            .finds("permissions", "warning", "can be written by every user");
    assert_eq!(fix, "`chmod o-w .`");
}

#[tokio::test]
async fn a_key_that_everybody_may_read() {
    let patient = some();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["a.localhost".to_owned()];
    let pair = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    patient.secret("certs/a.pem", &pair.pem());
    patient.secret("certs/a.key", &key.serialize_pem());
    patient
        .examined()
        .await
        .finds("permissions", "ok", "certs/a.key is its owner's alone");
    patient.allow("certs/a.key", 0o644);
    let report = patient.examined().await;
    let fix = report.finds(
        "permissions",
        "warning",
        "a.key can be read by other users (mode 0644)",
    );
    assert!(
        fix.starts_with("`chmod 600 ") && fix.ends_with("certs/a.key`"),
        "{fix}"
    );
    // `check` tells it too: once is enough.
    report.finds("configuration", "ok", "is valid");
}

#[tokio::test]
async fn a_key_of_the_own_ca_that_everybody_may_read() {
    let patient = some();
    patient.secret("state/local-ca/ca.key", "");
    patient.allow("state/local-ca/ca.key", 0o640);
    let fix =
        patient
            .examined()
            .await
            .finds("permissions", "warning", "local-ca/ca.key can be read");
    assert!(fix.starts_with("`chmod 600 "), "{fix}");
}

#[tokio::test]
async fn a_secret_that_everybody_may_read() {
    let patient = some();
    patient.secret("state/sticky.key", "");
    patient.allow("state/sticky.key", 0o604);
    let report = patient.examined().await;
    report.finds("permissions", "warning", "the secret of sticky cookies");
}

#[tokio::test]
async fn ticket_keys_that_everybody_may_read() {
    let patient = some();
    patient.secret("state/tickets.key", "");
    patient.allow("state/tickets.key", 0o640);
    let report = patient.examined().await;
    report.finds("permissions", "warning", "the file of TLS ticket keys");
}

#[tokio::test]
async fn a_state_folder_that_everybody_may_write() {
    let patient = some();
    std::fs::create_dir(patient.file("state")).unwrap();
    patient.allow("state", 0o777);
    let fix = patient
        .examined()
        .await
        .finds("permissions", "error", "the state folder");
    assert!(fix.starts_with("`chmod 700 "), "{fix}");
}

#[tokio::test]
async fn a_state_folder_of_another_user() {
    // Who has no rights cannot give a folder away: that is judged beside the code.
    if rustix::process::geteuid().is_root() {
        let patient = some();
        std::fs::create_dir(patient.file("state")).unwrap();
        let report = patient.examined_by_nobody().await;
        let fix = report.finds("permissions", "warning", "belongs to another user (0)");
        assert!(fix.contains("STATE_DIRECTORY"), "{fix}");
    }
}

#[tokio::test]
async fn a_control_socket_that_everybody_may_use() {
    let patient = some();
    let mut program = Program::start(patient.path(), &["run"], "");
    program.says("listening");
    patient
        .examined()
        .await
        .finds("permissions", "ok", "the control socket");
    patient.allow("state/hostmux.sock", 0o666);
    let fix = patient
        .examined()
        .await
        .finds("permissions", "error", "open to other users");
    assert!(fix.starts_with("`chmod 660 "), "{fix}");
}

#[tokio::test]
async fn what_may_not_be_seen_is_said_to_be_unseen() {
    let patient = some();
    patient.give("sites.yaml");
    patient.secret("state/local-ca/ca.key", "");
    patient.allow("state", 0o000);
    let report = patient.examined_by_nobody().await;
    patient.allow("state", 0o700);
    let fix = report.finds("permissions", "note", "ca.key was not looked at");
    assert_eq!(fix, "`sudo hostmux doctor`");
    report.finds("certificates", "note", "which this user may not read");
}
