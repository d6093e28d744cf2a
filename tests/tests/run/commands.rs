//! Commands that cannot be started, that say too much, that do not end, and that stay behind.

use std::io::{BufReader, Read as _};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use sandgate_e2e::mesh::Home;

use super::{SIGNALLED, code, stderr, stdout, tell, wait_for, with_words};

/// More than any process that passes output on may take; less than the output.
const MEMORY_MAX_KIB: u64 = 80 * 1024;
/// Three signals are heard in far less.
const HEARD_LIMIT: Duration = Duration::from_secs(20);
/// A full pipe's last page may be filled in part.
const LAST_PAGE: usize = 4096;
/// What is printed.
const MUCH: u64 = 100 * 1024 * 1024;

/// `sandgate run -c demo` with these arguments, on pipes. What should have ended long before ends after a minute.
fn start(home: &Home, arguments: &[&str]) -> Child {
    home.sandgate(["run", "-c", "demo", "--timeout", "1m"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start sandgate")
}

/// The most memory that a process has taken so far.
fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = peak.expect("VmHWM").trim().trim_end_matches(" kB");
    words.parse().expect("a number")
}

/// Waits until there is no room in a pipe that a child writes to without end; its own time bounds this.
fn wait_until_full(pipe: &impl AsFd, child: &mut Child) {
    let size = rustix::pipe::fcntl_getpipe_size(pipe).expect("a pipe");
    let room = u64::try_from(size - LAST_PAGE).expect("it has pages");
    while rustix::io::ioctl_fionread(pipe).expect("a pipe") < room {
        let ended = child.try_wait().expect("it is ours");
        assert_eq!(ended, None, "it has ended");
        std::thread::yield_now();
    }
}

#[test]
fn a_command_that_cannot_be_started_is_told_with_the_exit_code_of_a_shell() {
    let home = Home::new();
    let made = home.run("demo", &["/bin/sh", "-c", "echo words > plain"]);
    assert!(made.status.success(), "{}", stderr(&made));
    for (command, exit, why) in [
        ("no-such-command", 127, "no-such-command does not exist"),
        ("./missing", 127, "./missing does not exist"),
        ("/usr", 126, "/usr is a directory"),
        ("./plain", 126, "./plain cannot be executed"),
    ] {
        let ran = home.run("demo", &[command]);
        assert_eq!(ran.status.code(), Some(exit), "{}", stderr(&ran));
        assert!(stderr(&ran).contains(why), "{}", stderr(&ran));
    }
}

#[test]
fn a_hundred_mebibytes_arrive_whole_and_pass_through_little_memory() {
    let home = Home::new();
    let up = home.up(&[]);
    let prints = format!("head -c {MUCH} /dev/zero; read line; exit 3");
    let mut child = start(&home, &["-q", "--", "/bin/sh", "-c", &prints]);
    let mut output = child.stdout.take().expect("it is piped");
    let mut first = [1];
    output.read_exact(&mut first).expect("a byte");
    // Meanwhile nobody reads: what is printed waits in the sandbox, and in nobody's memory.
    let other = home.run("other", &["true"]);
    assert!(other.status.success(), "{}", stderr(&other));
    let read = std::io::copy(&mut output.by_ref().take(MUCH - 1), &mut std::io::sink());
    assert_eq!(read.expect("all of it"), MUCH - 1);
    for process in [child.id(), up.pid()] {
        let peak = peak_kib(process);
        assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    }
    drop(child.stdin.take());
    assert_eq!(output.read(&mut first).expect("the end"), 0);
    assert_eq!(code(child), Some(3));
}

#[test]
fn a_command_that_never_ends_ends_when_its_time_is_up() {
    let home = Home::new();
    let ran = home
        .sandgate([
            "run",
            "-c",
            "demo",
            "--timeout",
            "1s",
            "--",
            "/bin/sh",
            "-c",
        ])
        .arg("trap '' TERM INT; echo kept > file; while :; do :; done")
        .output()
        .expect("start sandgate");
    assert_eq!(ran.status.code(), Some(SIGNALLED + 9), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("its time was up"), "{}", stderr(&ran));
    assert_eq!(stdout(&home.run("demo", &["cat", "file"])), "kept\n");
}

#[test]
fn a_signal_reaches_the_command_and_the_files_are_stored() {
    let home = Home::new();
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        let endless = format!("echo {signal} > file; echo up; while :; do :; done");
        let mut child = start(&home, &["--", "/bin/sh", "-c", &endless]);
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        wait_for(&mut output, "up");
        tell(child.id(), signal);
        let ended = child.wait_with_output().expect("it is ours");
        let exit = Some(SIGNALLED + number);
        assert_eq!(ended.status.code(), exit, "{}", stderr(&ended));
        let file = home.run("demo", &["cat", "file"]);
        assert_eq!(stdout(&file), format!("{signal}\n"));
    }
}

