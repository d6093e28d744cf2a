//! The mesh as separate processes: the same services, over TCP with mutual TLS.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use sandgate_e2e::mesh::{Home, START_LIMIT};
use sandgate_e2e::processes::Plan;
use sandgate_e2e::{config, python};

/// Waits until the gate says that it serves.
fn wait_until_serving(address: &str) {
    let mut watch = Command::new(config::grpcurl())
        .args([
            "-plaintext",
            "-max-time",
            "60",
            address,
            "grpc.health.v1.Health/Watch",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start grpcurl");
    let output = BufReader::new(watch.stdout.take().expect("it is piped"));
    let serving = output
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("\"SERVING\""));
    watch.kill().expect("it is ours");
    watch.wait().expect("it is ours");
    assert!(serving, "{address} did not serve in time");
}

#[test]
fn separate_processes_start_in_any_order_and_serve_a_whole_conversation() {
    let home = Home::new();
    let plan = Plan::new(&home);
    let mut gate = plan.gate();
    let mut orchestrator = plan.orchestrator();
    // It listens before it says what it misses.
    assert!(
        gate.says("is the token service up?", START_LIMIT),
        "{}",
        plan.log(&gate)
    );
    let refused = health(&plan.clients);
    assert!(
        refused.contains("NOT_SERVING"),
        "without its peers: {refused}"
    );
    let mut storage = plan.storage();
    let mut token = plan.token();
    wait_until_serving(&plan.clients);

    let stubs = tempfile::tempdir().expect("a folder");
    python::generate_stubs(&config::repository().join("proto"), stubs.path());
    let output = python::client(stubs.path(), "client.py")
        .arg(&plan.clients)
        .arg(home.api_key())
        .arg("separate")
        .output()
        .expect("start python");
    assert!(
        output.status.success(),
        "{}\ngate: {}\norchestrator: {}",
        String::from_utf8_lossy(&output.stderr),
        plan.log(&gate),
        plan.log(&orchestrator),
    );
    for process in [&mut orchestrator, &mut gate, &mut storage, &mut token] {
        assert!(process.runs(), "{process:?} ended by itself");
        assert!(process.ends_well(), "{process:?}: {}", plan.log(process));
    }
}

/// What the gate's health check answers.
fn health(address: &str) -> String {
    let output = Command::new(config::grpcurl())
        .args(["-plaintext", address, "grpc.health.v1.Health/Check"])
        .output()
        .expect("start grpcurl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
