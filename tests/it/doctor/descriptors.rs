//! The limit of open files.

use super::{Patient, well};

#[tokio::test]
async fn a_limit_that_is_low() {
    let (patient, _backend) = well().await;
    let low = patient.examined_after("ulimit -n 64").await;
    let fix = low.finds("descriptors", "error", "64 files: 1 connections");
    assert!(fix.contains("LimitNOFILE=65536"), "{fix}");
    let short = patient.examined_after("ulimit -n 512").await;
    short.finds("descriptors", "warning", "512 files: 224 connections");
}

#[tokio::test]
async fn the_limit_of_the_hostmux_that_runs() {
    let patient = Patient::with("sites: { a.localhost: unix:/nonexistent/gone.sock }\n");
    let mut program = crate::cli::Program::start_with_descriptors(patient.path(), &["run"], 200);
    program.says("listening");
    let report = patient.examined().await;
    let what = format!("hostmux (process {}) may open 200 files", program.id());
    report.finds("descriptors", "error", &what);
}
