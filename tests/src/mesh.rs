//! A mesh under test: the real `sandgate`, on a data directory of its own.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::config;

/// The longest that a mesh may take to serve; a cold start takes well under a second.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// A home for one mesh: data, configuration and temporary files, gone with the value.
#[derive(Debug)]
pub struct Home {
    folder: tempfile::TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty home.
    ///
    /// # Panics
    /// When no folder can be made.
    pub fn new() -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("sg")
                .tempdir()
                .expect("a folder"),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The file that holds the first API key.
    pub fn api_key(&self) -> PathBuf {
        self.data().join("api-key")
    }

    /// `sandgate` with these arguments, in an environment that has only this home.
    pub fn sandgate<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(config::binaries().join("sandgate"));
        command
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.path())
            .env("SANDGATE_DATA_DIR", self.data())
            .stdin(Stdio::null());
        command
    }

    /// `sandgate run --conversation <conversation> -- <command…>`, to its end.
    ///
    /// # Panics
    /// When the binary cannot be started.
    pub fn run(&self, conversation: &str, command: &[&str]) -> Output {
        let mut arguments = vec!["run", "--conversation", conversation, "--"];
        arguments.extend_from_slice(command);
        self.sandgate(arguments).output().expect("start sandgate")
    }

    /// Puts a folder of ours into the workspace, as a tar on standard input.
    ///
    /// # Panics
    /// When the folder cannot be read, or its content not be put.
    pub fn put(&self, conversation: &str, from: &Path, names: &[&str], into: &str) {
        let mut tar = Command::new("tar")
            .args(["--exclude=__pycache__", "-C"])
            .arg(from)
            .arg("-cf")
            .arg("-")
            .args(names)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start tar");
        let unpack = format!("mkdir -p {into} && tar -xf - -C {into}");
        let mut run = self.sandgate([
            "run",
            "-q",
            "--conversation",
            conversation,
            "--",
            "/bin/sh",
            "-c",
            &unpack,
        ]);
        let output = run
            .stdin(tar.stdout.take().expect("it is piped"))
            .output()
            .expect("start sandgate");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(tar.wait().expect("tar").success());
    }

    /// `sandgate up` with these arguments beside a free port, once it serves.
    ///
    /// # Panics
    /// When it ends or stays silent instead.
    pub fn up(&self, arguments: &[&str]) -> Up<'_> {
        let mut all = vec!["up", "--listen", "127.0.0.1:0"];
        all.extend_from_slice(arguments);
        let mut child = self
            .sandgate(all)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start sandgate");
        let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut printed = String::new();
        // The last line of the greeting says so; a mesh that dies ends the loop by ending its output.
        while !printed.contains("Ctrl-C") {
            let mut line = String::new();
            if reader.read_line(&mut line).expect("read what it prints") == 0 {
                let mut errors = String::new();
                let mut stderr = child.stderr.take().expect("it is piped");
                stderr.read_to_string(&mut errors).expect("read its errors");
                panic!("sandgate up ended after printing:\n{printed}\n{errors}");
            }
            printed.push_str(&line);
        }
        let published = std::fs::read(self.data().join("mesh.json")).expect("mesh.json");
        let published: serde_json::Value =
            serde_json::from_slice(&published).expect("mesh.json is JSON");
        let address = published["address"]
            .as_str()
            .expect("an address")
            .to_owned();
        Up {
            home: self,
            child,
            address,
            printed,
        }
    }
}

/// A mesh that serves.
#[derive(Debug)]
pub struct Up<'home> {
    /// Where it is at home.
    pub home: &'home Home,
    /// Where clients connect.
    pub address: String,
    /// What it printed until it served.
    pub printed: String,
    child: Child,
}

impl Up<'_> {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first API key.
    ///
    /// # Panics
    /// When its file cannot be read.
    pub fn key(&self) -> String {
        std::fs::read_to_string(self.home.api_key())
            .expect("the API key")
            .trim()
            .to_owned()
    }

    /// Kills it as a crash would.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was ours");
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        // A story that failed leaves nothing running; a mesh that is gone already is fine.
        if self.child.kill().is_ok() {
            self.child.wait().expect("it was ours");
        }
    }
}
