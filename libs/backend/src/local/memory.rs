//! How the memory of a whole sandbox is bounded: by a control group where we may make one, else by a
//! supervisor that looks ten times a second and kills the largest process.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandgate_spawn::control::Control;
use sandgate_types::InstanceId;

use super::config::Limits;
use super::kills::Kills;

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";
/// Every group of ours is called by this, the pid of its mesh, and its instance.
const NAME: &str = "sandgate";
/// How often the supervisor looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The most processes that one look counts; more than any template allows would be an error of ours.
const PROCESSES_MAX: usize = 65_536;

/// What this machine lets us use. Groups are made in a folder that is found once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    CgroupV1(PathBuf),
    CgroupV2(PathBuf),
    Supervisor,
}

/// A control group of one instance.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
}

impl Mechanism {
    /// Tries by making a group and removing it again, below our own group before any other: what bounds us
    /// bounds our sandboxes. Groups that a crash left are removed on the way.
    pub(super) fn of_this_machine() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let v1 = folders(V1, &own, "memory").into_iter().map(Self::CgroupV1);
        let v2 = folders(V2, &own, "").into_iter().map(Self::CgroupV2);
        for mechanism in v1.chain(v2) {
            if let Ok(group) = mechanism.make("trial", 1 << 30) {
                mechanism.sweep();
                if group.remove() {
                    return mechanism;
                }
            }
        }
        Self::Supervisor
    }

    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::CgroupV1(_) => "cgroup-v1",
            Self::CgroupV2(_) => "cgroup-v2",
            Self::Supervisor => "supervisor-pss",
        }
    }

    /// The most bytes that are bounded together: a group counts what the writable places hold, too.
    pub(super) fn limit(&self, limits: &Limits) -> u64 {
        match self {
            Self::CgroupV1(_) | Self::CgroupV2(_) => {
                limits.memory.bytes().saturating_add(limits.places())
            }
            Self::Supervisor => limits.memory.bytes(),
        }
    }

    /// The group of an instance, where there is one.
    pub(super) fn group(&self, id: &InstanceId, limits: &Limits) -> io::Result<Option<Group>> {
        match self {
            Self::CgroupV1(_) | Self::CgroupV2(_) if Control::BoundedMemory.applies() => {
                self.make(id.as_str(), self.limit(limits)).map(Some)
            }
            Self::CgroupV1(_) | Self::CgroupV2(_) | Self::Supervisor => Ok(None),
        }
    }

    fn make(&self, name: &str, bytes: u64) -> io::Result<Group> {
        let (base, limit) = match self {
            Self::CgroupV1(base) => (base, "memory.limit_in_bytes"),
            Self::CgroupV2(base) => (base, "memory.max"),
            Self::Supervisor => return Err(io::ErrorKind::Unsupported.into()),
        };
        let group = Group {
            folder: base.join(format!("{NAME}-{}-{name}", std::process::id())),
        };
        fs::create_dir(&group.folder)?;
        let set = || {
            // Not created: a folder of something else has no such file.
            let mut file = OpenOptions::new()
                .write(true)
                .open(group.folder.join(limit))?;
            file.write_all(bytes.to_string().as_bytes())?;
            group.procs().map(drop)
        };
        if let Err(error) = set() {
            group.remove();
            return Err(error);
        }
        Ok(group)
    }

    /// Removes the groups of meshes that are gone. One whose pid is another process's by now waits for its end.
    pub(super) fn sweep(&self) {
        let (Self::CgroupV1(base) | Self::CgroupV2(base)) = self else {
            return;
        };
        for folder in fs::read_dir(base).into_iter().flatten().flatten() {
            if left_behind(&folder.file_name(), |pid| {
                Path::new("/proc").join(pid).exists()
            }) {
                // One that is still ending is removed by the next sweep.
                Group {
                    folder: folder.path(),
                }
                .remove();
            }
        }
    }
}

/// Whether a folder is the group of a mesh that does not run any more.
fn left_behind(name: &OsStr, runs: impl Fn(&str) -> bool) -> bool {
    let mut words = name.to_str().unwrap_or_default().split('-');
    let (ours, pid) = (words.next() == Some(NAME), words.next().unwrap_or_default());
    ours && !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) && !runs(pid)
}

