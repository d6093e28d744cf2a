//! Clients in other languages drive the whole flow against the running binary.

use std::process::Command;

use sandgate_e2e::mesh::Home;
use sandgate_e2e::{config, python};

#[test]
fn a_python_client_drives_a_conversation_from_create_to_delete() {
    let home = Home::new();
    let up = home.up(&[]);
    let stubs = tempfile::tempdir().expect("a folder");
    python::generate_stubs(&config::repository().join("proto"), stubs.path());
    let output = python::client(stubs.path(), "client.py")
        .arg(&up.address)
        .arg(home.api_key())
        .arg("python")
        .output()
        .expect("start python");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let saw: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(saw["sandbox_id"].as_str().expect("an id").starts_with('s'));
}

#[test]
fn the_grpcurl_lines_of_the_greeting_work_when_they_are_pasted() {
    let home = Home::new();
    let up = home.up(&[]);
    let lines: Vec<&str> = up
        .printed
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("grpcurl "))
        .collect();
    assert_eq!(lines.len(), 4, "{}", up.printed);
    let folder = config::grpcurl()
        .parent()
        .expect("it lies in a folder")
        .to_owned();
    // What was there before `up` is suspended.
    let before = home.run("demo", &["true"]);
    let suspended = home.sandgate(["suspend", "demo"]).output();
    let suspended = suspended.expect("start sandgate");
    assert!(before.status.success() && suspended.status.success());
    // Into one terminal, twice: what was woken the first time is found the second.
    let twice = format!("set -e\n{0}\n{0}", lines.join("\n"));
    let output = Command::new("/bin/sh")
        .args(["-c", &twice])
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .output()
        .expect("start a shell");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{errors}");
    let ended = said.matches("\"exitCode\": 0").count();
    assert_eq!(ended, 2, "the command ran in both: {said}\n{errors}");
}

#[test]
fn grpcurl_shows_what_an_error_is_detailed_in() {
    let home = Home::new();
    let up = home.up(&[]);
    let output = Command::new(config::grpcurl())
        .args(["-plaintext", "-H"])
        .arg(format!("authorization: Bearer {}", up.key()))
        .args(["-d", "{}", &up.address])
        .arg("sandgate.orchestrator.v1.SandboxService/CreateSandbox")
        .output()
        .expect("start grpcurl");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("fieldViolations") && !said.contains("not recognized"),
        "{said}"
    );
}

#[test]
fn a_second_mesh_on_one_data_directory_is_refused_by_the_number_of_the_first() {
    let home = Home::new();
    let up = home.up(&[]);
    let second = home
        .sandgate(["up", "--listen", "127.0.0.1:0"])
        .output()
        .expect("start sandgate");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&up.pid().to_string()), "{said}");
}

#[test]
fn run_uses_the_mesh_that_is_up() {
    let home = Home::new();
    let _up = home.up(&[]);
    let first = home.run("shared", &["/bin/sh", "-c", "echo here > file; echo done"]);
    assert_eq!(
        String::from_utf8_lossy(&first.stdout),
        "done\n",
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let second = home.run("shared", &["cat", "file"]);
    assert_eq!(
        String::from_utf8_lossy(&second.stdout),
        "here\n",
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
}

#[test]
fn a_port_in_use_stops_the_start_and_is_named() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let output = home
        .sandgate(["up", "--listen", &address])
        .output()
        .expect("start sandgate");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}
