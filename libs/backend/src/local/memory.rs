//! How the memory of a whole sandbox is bounded: by a control group where we may make one, else by a
//! supervisor that looks twice a second and kills the largest process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandgate_types::InstanceId;

use super::config::Limits;

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";
/// How often the supervisor looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most processes that one look counts; more than any template allows would be an error of ours.
const PROCESSES_MAX: usize = 65_536;

/// What this machine lets us use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    CgroupV1,
    CgroupV2,
    Supervisor,
}

/// A control group of one instance.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
}

impl Mechanism {
    /// Tries by making a group and removing it again.
    pub(super) fn of_this_machine() -> Self {
        let name = format!("sandgate-trial-{}", std::process::id());
        for mechanism in [Self::CgroupV1, Self::CgroupV2] {
            if let Ok(group) = mechanism.make(&name, 1 << 30) {
                let removed = group.remove();
                if removed {
                    return mechanism;
                }
            }
        }
        Self::Supervisor
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::CgroupV1 => "cgroup-v1",
            Self::CgroupV2 => "cgroup-v2",
            Self::Supervisor => "supervisor-pss",
        }
    }

    /// The most bytes that are bounded together: a group counts what the writable places hold, too.
    pub(super) fn limit(self, limits: &Limits) -> u64 {
        match self {
            Self::CgroupV1 | Self::CgroupV2 => limits.memory.bytes() + limits.places(),
            Self::Supervisor => limits.memory.bytes(),
        }
    }

    /// The group of an instance, where there is one.
    pub(super) fn group(self, id: &InstanceId, limits: &Limits) -> io::Result<Option<Group>> {
        match self {
            Self::CgroupV1 | Self::CgroupV2 => self
                .make(&format!("sandgate-{id}"), self.limit(limits))
                .map(Some),
            Self::Supervisor => Ok(None),
        }
    }

    fn make(self, name: &str, bytes: u64) -> io::Result<Group> {
        let (root, limit) = match self {
            Self::CgroupV1 => (V1, "memory.limit_in_bytes"),
            Self::CgroupV2 => (V2, "memory.max"),
            Self::Supervisor => return Err(io::ErrorKind::Unsupported.into()),
        };
        let group = Group {
            folder: Path::new(root).join(name),
        };
        fs::create_dir(&group.folder)?;
        let set = || {
            // Not created: a folder of something else has no such file.
            let write = |file: &str, text: &str| {
                let path = group.folder.join(file);
                if path.exists() {
                    fs::write(path, text)
                } else {
                    Err(io::ErrorKind::NotFound.into())
                }
            };
            write(limit, &bytes.to_string())?;
            group.procs().map(drop)
        };
        if let Err(error) = set() {
            group.remove();
            return Err(error);
        }
        Ok(group)
    }
}

impl Group {
    /// Where a process is entered.
    pub(super) fn procs(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .open(self.folder.join("cgroup.procs"))
    }

    /// Removes the group; `false` while a process is in it.
    pub(super) fn remove(&self) -> bool {
        match fs::remove_dir(&self.folder) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Kills the largest process of a sandbox when all together use more than `bytes`.
pub(super) fn supervise(first: Pid, bytes: u64) {
    let mut largest = None;
    let mut sum = 0u64;
    for pid in descendants(first) {
        let used = proportional_bytes(pid).unwrap_or(0);
        sum = sum.saturating_add(used);
        if largest.is_none_or(|(most, _)| used > most) {
            largest = Some((used, pid));
        }
    }
    if sum > bytes
        && let Some((_, pid)) = largest
    {
        // Who ended meanwhile needs no killing; a number is not reused within a look.
        if kill_process(pid, Signal::KILL).is_ok() {
            tracing::info!("a process was killed, since its sandbox used more memory than it may");
        }
    }
}

/// The children of a process; none when it is gone.
pub(super) fn children(pid: Pid) -> Vec<Pid> {
    let number = pid.as_raw_nonzero();
    let listed =
        fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap_or_default();
    listed
        .split_whitespace()
        .filter_map(|word| Pid::from_raw(word.parse().ok()?))
        .collect()
}

fn descendants(first: Pid) -> Vec<Pid> {
    let mut found = vec![first];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied()
        && found.len() < PROCESSES_MAX
    {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// What a process uses, with shared pages divided among those who share them.
fn proportional_bytes(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_counted() {
        let pid = rustix::process::getpid();
        assert!(proportional_bytes(pid).expect("readable") > 1024);
        assert!(descendants(pid).contains(&pid));
    }
}
