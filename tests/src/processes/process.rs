//! One process of a mesh: started, watched, and ended.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The longest that a service may take to end; nothing runs any more in its sandboxes then.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Names the place at which a binary with crash points dies.
const CRASH_POINT: &str = "SANDGATE_CRASH_POINT";

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub(super) name: &'static str,
    pub(super) binary: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) log: PathBuf,
}

impl Launch {
    /// With one argument more.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.arguments.push(format!("--{key}={value}"));
        self
    }

    /// Starts it; with a crash point, it dies there.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, crash_point: Option<&str>) -> Process {
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(point) = crash_point {
            command.env(CRASH_POINT, point);
        }
        let mut child = command.spawn().expect("start a service");
        let pid = child.id();
        let seen = Arc::new(Seen::default());
        let stderr = child.stderr.take().expect("it is piped");
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(&self.log)
            .expect("a file for its log");
        std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || seen.read(stderr, log)
        });
        std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || seen.reap(child)
        });
        Process {
            name: self.name,
            pid,
            seen,
        }
    }
}

/// A service that runs as a process of its own; killed when dropped.
pub struct Process {
    name: &'static str,
    pid: u32,
    seen: Arc<Seen>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.pid)
    }
}

/// What was seen of a process; whoever waits is woken by each change.
#[derive(Default)]
pub(super) struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    said: String,
    ended: Option<ExitStatus>,
}

impl Seen {
    fn read(&self, stderr: ChildStderr, mut log: std::fs::File) {
        // A last line that is cut by a kill may be anything; it is not waited for.
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            writeln!(log, "{line}").expect("write its log");
            let mut state = self.state.lock().expect("nobody panicked");
            state.said.push_str(&line);
            state.said.push('\n');
            self.changed.notify_all();
        }
    }

    fn reap(&self, mut child: Child) {
        let status = child.wait().expect("it is ours");
        self.state.lock().expect("nobody panicked").ended = Some(status);
        self.changed.notify_all();
    }

    fn wait(&self, limit: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let state = self.state.lock().expect("nobody panicked");
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, |state| !holds(state))
            .expect("nobody panicked");
        holds(&state)
    }

    /// Waits for as long as it runs.
    pub(super) fn wait_for_end(&self) {
        let state = self.state.lock().expect("nobody panicked");
        let _ended = self
            .changed
            .wait_while(state, |state| state.ended.is_none())
            .expect("nobody panicked");
    }
}

impl Process {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// What it has said.
    ///
    /// # Panics
    /// When a thread that watches it has.
    pub fn log(&self) -> String {
        let state = self.seen.state.lock().expect("nobody panicked");
        state.said.clone()
    }

    /// Waits until it has said this; false when it ends or is silent for the limit.
    pub fn says(&self, text: &str, limit: Duration) -> bool {
        self.seen.wait(limit, |state| {
            state.ended.is_some() || state.said.contains(text)
        });
        self.log().contains(text)
    }

    /// Tells it to end, and waits; answers whether it ended well.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ends_well(&mut self) -> bool {
        assert!(self.signal("TERM"), "{} is gone", self.name);
        let ended = self.seen.wait(END_LIMIT, |state| state.ended.is_some());
        assert!(ended, "{} did not end", self.name);
        let state = self.seen.state.lock().expect("nobody panicked");
        state.ended.is_some_and(|status| status.success())
    }

    /// Tells it to end, and once more as soon as it has heard; answers the exit code.
    ///
    /// # Panics
    /// When it does not hear, or does not end in time.
    pub fn insisted_code(&mut self) -> Option<i32> {
        assert!(self.signal("TERM"), "{} is gone", self.name);
        let heard = self.says("another signal ends at once", END_LIMIT);
        assert!(heard, "{} did not hear: {}", self.name, self.log());
        assert!(self.signal("TERM"), "{} did not go on", self.name);
        let ended = self.seen.wait(END_LIMIT, |state| state.ended.is_some());
        assert!(ended, "{} did not end", self.name);
        let state = self.seen.state.lock().expect("nobody panicked");
        state.ended.and_then(|status| status.code())
    }

    /// Stops it where it is, so that whoever asks it waits.
    pub fn freeze(&self) {
        assert!(self.signal("STOP"), "{} is gone", self.name);
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When a thread that watches it has.
    pub fn runs(&mut self) -> bool {
        let state = self.seen.state.lock().expect("nobody panicked");
        state.ended.is_none()
    }

    /// Kills it as a crash would, and waits until it is gone. One that has ended is fine.
    pub fn kill(&self) {
        self.signal("KILL");
        self.seen.wait_for_end();
    }

    /// Sends a signal, unless it has ended: its number may be another's by then.
    pub(super) fn signal(&self, name: &str) -> bool {
        let state = self.seen.state.lock().expect("nobody panicked");
        state.ended.is_none()
            && Command::new("kill")
                .args([format!("-{name}"), self.pid.to_string()])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
