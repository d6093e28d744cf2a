//! A WebSocket of an agent, by a client and a server that know nothing of us.

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use sandgate_e2e::mesh::Home;
use sandgate_e2e::{config, python};

/// A backend that ends with the test.
struct Backend {
    process: Child,
    port: String,
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed then.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn backend() -> Backend {
    let mut process = Command::new(config::python())
        .arg(config::repository().join("tests/python/websocket_server.py"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("start python");
    let mut port = String::new();
    let said = process.stdout.take().expect("it is piped");
    std::io::BufReader::new(said)
        .read_line(&mut port)
        .expect("it says its port");
    Backend {
        process,
        port: port.trim().to_owned(),
    }
}

#[test]
fn an_agents_websocket_reaches_its_backend_with_identity_and_credential() {
    let backend = backend();
    let home = Home::new();
    let key = home.path().join("upstream.key");
    std::fs::write(&key, "upstream-canary\n").expect("a credential");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let route = |name: &str, websocket: bool| {
        format!(
            "- name: {name}
  http: {{ methods: [GET], websocket: {websocket} }}
  operation: live
  tenants: [default]
  upstream: {{ url: 'http://127.0.0.1:{}' }}
  identity: {{ headers: {{ x-user: user }} }}
  credential: {{ header: x-upstream-key, file: upstream.key }}
",
            backend.port
        )
    };
    let policy = home.path().join("policy.yaml");
    let (live, closed) = (route("live", true), route("closed", false));
    std::fs::write(&policy, format!("version: 1\nroutes:\n{live}{closed}")).expect("a policy");
    let _up = home.up(&["--policy", policy.to_str().expect("a plain path")]);
    home.put(
        "live",
        &python::site_packages(),
        &["websockets"],
        "/workspace/lib",
    );
    let program = config::repository().join("tests/python");
    home.put("live", &program, &["websocket_agent.py"], "/workspace");
    let ran = home.run("live", &["/usr/bin/python3", "websocket_agent.py"]);
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "local upstream-canary /chat\n403\n",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}
