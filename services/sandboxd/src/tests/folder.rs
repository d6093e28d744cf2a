//! Where a sandbox of a test has its workspace.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

/// A folder that goes with the test.
pub(super) struct Folder {
    path: PathBuf,
    _kept_by: Keeper,
}

/// What ends the folder when it is dropped.
#[expect(
    dead_code,
    reason = "what they hold is held for the sake of what is dropped with it"
)]
enum Keeper {
    Directory(TempDir),
    Mount(Mount),
}

/// A mount in a namespace that a process of ours keeps.
struct Mount {
    process: Child,
    input: Option<ChildStdin>,
}

/// A folder of the machine's own.
pub(super) fn folder() -> Folder {
    let directory = tempfile::tempdir().expect("a folder");
    Folder {
        path: directory.path().to_owned(),
        _kept_by: Keeper::Directory(directory),
    }
}

/// A folder on a file system of `bytes` bytes, as the workspace of a sandbox is. It is mounted in a namespace that
/// an ordinary user may make too, and reached through the process that keeps it.
pub(super) fn bounded_folder(bytes: u64) -> Folder {
    let script = format!("mount -t tmpfs -o size={bytes} tmpfs /mnt && echo mounted && read _end");
    let mut process = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let input = process.stdin.take();
    let mut line = String::new();
    let output = process.stdout.take().expect("its output");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says how it went");
    assert_eq!(line, "mounted\n");
    let path = format!("/proc/{}/root/mnt", process.id()).into();
    Folder {
        path,
        _kept_by: Keeper::Mount(Mount { process, input }),
    }
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The script reads to its end of input.
        drop(self.input.take());
        let _ended = self.process.wait();
    }
}
