//! Meshes that end: that of a `run`, once its last client is done, and that of an `up`, under a `run`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use sandgate_e2e::mesh::Home;

use super::{SIGNALLED, stderr, stdout, tell, wait_for};

/// A `run` that has written a file and waits.
fn waiting(home: &Home, content: &str) -> Child {
    let script = format!("echo {content} > file; echo up; sleep 600");
    let mut child = home
        .sandgate([
            "run",
            "-c",
            "demo",
            "--timeout",
            "1m",
            "--",
            "/bin/sh",
            "-c",
            &script,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    wait_for(
        &mut BufReader::new(child.stdout.take().expect("it is piped")),
        "up",
    );
    child
}

/// A `run` that has said `up` and reads its input.
fn reading(home: &Home, conversation: &str, script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = home
        .sandgate(["run", "-q", "-c", conversation, "--", "/bin/sh", "-c"])
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut up = String::new();
    reader.read_line(&mut up).expect("read");
    assert_eq!(up, "up\n");
    (child, reader)
}

#[test]
fn a_mesh_that_run_made_serves_its_last_client_too() {
    let home = Home::new();
    let (mut first, _reader) = reading(&home, "one", "echo up; read line");
    let script = "echo up; read line; echo $line > kept; cat kept";
    let (mut second, mut reader) = reading(&home, "two", script);
    // The owner's command ends first; the other's has not even begun to write.
    drop(first.stdin.take());
    let mut stdin = second.stdin.take().expect("it is piped");
    stdin.write_all(b"words\n").expect("it reads");
    drop(stdin);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "words\n");
    assert!(second.wait().expect("it is ours").success());
    first.wait().expect("it is ours");
}

#[test]
fn a_run_whose_mesh_is_ended_says_what_happened_and_what_is_stored() {
    let home = Home::new();
    let up = home.up(&[]);
    let run = waiting(&home, "kept");
    let pid = up.pid();
    tell(pid, "INT");
    let ended = run.wait_with_output().expect("it is ours");
    assert_eq!(
        ended.status.code(),
        Some(SIGNALLED + 15),
        "{}",
        stderr(&ended)
    );
    let said = stderr(&ended);
    let line = said.lines().last().unwrap_or_default();
    for word in [
        format!("the mesh (process {pid}) was ended"),
        "signal 15".to_owned(),
        "its files are stored as version".to_owned(),
        "run --conversation demo -- ls -l".to_owned(),
    ] {
        assert!(line.contains(&word), "{word}: {said}");
    }
    assert_eq!(stdout(&home.run("demo", &["cat", "file"])), "kept\n");
}

#[test]
fn a_run_whose_sandbox_is_suspended_says_so() {
    let home = Home::new();
    let _up = home.up(&[]);
    let run = waiting(&home, "kept");
    let suspended = home.sandgate(["suspend", "demo"]).output();
    assert!(suspended.expect("start sandgate").status.success());
    let ended = run.wait_with_output().expect("it is ours");
    assert_eq!(
        ended.status.code(),
        Some(SIGNALLED + 15),
        "{}",
        stderr(&ended)
    );
    let said = stderr(&ended);
    for word in [
        "suspended by somebody else",
        "its files are stored as version",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_run_whose_mesh_is_killed_says_that_nobody_knows_more() {
    let home = Home::new();
    let up = home.up(&[]);
    let run = waiting(&home, "lost");
    let pid = up.pid();
    up.kill();
    let ended = run.wait_with_output().expect("it is ours");
    assert_eq!(ended.status.code(), Some(70), "{}", stderr(&ended));
    let said = stderr(&ended);
    for word in [
        &format!("process {pid}"),
        "does not answer any more",
        "since the last sync",
        "demo -- ls -l",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("bug of sandgate"), "{said}");
}
