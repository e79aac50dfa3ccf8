//! Where names lead. A name server says it; the program asks that of the
//! machine, so that all but what needs none is asked for in this process.

use hostmux::cli::doctor::finding::{Finding, Severity};
use hostmux::cli::doctor::names::{self, Whose};
use hostmux::config::{self, Config};
use tokio::task::LocalSet;

use super::Patient;
use crate::harness::Dns;

fn config(sites: &str) -> Config {
    let text = format!("listen: {{ https: 8443, http: off }}\nsites: {{ {sites} }}\n");
    config::check(&text, &|_| None).config.unwrap()
}

/// What is said of the names of these sites, on a machine that is 10.0.0.1.
async fn said(dns: &Dns, sites: &str) -> Vec<Finding> {
    let config = config(sites);
    let gathering = names::gather(&config, dns.names());
    let names = LocalSet::new().run_until(gathering).await;
    assert_eq!(names.left, 0);
    let whose = |address: std::net::IpAddr| match address.to_string().as_str() {
        "10.0.0.1" => Whose::Ours,
        _ if address.is_loopback() => Whose::Loopback,
        _ => Whose::Anothers,
    };
    let lookups = names.lookups.iter();
    lookups
        .map(|lookup| names::judge(lookup, &config.listen, &whose))
        .collect()
}

#[track_caller]
fn holds(found: &Finding, severity: Severity, words: &str) {
    assert_eq!(found.severity, severity, "{found:?}");
    assert!(found.what.contains(words), "{found:?}");
}

#[tokio::test]
async fn names_are_judged_by_what_the_server_says() {
    let dns = Dns::start().await;
    dns.addresses("here.test", 60, &["10.0.0.1"]);
    dns.addresses("loop.test", 60, &["127.0.0.1", "::1"]);
    dns.addresses("away.test", 60, &["203.0.113.7"]);
    dns.addresses("both.test", 60, &["10.0.0.1", "203.0.113.7"]);
    dns.fail("broken.test");
    let sites = "here.test: 1, loop.test: 1, away.test: 1, both.test: 1, broken.test: 1, gone.test: 1, app.localhost: 1";
    let said = said(&dns, sites).await;
    holds(
        &said[0],
        Severity::Ok,
        "here.test leads to 10.0.0.1, this machine",
    );
    holds(&said[1], Severity::Ok, "from this machine alone");
    let away = "away.test leads to 203.0.113.7, which is no address of this machine";
    holds(&said[2], Severity::Warning, away);
    assert!(said[2].fixes[0].contains("an A or AAAA record for away.test"));
    holds(
        &said[3],
        Severity::Warning,
        "both.test also leads to 203.0.113.7",
    );
    holds(
        &said[4],
        Severity::Warning,
        "broken.test could not be looked up",
    );
    assert!(said[4].fixes[0].contains("getent ahosts broken.test"));
    holds(&said[5], Severity::Warning, "gone.test leads nowhere");
    assert!(said[5].fixes[1].contains("echo '127.0.0.1 gone.test' | sudo tee -a /etc/hosts"));
    holds(&said[6], Severity::Ok, "app.localhost");
    assert_eq!(dns.asked("app.localhost"), 0);
}

#[tokio::test]
async fn a_wildcard_is_asked_with_a_label_of_its_own() {
    let dns = Dns::start().await;
    dns.addresses("hostmux-doctor.p.test", 60, &["203.0.113.7"]);
    let said = said(&dns, "\"*.p.test\": 1").await;
    holds(
        &said[0],
        Severity::Warning,
        "*.p.test (asked for hostmux-doctor.p.test) leads to",
    );
}

#[tokio::test]
async fn the_program_judges_by_this_machines_addresses() {
    // A site that is an address needs no name server. RFC 5737: nobody's.
    let report = Patient::with(
        "sites: { \"192.0.2.1\": unix:/nonexistent/gone.sock, \"127.0.0.1\": unix:/nonexistent/gone.sock }\n",
    );
    let report = report.examined().await;
    let fix = report.finds(
        "names",
        "warning",
        "192.0.2.1 leads to 192.0.2.1, which is no address of this machine",
    );
    assert!(fix.contains("A or AAAA record"), "{fix}");
    report.finds("names", "ok", "127.0.0.1 leads to 127.0.0.1");
}