/// Our own group of a controller, then those around it, as folders below `root`. `text` is /proc/self/cgroup.
fn folders(root: &str, text: &str, controller: &str) -> Vec<PathBuf> {
    let own = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let named = controllers.split(',').any(|name| name == controller);
        named.then(|| Path::new(path.trim_start_matches('/')))
    });
    let around = own.into_iter().flat_map(Path::ancestors);
    around.map(|path| Path::new(root).join(path)).collect()
}

impl Group {
    /// Where a process is entered.
    pub(super) fn procs(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .open(self.folder.join("cgroup.procs"))
    }

    /// Where the kernel counts whom it killed.
    pub(super) fn kills(&self) -> io::Result<File> {
        File::open(self.folder.join("memory.events"))
            .or_else(|_| File::open(self.folder.join("memory.oom_control")))
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
pub(super) fn supervise(first: Pid, bytes: u64, kills: &Kills) {
    let all = descendants(first);
    // Cheap, and never less than the exact sum, in which shared pages count once.
    let resident = all.iter().filter_map(|pid| resident_bytes(*pid));
    if resident.fold(0, u64::saturating_add) <= bytes {
        return;
    }
    let mut largest = None;
    let mut sum = 0u64;
    for pid in all {
        let used = proportional_bytes(pid).unwrap_or(0);
        sum = sum.saturating_add(used);
        if pid != first && largest.is_none_or(|(most, _)| used > most) {
            largest = Some((used, pid));
        }
    }
    if sum > bytes
        && let Some((_, pid)) = largest
    {
        kills.add();
        // Who ended meanwhile needs no killing; a number is not reused within a look.
        if kill_process(pid, Signal::KILL).is_ok() {
            tracing::info!("a process was killed, since its sandbox used more memory than it may");
        }
    }
}

/// The children of a process, whichever of its threads started them; none when it is gone.
pub(super) fn children(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let mut found = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let numbers = listed.split_whitespace();
        found.extend(numbers.filter_map(|word| Pid::from_raw(word.parse().ok()?)));
    }
    found
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

/// What a process has in memory, shared or not.
fn resident_bytes(pid: Pid) -> Option<u64> {
    bytes_in(pid, "status", "VmRSS:")
}

/// What a process uses, with shared pages divided among those who share them.
fn proportional_bytes(pid: Pid) -> Option<u64> {
    bytes_in(pid, "smaps_rollup", "Pss:")
}

fn bytes_in(pid: Pid, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_for_below_our_own_first() {
        let text = "4:memory:/service/one\n3:cpu,cpuacct:/\n0::/user\n";
        let folders = |controller| folders("/c", text, controller);
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            folders("memory"),
            paths(&["/c/service/one", "/c/service", "/c/"])
        );
        assert_eq!(folders(""), paths(&["/c/user", "/c/"]));
        assert!(folders("pids").is_empty());
    }

    #[test]
    fn only_groups_of_meshes_that_are_gone_are_left_behind() {
        let left = |name: &str| left_behind(OsStr::new(name), |pid| pid == "7");
        assert!(left("sandgate-8-i1"));
        assert!(!left("sandgate-7-i1"));
        assert!(!left("sandgate-x-i1"));
        assert!(!left("user-8-i1"));
    }

    #[test]
    fn our_own_memory_is_counted() {
        let pid = rustix::process::getpid();
        let (exact, most) = (proportional_bytes(pid), resident_bytes(pid));
        assert!(exact.expect("readable") > 1024);
        assert!(exact <= most);
        assert!(descendants(pid).contains(&pid));
    }

    #[test]
    fn the_child_of_any_thread_is_a_child() {
        let started = std::thread::spawn(|| {
            let mut child = std::process::Command::new("cat")
                .stdin(std::process::Stdio::piped())
                .spawn()
                .expect("start");
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number"));
            let seen = children(rustix::process::getpid()).contains(&pid.expect("a number"));
            drop(child.stdin.take());
            child.wait().expect("it ends with its input");
            seen
        });
        assert!(started.join().expect("the thread"));
    }
}
