//! Settings: files with typos, addresses, and policies that are edited while they are in force.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

use sandgate_e2e::config;
use sandgate_e2e::mesh::{Home, START_LIMIT};

use super::{initialised, is_refused, said, state};

/// A mistake in the settings of a service.
const EXIT_USAGE: i32 = 64;

#[test]
fn a_typo_in_a_file_of_settings_is_told_by_file_and_key() {
    let home = initialised();
    let before = state(&home);
    let write = |name: &str, text: &str| {
        let file = home.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file.to_str().expect("a plain path").to_owned()
    };
    let templates = write(
        "templates.yaml",
        "version: 1\ntemplates:\n  - name: default\n    pool_siez: 3\n",
    );
    let told = [
        templates.as_str(),
        "pool_siez",
        "pool_size",
        "line 4",
        "docs/operations.md",
    ];
    is_refused(
        &home,
        &["up", "--listen", "127.0.0.1:0", "--templates", &templates],
        &told,
    );
    is_refused(
        &home,
        &["run", "--templates", &templates, "-c", "a", "--", "true"],
        &told,
    );
    let missing = home.path().join("missing.yaml").display().to_string();
    is_refused(
        &home,
        &["up", "--listen", "127.0.0.1:0", "--templates", &missing],
        &[&missing],
    );
    assert!(state(&home) == before, "nothing was written");
    let policy = write(
        "policy.yaml",
        "version: 1\nroutes:\n  - name: words\n    htp: {}\n",
    );
    let told = [policy.as_str(), "routes[0].htp", "line 4", "docs/policy.md"];
    is_refused(
        &home,
        &["up", "--listen", "127.0.0.1:0", "--policy", &policy],
        &told,
    );
}

#[test]
fn help_shows_no_value_of_a_variable_and_comes_when_nothing_is_asked_whatever_is_set() {
    let home = Home::new();
    let help = home
        .sandgate(["run", "--help"])
        .env(
            "SANDGATE_DATABASE_URL",
            "postgres://sandgate:canary@db/mesh",
        )
        .output()
        .expect("start sandgate");
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("SANDGATE_DATABASE_URL"), "{help}");
    assert!(!help.contains("canary"), "{help}");
    let bare = home
        .sandgate::<_, &str>([])
        .env("SANDGATE_DATA_DIR", home.data())
        .output()
        .expect("start sandgate");
    let said = said(&bare);
    assert!(
        !bare.status.success() && said.contains("Commands:"),
        "{said}"
    );
}

#[test]
fn each_binary_answers_its_name_and_version() {
    for name in [
        "sandgate",
        "sandgate-token",
        "sandgate-orchestrator",
        "sandgate-auth-gateway",
        "sandgate-storage-sync",
        "sandboxd",
    ] {
        let output = std::process::Command::new(config::binaries().join(name))
            .arg("--version")
            .output()
            .expect("start a binary");
        let version = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), version);
    }
}

#[test]
fn a_service_tells_all_mistakes_of_its_settings_at_once() {
    let home = Home::new();
    let file = home.path().join("token.yaml");
    std::fs::write(&file, "master_key_fil: /k\nlisten: nowhere\n").expect("a file");
    let output = std::process::Command::new(config::binaries().join("sandgate-token"))
        .env_clear()
        .arg("--config")
        .arg(&file)
        .output()
        .expect("start a service");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(EXIT_USAGE), "{said}");
    for word in ["token.yaml", "master_key_fil", "master_key_file", "listen"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_port_in_use_is_named_and_the_mesh_that_uses_it_is_left_alone() {
    let first = Home::new();
    let up = first.up(&[]);
    let second = initialised();
    let before = state(&second);
    is_refused(
        &second,
        &["up", "--listen", &up.address],
        &[&up.address, "in use", "another `sandgate up`", "--listen"],
    );
    assert!(state(&second) == before, "nothing was written");
    assert!(first.run("still", &["true"]).status.success());
}

#[test]
fn an_address_that_is_none_is_refused_with_an_example() {
    let home = Home::new();
    is_refused(
        &home,
        &["up", "--listen", "localhost"],
        &["--listen", "localhost", "127.0.0.1:7070"],
    );
    is_refused(
        &home,
        &["up", "--listen", "0.0.0.0:0"],
        &["--listen", "loopback", "docs/operations.md"],
    );
}

#[test]
fn an_edit_of_a_live_policy_is_told_whether_it_is_in_force_or_not() {
    let home = Home::new();
    let policy = home.path().join("policy.yaml");
    let write = |text: &str| std::fs::write(&policy, text).expect("a file");
    write("version: 1\nroutes: []\n");
    let mut up = home
        .sandgate(["up", "--listen", "127.0.0.1:0", "--policy"])
        .arg(&policy)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    let (sender, lines) = mpsc::channel();
    for output in [
        Box::new(up.stdout.take().expect("it is piped")) as Box<dyn std::io::Read + Send>,
        Box::new(up.stderr.take().expect("it is piped")),
    ] {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The story may be over.
                sender.send(line).unwrap_or_default();
            }
        });
    }
    let hears = |word: &str| {
        while let Ok(line) = lines.recv_timeout(START_LIMIT) {
            if line.contains(word) {
                return true;
            }
        }
        false
    };
    let served = hears("Ctrl-C");
    write("version: 1\nroutes:\n  - name: words\n    htp: {}\n");
    let refused = hears("routes[0].htp");
    write("version: 1\nroutes: []\n");
    let newer = hears("a newer policy is in force");
    up.kill().expect("it runs");
    up.wait().expect("it was ours");
    assert_eq!((served, refused, newer), (true, true, true));
}