#[test]
fn a_signal_that_comes_before_the_command_is_known_to_run_reaches_it_all_the_same() {
    let home = Home::new();
    let _up = home.up(&[]);
    let mut child = home
        .sandgate(["run", "-c", "demo", "--", "/bin/sh", "-c", "sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start sandgate");
    let mut told = BufReader::new(child.stderr.take().expect("it is piped"));
    // Said right before the command is asked for.
    wait_for(&mut told, "new sandbox");
    tell(child.id(), "INT");
    wait_for(&mut told, "told the command");
    wait_for(&mut told, "ended by signal 2");
    assert_eq!(code(child), Some(SIGNALLED + 2));
}

#[test]
fn a_command_that_ignores_a_signal_is_killed_by_the_second_and_the_files_are_stored() {
    let home = Home::new();
    let deaf = "trap '' TERM INT; echo kept > file; echo up; while :; do sleep 1; done";
    let mut child = start(&home, &["--", "/bin/sh", "-c", deaf]);
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
    wait_for(&mut output, "up");
    tell(child.id(), "TERM");
    wait_for(&mut errors, "told the command");
    tell(child.id(), "TERM");
    wait_for(&mut errors, "killed the command");
    wait_for(&mut errors, "ended by signal 9");
    assert_eq!(code(child), Some(SIGNALLED + 9));
    assert_eq!(stdout(&home.run("demo", &["cat", "file"])), "kept\n");
}

#[test]
fn a_run_whose_output_nobody_takes_is_ended_by_the_third_signal() {
    let home = Home::new();
    let mut child = start(&home, &["--", "/bin/sh", "-c", "trap '' INT; yes"]);
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
    wait_for(&mut output, "y");
    wait_until_full(output.get_ref(), &mut child);
    // Nobody reads on until it has ended, or should have long ago.
    let (ended, waits) = mpsc::channel();
    let holding = std::thread::spawn(move || {
        let in_time = waits.recv_timeout(HEARD_LIMIT);
        drop(output);
        in_time
    });
    tell(child.id(), "INT");
    wait_for(&mut errors, "told the command");
    tell(child.id(), "INT");
    wait_for(&mut errors, "killed the command");
    tell(child.id(), "INT");
    let code = code(child);
    let _late = ended.send(());
    let in_time = holding.join().expect("it waits");
    in_time.expect("signals are heard while a write waits");
    assert_eq!(code, Some(SIGNALLED + 2));
}

#[test]
fn a_command_whose_reader_has_gone_ends_and_the_files_are_stored() {
    let home = Home::new();
    let endless = ["--", "/bin/sh", "-c", "echo kept > file; yes"];
    let mut child = start(&home, &endless);
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    wait_for(&mut output, "y");
    drop(output);
    let ended = child.wait_with_output().expect("it is ours");
    assert_eq!(
        ended.status.code(),
        Some(SIGNALLED + 13),
        "{}",
        stderr(&ended)
    );
    assert_eq!(stdout(&home.run("demo", &["cat", "file"])), "kept\n");
}

#[test]
fn a_command_that_leaves_its_parent_goes_on_and_ends_with_the_sandbox() {
    let home = Home::new();
    let _up = home.up(&[]);
    // A number that no other story sleeps for.
    let words = format!("sleep {}", 10_000_000 + std::process::id());
    let leaves = format!("(setsid {words} </dev/null >/dev/null 2>&1 &) ; echo left");
    let ran = home.run("demo", &["/bin/sh", "-c", &leaves]);
    assert_eq!(stdout(&ran), "left\n", "{}", stderr(&ran));
    assert_eq!(ran.status.code(), Some(0));
    assert_eq!(with_words(&words).len(), 1, "it is one of this machine's");
    let seen = home.run("demo", &["/bin/sh", "-c", "ps -e -o args"]);
    assert!(stdout(&seen).contains(&words), "{}", stdout(&seen));
    let suspended = home.sandgate(["suspend", "demo"]).output();
    let suspended = suspended.expect("start sandgate");
    assert!(suspended.status.success(), "{}", stderr(&suspended));
    assert_eq!(with_words(&words), Vec::<String>::new());
    let seen = home.run("demo", &["/bin/sh", "-c", "ps -e -o args"]);
    assert!(!stdout(&seen).contains(&words), "{}", stdout(&seen));
}
