//! The `/proc` of a sandbox: its own processes, and little else.

use std::fs;
use std::io;

use rustix::mount::{MountFlags, mount, mount_bind_recursive};

use super::{read_only, tmpfs};
use crate::control::Control;
use crate::counters;

/// What of `/proc` beside processes is shown: what ordinary tools need to know of the machine. All else is
/// hidden, whatever a kernel adds.
const SHOWN: [&str; 12] = [
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "mounts",
    "net",
    "self",
    "stat",
    "sys",
    "thread-self",
    "uptime",
    "version",
];
/// Mounts it, after the last setting of the kernel that is changed by way of it.
pub(super) fn make() -> io::Result<()> {
    fs::create_dir("/proc")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if Control::ProcessNamespace.applies() {
        mount("proc", "/proc", "proc", flags, c"")?;
    } else {
        mount_bind_recursive("/old/proc", "/proc")?;
    }
    counters::bound()?;
    if Control::HiddenProc.applies() {
        hide(flags)?;
    }
    mount_bind_recursive("/proc/sys", "/proc/sys")?;
    read_only("/proc/sys", flags)
}

/// Hides all of `/proc` that is not to be seen.
fn hide(flags: MountFlags) -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let process = name.bytes().all(|byte| byte.is_ascii_digit());
        if process || SHOWN.contains(&&*name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            let empty = "mode=555,size=4k,nr_inodes=2";
            tmpfs(&target, flags | MountFlags::RDONLY, empty)?;
        } else {
            mount_bind_recursive("/dev/null", &target)?;
        }
    }
    Ok(())
}
