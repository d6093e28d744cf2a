//! The mesh as separate processes: the same services, over TCP with mutual TLS.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use sandgate_e2e::client::Client;
use sandgate_e2e::mesh::{Home, START_LIMIT};
use sandgate_e2e::processes::{Plan, Service};
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
fn the_command_line_starts_no_second_mesh_beside_separate_processes() {
    let home = Home::new();
    let plan = Plan::new(&home);
    let mut orchestrator = plan.orchestrator();
    assert!(
        orchestrator.says("not ready", START_LIMIT),
        "{}",
        plan.log(&orchestrator)
    );
    let holder = format!("sandgate-orchestrator (process {})", orchestrator.pid());
    for arguments in [
        &["ls"][..],
        &["run", "-c", "a", "--", "true"],
        &["up", "--listen", "127.0.0.1:0"],
    ] {
        let output = home.sandgate(arguments).output().expect("start sandgate");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        for word in [&holder, "api-key", "end them first"] {
            assert!(said.contains(word), "{arguments:?}: {word}: {said}");
        }
    }
    // What services wait for may be prepared while they do.
    let init = home.sandgate(["init"]).output().expect("start sandgate");
    assert!(
        init.status.success(),
        "{}",
        String::from_utf8_lossy(&init.stderr)
    );
    assert!(orchestrator.ends_well(), "{}", plan.log(&orchestrator));
    let listed = home.sandgate(["ls"]).output().expect("start sandgate");
    assert!(listed.status.success(), "nobody serves any more");
}

#[test]
fn no_service_starts_on_the_files_of_a_mesh_in_one_process() {
    let home = Home::new();
    let plan = Plan::new(&home);
    let up = home.up(&[]);
    for service in Service::ALL {
        let mut refused = plan.launch(service).start(None);
        let told = refused.says("end it first", START_LIMIT);
        assert!(
            told || !refused.runs(),
            "{service:?} serves: {}",
            plan.log(&refused)
        );
    }
    assert!(home.run("still", &["true"]).status.success());
    drop(up);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_service_at_once_that_is_still_storing_what_runs() {
    let home = Home::new();
    let plan = Plan::new(&home);
    let (_gate, _token, storage) = (plan.gate(), plan.token(), plan.storage());
    let mut orchestrator = plan.orchestrator();
    wait_until_serving(&plan.clients);
    let key = std::fs::read_to_string(home.api_key()).expect("a key");
    let client = Client::new(&plan.clients, key.trim(), "told-twice");
    client
        .insist("create", async |client| client.create("told-twice").await)
        .await;
    storage.freeze();
    assert_eq!(orchestrator.insisted_code(), Some(128 + 15));
}

/// What the gate's health check answers.
fn health(address: &str) -> String {
    let output = Command::new(config::grpcurl())
        .args(["-plaintext", address, "grpc.health.v1.Health/Check"])
        .output()
        .expect("start grpcurl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
