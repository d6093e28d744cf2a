//! What is left of a sandbox on the machine: processes, namespaces, control groups.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The kinds of namespaces that each sandbox has of its own.
const NAMESPACES: [&str; 6] = ["user", "mnt", "pid", "net", "ipc", "uts"];
/// Where the kernel keeps control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub pid: u32,
    /// Its command line.
    pub line: String,
}

/// The processes whose command line has this text, and those that they have started: a runner's line tells nothing
/// of where it came from.
///
/// # Panics
/// When the kernel does not list processes.
pub fn processes(marker: &str) -> Vec<Found> {
    let mut others = BTreeMap::new();
    let mut found = Vec::new();
    for pid in pids() {
        // Whoever has ended meanwhile is not there.
        let Some((parent, line)) = parent(pid).zip(line(pid)) else {
            continue;
        };
        if line.contains(marker) {
            found.push(Found { pid, line });
        } else {
            others.insert(pid, (parent, line));
        }
    }
    let mut looked_at = 0;
    while let Some(Found { pid: parent, .. }) = found.get(looked_at).cloned() {
        let children = others.extract_if(.., |_, (of, _)| *of == parent);
        found.extend(children.map(|(pid, (_, line))| Found { pid, line }));
        looked_at += 1;
    }
    found
}

fn line(pid: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&line).replace('\0', " "))
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

/// Namespaces by their names, held open: the kernel gives no other the name of one that is held.
pub type Namespaces = BTreeMap<String, File>;

/// The namespaces of these processes that are not ours.
pub fn namespaces(of: &[Found]) -> Namespaces {
    let own: Vec<String> = names(std::process::id()).map(|(name, _)| name).collect();
    let all = of.iter().flat_map(|found| names(found.pid));
    all.filter(|(name, _)| !own.contains(name))
        // Whoever has ended meanwhile has none.
        .filter_map(|(name, path)| Some((name, File::open(path).ok()?)))
        .collect()
}

/// The processes that are in one of the namespaces.
///
/// # Panics
/// When the kernel does not list processes.
pub fn inhabitants(namespaces: &Namespaces) -> Vec<u32> {
    pids()
        .filter(|pid| names(*pid).any(|(name, _)| namespaces.contains_key(&name)))
        .collect()
}

/// The control groups whose name has this text.
pub fn groups(marker: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    named(Path::new(GROUPS), marker, &mut found);
    found
}

/// The files and folders below this one whose name has this text.
pub fn files(below: &Path, marker: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    named(below, marker, &mut found);
    found
}

/// Waits until a process is gone, for so long; who waits is woken by its end.
///
/// # Panics
/// When the kernel does not watch it.
pub fn is_gone_within(pid: u32, limit: Duration) -> bool {
    let number = Pid::from_raw(i32::try_from(pid).expect("a number of a process"));
    let Ok(watched) = pidfd_open(number.expect("it is not zero"), PidfdFlags::empty()) else {
        return true;
    };
    let limit = Timespec::try_from(limit).expect("a limit within the clock");
    let mut ends = [PollFd::new(&watched, PollFlags::IN)];
    poll(&mut ends, Some(&limit)).expect("watch a process") == 1
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn names(pid: u32) -> impl Iterator<Item = (String, PathBuf)> {
    NAMESPACES.into_iter().filter_map(move |kind| {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
        let link = std::fs::read_link(&path).ok()?;
        Some((link.to_string_lossy().into_owned(), path))
    })
}

fn named(folder: &Path, marker: &str, found: &mut Vec<PathBuf>) {
    // What is not there, or ends meanwhile, has nothing in it.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(marker) {
            found.push(entry.path());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            named(&entry.path(), marker, found);
        }
    }
}
