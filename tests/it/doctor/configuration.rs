//! The file itself.

use super::Patient;

#[tokio::test]
async fn a_fault_is_a_finding_with_its_place() {
    let patient = Patient::whole("sites:\n  a.localhost: 8O80\n");
    let report = patient.examined().await;
    let fix = report.finds(
        "configuration",
        "error",
        "sites.yaml:2:16: `8O80` is not a port",
    );
    assert_eq!(fix, "did you mean `8080`?");
    assert_eq!(report.code, Some(1));
    // What needs no file is looked at all the same.
    assert_eq!(report.of_check("clock").len(), 1);
    // It was silent of what it had not looked at.
    report.finds("configuration", "note", "ports, names, certificates");
}

#[tokio::test]
async fn a_fault_of_one_site_keeps_nothing_else_from_being_looked_at() {
    let patient = Patient::with("sites: { a.localhost: 0, b.localhost: unix:/nonexistent/b }\n");
    let report = patient.examined().await;
    report.finds("configuration", "error", "0 is not a port");
    let why = &report.of_check("configuration")[0]["why"];
    assert!(
        why.as_str().unwrap().ends_with("all others are"),
        "{report:?}"
    );
    assert_eq!(report.of_check("configuration").len(), 1, "{report:?}");
    assert_eq!(report.of_check("names").len(), 1, "{report:?}");
}

#[tokio::test]
async fn a_warning_is_one() {
    let report = Patient::with("sites: { a.localhost: [1, 1] }\n")
        .examined()
        .await;
    report.finds("configuration", "warning", "sites.yaml:2:");
}

#[tokio::test]
async fn without_a_file_the_rest_is_looked_at() {
    let patient = Patient::whole("");
    std::fs::remove_file(patient.file("sites.yaml")).unwrap();
    let report = patient.examined().await;
    // A machine that runs the tests may have one at its usual place.
    if !std::path::Path::new("/etc/hostmux/sites.yaml").exists() {
        let fix = report.finds("configuration", "error", "there is no configuration");
        assert!(fix.contains("-c FILE"), "{fix}");
    }
    assert_eq!(report.of_check("descriptors").len(), 1);
}

#[tokio::test]
async fn a_file_that_is_named_and_gone_is_told() {
    let patient = Patient::whole("");
    let printed = patient.printed(&["-c", "gone.yaml", "--json"]).await;
    let report = super::Report::of(&printed);
    report.finds("configuration", "error", "cannot read gone.yaml");
}
