//! What people get wrong when they start a mesh: each is told by what is wrong, the rule, and the next step, with an
//! exit code that is not zero, and nothing has changed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::mpsc;

use sandgate_e2e::config;
use sandgate_e2e::mesh::{Home, START_LIMIT};

/// A mistake in the settings of a service.
const EXIT_USAGE: i32 = 64;
/// Whatever else keeps a command from its work.
const EXIT_FAILURE: i32 = 1;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `sandgate` with these arguments is refused in words that have all of these.
fn is_refused(home: &Home, arguments: &[&str], words: &[&str]) {
    let output = home.sandgate(arguments).output().expect("start sandgate");
    let said = said(&output);
    assert_eq!(
        output.status.code(),
        Some(EXIT_FAILURE),
        "{arguments:?}: {said}"
    );
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?} does not say {word:?}: {said}"
        );
    }
}

/// The files of a data directory that hold its state, with their content.
fn state(home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    read(&home.path().join("data"), &mut found);
    read(&home.path().join(".config"), &mut found);
    found
}

fn read(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Who holds the lock is no state.
        let is_lock = ["lock", "services", "clients"]
            .iter()
            .any(|name| path.ends_with(name));
        if path.is_dir() {
            read(&path, found);
        } else if path.is_file() && !is_lock {
            found.insert(path.clone(), std::fs::read(&path).expect("a file of ours"));
        }
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

fn initialised() -> Home {
    let home = Home::new();
    let done = home.sandgate(["init"]).output().expect("start sandgate");
    assert!(done.status.success(), "{}", said(&done));
    home
}

fn master_key(home: &Home) -> PathBuf {
    let folder = std::fs::read_dir(home.path().join(".config/sandgate")).expect("it was made");
    folder
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|ending| ending == "key"))
        .expect("a master key")
}

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
    let told = [templates.as_str(), "pool_siez", "pool_size", "line 4"];
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
fn a_data_directory_of_a_newer_version_is_refused_untouched() {
    let home = initialised();
    std::fs::write(home.data().join("version"), "2\n").expect("a file");
    let before = state(&home);
    let data = home.data().display().to_string();
    for arguments in [
        &["up", "--listen", "127.0.0.1:0"][..],
        &["run", "-c", "a", "--", "true"],
        &["init"],
        &["ls"],
    ] {
        is_refused(
            &home,
            arguments,
            &[&data, "newer", "upgrade sandgate", "--data-dir"],
        );
    }
    assert!(state(&home) == before, "nothing was written");
}

#[test]
fn a_folder_of_something_else_is_refused_untouched() {
    let home = Home::new();
    std::fs::create_dir(home.data()).expect("a folder");
    chmod(&home.data(), 0o700);
    std::fs::write(home.data().join("thesis.txt"), "words").expect("a file");
    let before = state(&home);
    let data = home.data().display().to_string();
    is_refused(&home, &["ls"], &[&data, "not empty", "--data-dir"]);
    assert!(state(&home) == before, "nothing was written");
}

#[test]
fn secrets_that_others_can_read_stop_the_start() {
    let home = initialised();
    let key = master_key(&home);
    for secret in [&key, &home.api_key()] {
        chmod(secret, 0o644);
        let before = state(&home);
        let name = secret.display().to_string();
        is_refused(
            &home,
            &["up", "--listen", "127.0.0.1:0"],
            &[&name, "chmod 600"],
        );
        is_refused(&home, &["ls"], &[&name, "chmod 600"]);
        assert!(state(&home) == before, "nothing was written");
        chmod(secret, 0o600);
    }
    chmod(&home.data(), 0o755);
    let data = home.data().display().to_string();
    is_refused(&home, &["ls"], &[&data, "chmod 700"]);
    chmod(&home.data(), 0o700);
    let listed = home.sandgate(["ls"]).output().expect("start sandgate");
    assert!(listed.status.success(), "as told: {}", said(&listed));
}

