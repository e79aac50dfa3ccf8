//! Whether a hostmux runs, and its unit.

use rustix::process::Signal;

use super::Patient;
use crate::cli::Program;
use crate::harness::Client;

fn some() -> Patient {
    Patient::with("sites: { a.localhost: unix:/nonexistent/gone.sock }\n")
}

#[tokio::test]
async fn nobody_runs() {
    let fix = some()
        .examined()
        .await
        .finds("service", "note", "no hostmux runs");
    assert!(fix.starts_with("`hostmux run`"), "{fix}");
}

#[tokio::test]
async fn somebody_runs() {
    let patient = some();
    let mut program = Program::start(patient.path(), &["run"], "");
    program.says("listening");
    let runs = format!("runs (process {})", program.id());
    patient.examined().await.finds("service", "ok", &runs);
    // Another file than the one it serves.
    std::fs::copy(patient.file("sites.yaml"), patient.file("other.yaml")).unwrap();
    let printed = patient.printed(&["-c", "other.yaml", "--json"]).await;
    let fix = super::Report::of(&printed).finds("service", "note", "not other.yaml");
    assert!(fix.contains("hostmux doctor -c "), "{fix}");
}

#[tokio::test]
async fn one_that_runs_and_is_degraded() {
    let broken = "sites: { a.localhost: unix:/nonexistent/gone.sock, b.localhost: 0 }\n";
    let patient = Patient::with(broken);
    let mut program = Program::start(patient.path(), &["run"], "");
    program.says("listening");
    let report = patient.examined().await;
    let fix = report.finds(
        "service",
        "error",
        "does not serve b.localhost: config line 2: 0 is",
    );
    assert!(fix.contains("hostmux check "), "{fix}");
    // The other site is looked at.
    report.finds("endpoints", "error", "a.localhost: unix:");
}

/// A change that was refused is told until it is mended.
#[tokio::test]
async fn one_that_did_not_take_a_change_over() {
    let patient = some();
    let mut program = Program::start(patient.path(), &["run"], "");
    program.says("listening");
    std::fs::write(patient.file("sites.yaml"), "sites: [\n").unwrap();
    let socket = patient.file("state/hostmux.sock");
    let mut client = Client::connect_unix(&socket).await;
    let asked = "POST /v1/reload HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    client.ask(asked).await;
    let fix = patient
        .examined()
        .await
        .finds("service", "error", "hostmux did not take");
    assert!(fix.contains("hostmux reload"), "{fix}");
}

#[tokio::test]
async fn who_runs_says_nothing() {
    let patient = some();
    let mut program = Program::start(patient.path(), &["run"], "");
    program.says("listening");
    program.signal(Signal::STOP);
    let report = patient.examined().await;
    program.signal(Signal::CONT);
    let fix = report.finds("service", "error", "said nothing for 5s");
    assert!(fix.contains("kill -CONT"), "{fix}");
}

#[tokio::test]
async fn a_unit_that_has_failed() {
    let patient = some();
    patient.program(
        "systemctl",
        "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nResult=exit-code\nExecMainStatus=1",
    );
    let report = patient.examined().await;
    let fix = report.finds(
        "service",
        "error",
        "hostmux.service has failed (exit-code, exit code 1)",
    );
    assert!(fix.contains("journalctl -u hostmux -n 50"), "{fix}");
}

#[tokio::test]
async fn a_unit_that_is_not_started_at_boot() {
    let patient = some();
    patient.program(
        "systemctl",
        "LoadState=loaded\nActiveState=active\nUnitFileState=disabled\nResult=success\nExecMainStatus=0",
    );
    let fix = patient
        .examined()
        .await
        .finds("service", "warning", "not started at boot");
    assert_eq!(fix, "`sudo systemctl enable hostmux`");
}
