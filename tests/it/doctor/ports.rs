//! The ports of `listen`.

use std::net::TcpListener;

use super::Patient;
use crate::cli::Program;

/// `https` on this address, no `http`.
fn listening(address: &str) -> Patient {
    Patient::whole(&format!(
        "listen: {{ https: \"{address}\", http: off }}\nsites: {{ a.localhost: unix:/nonexistent/gone.sock }}\n"
    ))
}

#[tokio::test]
async fn a_port_that_another_program_holds() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let report = listening(&address.to_string()).examined().await;
    let process = format!("(process {})", std::process::id());
    let what = format!("{address} (https) is held by");
    let fix = report.finds("ports", "error", &what);
    report.finds("ports", "error", &process);
    assert!(
        fix.contains(&format!("stop process {}", std::process::id())),
        "{fix}"
    );
    assert!(fix.contains("such as `https: \"127.0.0.1:8443\"`"), "{fix}");
    drop(held);
    let report = listening(&address.to_string()).examined().await;
    report.finds("ports", "ok", &format!("{address} (https) is free"));
}

#[tokio::test]
async fn a_port_that_hostmux_holds() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let patient = listening(&address.to_string());
    let mut program = Program::start(patient.path(), &["run"], "");
    program.says("listening");
    let report = patient.examined().await;
    let itself = format!("is held by hostmux itself (process {})", program.id());
    report.finds("ports", "ok", &itself);
}

#[tokio::test]
async fn a_port_that_the_running_hostmux_has_not() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let patient = Patient::with("sites: { a.localhost: unix:/nonexistent/gone.sock }\n");
    let mut program = Program::start(patient.path(), &["run"], "");
    program.says("listening");
    let other = format!(
        "listen: {{ https: \"{address}\", http: off }}\nsites: {{ a.localhost: unix:/nonexistent/gone.sock }}\n"
    );
    std::fs::write(patient.file("sites.yaml"), other).unwrap();
    let fix = patient
        .examined()
        .await
        .finds("ports", "note", "is free: hostmux (process");
    assert!(fix.contains("restart"), "{fix}");
}

#[tokio::test]
async fn a_port_that_needs_a_right() {
    let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let start: u16 = start.map_or(1024, |text| text.trim().parse().unwrap());
    let report = listening("127.0.0.1:999").examined_by_nobody().await;
    if start <= 999 {
        // This system gives the right to everyone.
        report.finds("ports", "ok", "127.0.0.1:999 (https) is free");
        return;
    }
    let fix = report.finds("ports", "error", "needs a right that this user has not");
    assert!(fix.contains("setcap cap_net_bind_service=+ep"), "{fix}");
    assert!(
        fix.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"),
        "{fix}"
    );
}

#[tokio::test]
async fn an_address_of_another_machine() {
    // RFC 5737: nobody's.
    let report = listening("192.0.2.1:8443").examined().await;
    let fix = report.finds(
        "ports",
        "error",
        "192.0.2.1:8443 (https) is no address of this machine",
    );
    assert!(fix.contains("ip addr"), "{fix}");
}
