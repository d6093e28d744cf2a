//! `sandgate run`: one command, one conversation, no set-up.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Output, Stdio};

use sandgate_e2e::mesh::Home;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_run_finds_the_files_of_the_first_and_another_conversation_does_not() {
    let home = Home::new();
    let first = home.run(
        "demo",
        &["/bin/sh", "-c", "echo kept > note.txt; echo written"],
    );
    assert_eq!(stdout(&first), "written\n", "{}", stderr(&first));
    assert_eq!(first.status.code(), Some(0));
    assert!(
        stderr(&first).contains("demo"),
        "it says what happened: {}",
        stderr(&first)
    );

    let second = home.run("demo", &["cat", "note.txt"]);
    assert_eq!(stdout(&second), "kept\n", "{}", stderr(&second));

    let other = home.run("other", &["/bin/sh", "-c", "ls -A"]);
    assert_eq!(stdout(&other), "", "{}", stderr(&other));
    assert_eq!(other.status.code(), Some(0));
}

#[test]
fn the_exit_code_and_both_streams_are_the_commands_own() {
    let home = Home::new();
    let ran = home.run(
        "demo",
        &["/bin/sh", "-c", "echo out; echo err >&2; exit 42"],
    );
    assert_eq!(ran.status.code(), Some(42));
    assert_eq!(stdout(&ran), "out\n");
    assert!(
        stderr(&ran).lines().any(|line| line == "err"),
        "{}",
        stderr(&ran)
    );
}

#[test]
fn a_command_that_is_missing_or_a_directory_is_refused_by_field_and_says_what_to_do() {
    let home = Home::new();
    for command in ["no-such-command", "/usr"] {
        let ran = home.run("demo", &[command]);
        assert_eq!(ran.status.code(), Some(127), "{}", stderr(&ran));
        assert!(stderr(&ran).contains("argv"), "{}", stderr(&ran));
    }
}

#[test]
fn a_bad_conversation_name_is_refused_by_field_and_rule() {
    let home = Home::new();
    for name in ["../etc", "", "a\nb", &"x".repeat(129)] {
        let ran = home.run(name, &["true"]);
        assert_ne!(ran.status.code(), Some(0), "{name:?}");
        assert!(
            stderr(&ran).contains("conversation must"),
            "{}",
            stderr(&ran)
        );
    }
}

#[test]
fn nothing_runs_once_run_has_ended() {
    let home = Home::new();
    let ran = home.run("demo", &["/bin/sh", "-c", "sleep 1000 & echo started"]);
    assert_eq!(stdout(&ran), "started\n", "{}", stderr(&ran));
    let needle = home.path().to_str().expect("a plain path").to_owned();
    let left: Vec<String> = std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains("sleep 1000") || line.contains(&needle))
        .collect();
    assert!(left.is_empty(), "left running: {left:?}");
}

#[test]
fn a_command_that_writes_more_than_it_reads_never_waits_for_itself() {
    let home = Home::new();
    let mut child = home
        .sandgate([
            "run",
            "-q",
            "-c",
            "much",
            "--",
            "awk",
            "{for(i=0;i<20;i++)print}",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    let mut stdin = child.stdin.take().expect("it is piped");
    let line = b"a line of thirty-two characters\n";
    let feeding = std::thread::spawn(move || {
        for _ in 0..20_000 {
            stdin.write_all(line).expect("it reads");
        }
    });
    let output = child.wait_with_output().expect("it is ours");
    feeding.join().expect("all was written");
    assert_eq!(output.stdout.len(), 20_000 * 20 * line.len());
}

#[test]
fn a_mesh_that_run_made_serves_its_last_client_too() {
    let home = Home::new();
    let mut first = home
        .sandgate([
            "run",
            "-q",
            "-c",
            "one",
            "--",
            "/bin/sh",
            "-c",
            "echo up; read line",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    let mut up = String::new();
    let mut reader = BufReader::new(first.stdout.take().expect("it is piped"));
    reader.read_line(&mut up).expect("read");
    let mut second = home
        .sandgate([
            "run",
            "-q",
            "-c",
            "two",
            "--",
            "/bin/sh",
            "-c",
            "echo up; read line; echo $line > kept; cat kept",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    let mut reader = BufReader::new(second.stdout.take().expect("it is piped"));
    reader.read_line(&mut up).expect("read");
    assert_eq!(up, "up\nup\n");
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
fn a_signal_reaches_the_command_and_the_files_are_stored() {
    let home = Home::new();
    let mut child = home
        .sandgate([
            "run",
            "-c",
            "told",
            "--",
            "/bin/sh",
            "-c",
            "echo kept > file; echo up; sleep 600",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    let mut up = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    reader.read_line(&mut up).expect("read");
    let told = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(told.expect("start kill").success());
    let output = child.wait_with_output().expect("it is ours");
    assert_eq!(output.status.code(), Some(128 + 15), "{}", stderr(&output));
    assert_eq!(stdout(&home.run("told", &["cat", "file"])), "kept\n");
}
