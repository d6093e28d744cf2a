//! The mesh in one process dies, and is found again by the next `run`.

use std::process::{Command, Output};

use sandgate_e2e::config;
use sandgate_e2e::mesh::Home;

/// The orchestrator's places on the way to READY.
const CREATE: [&str; 7] = [
    "create-recorded",
    "create-claimed",
    "create-published",
    "create-minted",
    "create-attached",
    "create-running",
    "create-ready",
];
/// Its places on the way to nothing.
const END: [&str; 9] = [
    "end-recorded",
    "end-withdrawn",
    "end-drained",
    "end-agent-revoked",
    "end-synced",
    "end-revoked",
    "end-released",
    "end-verified",
    "end-written",
];
/// Storage's places on the way to a version.
const SYNC: [&str; 3] = ["sync-chunks-stored", "sync-pages-stored", "sync-head-moved"];

/// `sandgate` of the binaries that die, told to at this place.
pub(crate) fn crashing(home: &Home, point: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(config::crashing_binaries().join("sandgate"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path());
    command
        .env("SANDGATE_DATA_DIR", home.data())
        .env("SANDGATE_CRASH_POINT", point);
    command.output().expect("start sandgate")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// No process, control group or folder of a sandbox is left.
fn nothing_is_left(home: &Home, point: &str) {
    let needle = home.path().to_str().expect("a plain path").to_owned();
    let left: Vec<String> = std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // Sandboxes run under an empty environment; their working files tell whose they are.
            let line = std::fs::read(path.join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .filter(|line| line.contains(&needle))
        .collect();
    assert!(left.is_empty(), "after {point}: {left:?}");
}

/// The conversation has one sandbox on record, and no other: a start that a crash cut goes on in its own row.
fn one_sandbox(home: &Home, point: &str) {
    let listed = stdout(&home.sandgate(["ls"]).output().expect("start sandgate"));
    let rows = listed.lines().filter(|line| line.starts_with("story "));
    assert_eq!(rows.count(), 1, "after {point}:\n{listed}");
}

#[test]
fn a_create_that_dies_anywhere_ends_in_one_sandbox_when_it_is_repeated() {
    for point in CREATE {
        let home = Home::new();
        let died = crashing(
            &home,
            point,
            &["run", "--conversation", "story", "--", "true"],
        );
        assert_eq!(
            died.status.code(),
            None,
            "{point} was passed: {}",
            String::from_utf8_lossy(&died.stderr)
        );
        let again = home.run("story", &["/bin/sh", "-c", "echo file > f; echo done"]);
        assert_eq!(
            stdout(&again),
            "done\n",
            "after {point}: {}",
            String::from_utf8_lossy(&again.stderr)
        );
        one_sandbox(&home, point);
        nothing_is_left(&home, point);
    }
}

#[test]
fn a_delete_that_dies_anywhere_is_finished_and_loses_no_stored_file() {
    for point in END {
        let home = Home::new();
        let stored = home.run("story", &["/bin/sh", "-c", "echo kept > f"]);
        assert_eq!(
            stored.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&stored.stderr)
        );
        let died = crashing(
            &home,
            point,
            &["run", "--conversation", "story", "--", "true"],
        );
        assert_eq!(died.status.code(), None, "{point} was passed");
        let again = home.run("story", &["/bin/cat", "f"]);
        assert_eq!(
            stdout(&again),
            "kept\n",
            "after {point}: {}",
            String::from_utf8_lossy(&again.stderr)
        );
        one_sandbox(&home, point);
        let removed = home
            .sandgate(["rm", "story"])
            .output()
            .expect("start sandgate");
        assert!(
            removed.status.success(),
            "after {point}: {}",
            String::from_utf8_lossy(&removed.stderr)
        );
        let files = home
            .sandgate(["files", "story", "f"])
            .output()
            .expect("start sandgate");
        assert_eq!(stdout(&files), "kept\n", "after {point}");
        nothing_is_left(&home, point);
    }
}

#[test]
fn a_sync_that_dies_anywhere_leaves_the_old_version_or_the_new_one() {
    for point in SYNC {
        let home = Home::new();
        let first = home.run("story", &["/bin/sh", "-c", "echo old > f"]);
        assert_eq!(first.status.code(), Some(0));
        let died = crashing(
            &home,
            point,
            &[
                "run",
                "--conversation",
                "story",
                "--",
                "/bin/sh",
                "-c",
                "echo new > f",
            ],
        );
        assert_eq!(died.status.code(), None, "{point} was passed");
        let seen = stdout(&home.run("story", &["/bin/cat", "f"]));
        assert!(
            seen == "old\n" || seen == "new\n",
            "after {point}: {seen:?}"
        );
        nothing_is_left(&home, point);
    }
}

#[test]
fn a_mesh_that_is_killed_leaves_nothing_running_and_its_conversations_go_on() {
    let home = Home::new();
    let up = home.up(&[]);
    let ran = home.run(
        "story",
        &["/bin/sh", "-c", "echo kept > f; sleep 54321 & echo started"],
    );
    assert_eq!(stdout(&ran), "started\n");
    up.kill();
    let again = home.run("story", &["/bin/cat", "f"]);
    assert_eq!(
        stdout(&again),
        "kept\n",
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    let left = Command::new("/bin/sh")
        .args(["-c", "pgrep -f 'sleep 5432[1]' | wc -l"])
        .output()
        .expect("look");
    assert_eq!(stdout(&left).trim(), "0");
}
