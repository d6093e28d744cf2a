//! A machine to be kept out of, and a sandbox on it: the real `sandgate run` on a data directory of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sandgate_spawn::control::Control;

use crate::config;

/// What the probes are written in: on every machine that runs these tests, inside as outside.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// The probes.
pub(crate) const PROBE: &str = include_str!("probe.py");
/// Becomes another program, with a key in its session's keyring and the machine's list of users as descriptor 9.
const GIVE: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.syscall(250, 1, None)
key = libc.syscall(248, b'user', sys.argv[1].encode(), b'x', 1, -3)
assert key >= 0, 'a key was made'
# The user of a process is somebody else later: the key is for whoever possesses it.
os.dup2(os.open('/etc/passwd', os.O_RDONLY), 9)
os.execvp(sys.argv[2], sys.argv[2:])
";
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
    /// What its sandboxes lack; nothing, but where that is what is tested.
    without: Vec<Control>,
}

/// A mesh that runs; it is killed when this is dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            self.0.wait().expect("it was ours");
        }
    }
}

/// System V objects of the machine; removed with the value.
pub(crate) struct Objects<'world> {
    world: &'world World,
    key: String,
}

impl<'world> Objects<'world> {
    pub(crate) fn new(world: &'world World) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let key = (std::process::id() << 8) + NEXT.fetch_add(1, Ordering::Relaxed);
        let key = (key & 0x7fff_ffff).to_string();
        assert_eq!(world.outside(&["make_objects", &key])["made"], "done");
        Self { world, key }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Objects<'_> {
    fn drop(&mut self) {
        self.world.outside(&["remove_objects", &self.key]);
    }
}

/// What a probe found, by name.
pub(crate) type Findings = BTreeMap<String, String>;

impl World {
    /// The key that the session keyring of whoever starts a mesh has.
    pub(crate) const KEY: &str = "sandgate-isolation";

    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("templates.yaml"), TEMPLATES).expect("write the templates");
        Self {
            folder,
            without: Vec::new(),
        }
    }

    /// One whose sandboxes lack some controls.
    pub(crate) fn without(controls: &[Control]) -> Self {
        Self {
            without: controls.to_vec(),
            ..Self::new()
        }
    }

    /// A file that a sandbox must not read, and the folder that it is in.
    pub(crate) fn secret(&self) -> (String, String) {
        let file = self.path().join("secret");
        fs::write(&file, "hostsecret").expect("write");
        let name = |path: &Path| path.to_str().expect("a name").to_owned();
        (name(&file), name(self.path()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `sandgate`, after the words of another program that starts it.
    pub(crate) fn sandgate(&self, before: &[&str], arguments: &[&str]) -> Command {
        let folder = if self.without.is_empty() {
            config::binaries()
        } else {
            config::incomplete_binaries()
        };
        let mut command = self.rich(before);
        let names: Vec<String> = self.without.iter().map(|it| format!("{it:?}")).collect();
        command
            .arg(folder.join("sandgate"))
            .args(arguments)
            .env("SANDGATE_WITHOUT", names.join(","));
        command
    }

    /// What another program says that is started as the mesh is.
    pub(crate) fn alike(&self, words: &[&str]) -> String {
        let output = self.rich(&[]).args(words).output().expect("start it");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The beginning of a command that has things which a sandbox must not get: a descriptor, a variable, a key.
    fn rich(&self, before: &[&str]) -> Command {
        let mut command = Command::new(PYTHON);
        command
            .args(["-c", GIVE, Self::KEY])
            .args(before)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("SANDGATE_DATA_DIR", self.path().join("data"))
            .env("SANDGATE_TEMPLATES", self.path().join("templates.yaml"))
            .env("CANARY_OF_THE_HOST", "canary")
            .stdin(Stdio::null());
        command
    }

    /// A command in a sandbox, to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        let mut command = self.command("probe", command);
        command.output().expect("start sandgate")
    }

    /// A command in a sandbox, not waited for.
    pub(crate) fn begin(&self, command: &[&str]) -> Child {
        let mut sandgate = self.command("probe", command);
        sandgate.stdout(Stdio::null()).stderr(Stdio::null());
        sandgate.spawn().expect("start sandgate")
    }

    /// A command in the sandbox of a conversation.
    pub(crate) fn command(&self, conversation: &str, command: &[&str]) -> Command {
        let mut arguments = vec!["run", "--conversation", conversation, "--"];
        arguments.extend_from_slice(command);
        self.sandgate(&[], &arguments)
    }

    /// The probe in the sandbox of a conversation, once it has said something; it runs until this is dropped.
    pub(crate) fn serving(&self, conversation: &str, words: &[&str]) -> Running {
        let mut command = vec![PYTHON, "-c", PROBE];
        command.extend_from_slice(words);
        let mut command = self.command(conversation, &command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start sandgate");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("read");
        assert_eq!(line, "serving\tdone\n");
        Running(child)
    }

    /// What the probe finds inside.
    pub(crate) fn inside(&self, words: &[&str]) -> Findings {
        self.inside_of("probe", words)
    }

    /// What the probe finds in the sandbox of a conversation.
    pub(crate) fn inside_of(&self, conversation: &str, words: &[&str]) -> Findings {
        let mut command = vec![PYTHON, "-c", PROBE];
        command.extend_from_slice(words);
        let mut command = self.command(conversation, &command);
        let output = command.output().expect("start sandgate");
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

/// Whether these tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
