//! A machine to be kept out of, and a sandbox on it: the real `sandgate run` on a data directory of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::config;

/// What the probes are written in: on every machine that runs these tests, inside as outside.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// The probes.
const PROBE: &str = include_str!("probe.py");
/// Small enough to be filled in no time.
const TEMPLATES: &str = "\
version: 1
templates:
  - name: default
    pool_size: 0
    limits: { memory: 256MiB, disk: 32MiB, home: 8MiB, tmp: 16MiB, processes: 64, descriptors: 128 }
";
/// What is waited for happens in well under a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// A home for one mesh; gone with the value.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

/// What a probe found, by name.
pub(crate) type Findings = BTreeMap<String, String>;

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("templates.yaml"), TEMPLATES).expect("write the templates");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `sandgate`, after the words of another program that starts it.
    pub(crate) fn sandgate(&self, before: &[&str], arguments: &[&str]) -> Command {
        let binary = config::binaries().join("sandgate");
        let mut command = match before.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("SANDGATE_DATA_DIR", self.path().join("data"))
            .env("SANDGATE_TEMPLATES", self.path().join("templates.yaml"))
            // Whoever starts a mesh has things that a sandbox must not get.
            .env("CANARY_OF_THE_HOST", "canary")
            .stdin(Stdio::null());
        command
    }

    /// A command in a sandbox, to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        let mut arguments = vec!["run", "--conversation", "probe", "--"];
        arguments.extend_from_slice(command);
        self.sandgate(&[], &arguments)
            .output()
            .expect("start sandgate")
    }

    /// A command in a sandbox, not waited for.
    pub(crate) fn begin(&self, command: &[&str]) -> Child {
        let mut arguments = vec!["run", "--conversation", "probe", "--"];
        arguments.extend_from_slice(command);
        let mut sandgate = self.sandgate(&[], &arguments);
        sandgate.stdout(Stdio::null()).stderr(Stdio::null());
        sandgate.spawn().expect("start sandgate")
    }

    /// What the probe finds inside.
    pub(crate) fn inside(&self, words: &[&str]) -> Findings {
        let mut command = vec![PYTHON, "-c", PROBE];
        command.extend_from_slice(words);
        let output = self.run(&command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        findings(&output)
    }

    /// What the same probe finds outside: the control.
    pub(crate) fn outside(&self, words: &[&str]) -> Findings {
        let output = Command::new(PYTHON)
            .args(["-c", PROBE])
            .args(words)
            .output();
        let output = output.expect("start python");
        assert!(output.status.success(), "{}", text(&output.stderr));
        findings(&output)
    }
}

fn findings(output: &Output) -> Findings {
    let lines = text(&output.stdout);
    let found: Findings = lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(!found.is_empty(), "the probe found nothing: {lines}");
    found
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The processes of the machine whose command line has this word.
pub(crate) fn processes(word: &str) -> usize {
    let all = fs::read_dir("/proc").expect("list processes");
    all.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        // A file that starts something names it as well; the thing itself begins with its own name.
        .filter(|line| line.starts_with(b"sleep\0") && text(line).contains(word))
        .count()
}

/// Waits until something holds.
#[expect(
    clippy::disallowed_methods,
    reason = "other processes keep the machine's time, not a clock of ours"
)]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen in time");
        std::thread::yield_now();
    }
}