#[test]
fn a_master_key_that_is_missing_beside_its_database_is_never_made_anew() {
    let home = initialised();
    let key = master_key(&home);
    let content = std::fs::read(&key).expect("the key");
    std::fs::remove_file(&key).expect("it is ours");
    let before = state(&home);
    let name = key.display().to_string();
    for arguments in [
        &["up", "--listen", "127.0.0.1:0"][..],
        &["run", "-c", "a", "--", "true"],
        &["init"],
    ] {
        is_refused(&home, arguments, &[&name, "not empty", "restore"]);
        let output = home.sandgate(arguments).output().expect("start sandgate");
        let said = said(&output);
        assert!(!said.contains("--master-key-file"), "no such flag: {said}");
    }
    assert!(state(&home) == before, "nothing was written");
    std::fs::write(&key, content).expect("a file");
    chmod(&key, 0o600);
    let listed = home.sandgate(["ls"]).output().expect("start sandgate");
    assert!(listed.status.success(), "as told: {}", said(&listed));
}

#[test]
fn a_second_mesh_is_refused_by_the_number_of_the_first_and_a_run_becomes_its_client() {
    let home = Home::new();
    let up = home.up(&[]);
    let pid = up.pid().to_string();
    is_refused(
        &home,
        &["up", "--listen", "127.0.0.1:0"],
        &[&pid, "in use", "sandgate run"],
    );
    is_refused(&home, &["init"], &[&pid, "in use"]);
    let ran = home.run("shared", &["echo", "done"]);
    assert_eq!(ran.stdout, b"done\n", "{}", said(&ran));
}

#[test]
fn a_conversation_that_has_no_sandbox_is_told_apart_from_one_that_was_deleted() {
    let home = Home::new();
    let _up = home.up(&[]);
    is_refused(&home, &["rm", "nowhere"], &["nowhere", "sandgate ls"]);
    is_refused(
        &home,
        &["files", "nowhere"],
        &["nowhere", "no stored files"],
    );
    is_refused(
        &home,
        &["files", "nowhere", "f"],
        &["f of conversation nowhere"],
    );
    let ran = home.run("gone", &["/bin/sh", "-c", "echo kept > f"]);
    assert!(ran.status.success(), "{}", said(&ran));
    let removed = home
        .sandgate(["rm", "gone"])
        .output()
        .expect("start sandgate");
    assert!(removed.status.success(), "{}", said(&removed));
    is_refused(&home, &["suspend", "gone"], &["gone", "sandgate ls"]);
    let read = home
        .sandgate(["files", "gone", "f"])
        .output()
        .expect("start sandgate");
    assert_eq!(read.stdout, b"kept\n", "{}", said(&read));
}

#[test]
fn what_sets_a_mesh_up_is_refused_while_another_runs_and_welcome_where_it_is_the_same() {
    let home = Home::new();
    let write = |name: &str, text: &str| {
        let file = home.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file.display().to_string()
    };
    let policy = write("policy.yaml", "version: 1\nroutes: []\n");
    let templates = write(
        "templates.yaml",
        "version: 1\ntemplates:\n  - name: default\n",
    );
    let up = home.up(&["--policy", &policy]);
    assert!(up.printed.contains(&policy), "{}", up.printed);
    let pid = up.pid().to_string();
    let database = format!("sqlite:{}", home.path().join("other.db").display());
    for (flag, value) in [
        ("--policy", "nosuch.yaml"),
        ("--upstream-roots", &policy),
        ("--templates", &templates),
        (
            "--database-url",
            "postgres://me@127.0.0.1/x?sslmode=disable",
        ),
        ("--database-owner-url", &database),
    ] {
        is_refused(&home, &["ls", flag, value], &[flag]);
        is_refused(
            &home,
            &["run", flag, value, "-c", "a", "--", "true"],
            &[flag],
        );
    }
    is_refused(
        &home,
        &["ls", "--policy", "nosuch.yaml"],
        &[&pid, &policy, "sandgate up"],
    );
    let same = home
        .sandgate(["ls", "--policy", &policy])
        .output()
        .expect("start sandgate");
    assert!(same.status.success(), "{}", said(&same));
}

#[test]
fn a_lost_api_key_is_told_with_the_next_step() {
    let home = initialised();
    std::fs::remove_file(home.api_key()).expect("it is ours");
    let key = home.api_key().display().to_string();
    is_refused(&home, &["init"], &[&key, "restore", "CreateApiKey"]);
    is_refused(&home, &["ls"], &[&key, "restore", "CreateApiKey"]);
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
