//! `sandgate run`: one command, one conversation, no set-up.

mod admin;
mod commands;
mod ends;
mod names;
mod policy;
mod story;

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Output};

/// What a shell adds to the number of the signal that ended a command.
const SIGNALLED: i32 = 128;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads until a line has this; the end of the output is a failure.
fn wait_for(reader: &mut BufReader<impl Read>, word: &str) {
    let mut heard = String::new();
    loop {
        let mut line = String::new();
        let count = reader.read_line(&mut line).expect("text");
        assert!(count > 0, "it never said {word:?}: {heard}");
        if line.contains(word) {
            return;
        }
        heard.push_str(&line);
    }
}

/// Sends a process a signal, by its name.
fn tell(process: u32, signal: &str) {
    let told = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &process.to_string()])
        .status();
    assert!(told.expect("start kill").success());
}

/// The exit code of a child that nothing more is read from.
fn code(mut child: Child) -> Option<i32> {
    child.wait().expect("it is ours").code()
}

/// The processes of this machine, whoever sees it, that have these words in their command line.
fn with_words(words: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(words))
        .collect()
}
