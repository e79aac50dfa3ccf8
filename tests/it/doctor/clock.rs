//! The clock.

use std::time::{Duration, SystemTime};

use super::{Patient, well};

#[tokio::test]
async fn a_clock_that_is_behind_what_was_written() {
    let patient = Patient::with("sites: { a.localhost: unix:/nonexistent/gone.sock }\n");
    let file = std::fs::File::open(patient.file("sites.yaml")).unwrap();
    let future = SystemTime::now() + Duration::from_secs(40 * 86_400);
    file.set_modified(future).unwrap();
    let fix = patient
        .examined()
        .await
        .finds("clock", "warning", "sites.yaml was written at");
    assert!(fix.contains("timedatectl set-ntp true"), "{fix}");
}

#[tokio::test]
async fn a_clock_that_nobody_keeps() {
    let (patient, _backend) = well().await;
    patient
        .examined()
        .await
        .finds("clock", "ok", "kept by a time service");
    // Where this file is, timesyncd keeps it, whatever the program says.
    if !std::path::Path::new("/run/systemd/timesync/synchronized").exists() {
        patient.program("timedatectl", "no");
        let fix = patient
            .examined()
            .await
            .finds("clock", "warning", "no time service keeps it");
        assert_eq!(fix, "`sudo timedatectl set-ntp true`");
    }
}
