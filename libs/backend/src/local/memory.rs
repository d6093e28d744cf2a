//! How the memory of a whole sandbox is bounded: by a control group where we may make one, else by the supervisor.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sandgate_spawn::control::Control;
use sandgate_types::InstanceId;

use super::config::Limits;

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";
/// Bytes in the buffers of TCP connections, which the first version of control groups counts apart from the rest
/// of memory, and only where they have a limit. Beyond it each connection still gets a few pages.
const TCP_LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";
/// That limit: some hundred connections at full speed.
const TCP_BYTES: u64 = 32 << 20;
/// Every group of ours is called by this, the pid of its mesh, and its instance.
const NAME: &str = "sandgate";

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
            // The kernel presses connections to their least there, and bounds no more than that.
            Self::CgroupV1(_) => "cgroup-v1-without-tcp-buffers",
            Self::CgroupV2(_) => "cgroup-v2",
            Self::Supervisor => "supervisor-pss-without-kernel-buffers",
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
            write(&group.folder.join(limit), bytes)?;
            if let (Self::CgroupV1(_), Some(file)) = (self, tcp_limit(&group.folder))
                && Control::BoundedBuffers.applies()
            {
                write(&file, TCP_BYTES)?;
            }
            group.entry().map(drop)
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

/// Where the limit of TCP buffers of a group is, on a kernel that has one.
fn tcp_limit(folder: &Path) -> Option<PathBuf> {
    let file = folder.join(TCP_LIMIT);
    file.exists().then_some(file)
}

/// Sets a limit. Its file is not created: a folder of something else has none.
fn write(file: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.write_all(bytes.to_string().as_bytes())
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
    /// Where a process of one thread enters itself. In the first version that is `tasks`: the kernel moves a whole
    /// process by `cgroup.procs`, and stops every fork, exec and exit of the machine for milliseconds meanwhile.
    pub(super) fn entry(&self) -> io::Result<File> {
        let open = |name| OpenOptions::new().write(true).open(self.folder.join(name));
        open("tasks").or_else(|_| open("cgroup.procs"))
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
}
