//! What `run` promises: files that stay, the command's own streams and exit code, and nothing left running.

use std::io::Write as _;
use std::process::Stdio;

use sandgate_e2e::mesh::Home;

use super::{stderr, stdout, with_words};

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
    for words in ["sleep 1000", &needle] {
        let left = with_words(words);
        assert!(left.is_empty(), "left running: {left:?}");
    }
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
