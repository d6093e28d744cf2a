//! The file system of a sandbox: the machine's programs read-only, an `/etc` of our own, and a bounded tmpfs
//! for each place that can be written. What is shown of the machine has inodes of its own, in overlays, so that
//! nobody sees by a watch or a lock what others do with the same files.
//!
//! Everything is built below a tmpfs that becomes `/`, from sources below the old root, which is gone at the
//! end. Runs as the first process of the new namespaces, before any privilege is given up.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::control::Control;
use crate::sandbox::{SpawnError, Spec, inside};

mod proc;

/// Where the new tree is built; any directory that every Linux has, ours hides it in our namespace only.
const BASE: &str = "/tmp";
/// Directories of the machine that are shown, read-only.
const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What of the machine's `/etc` is shown: what the linker and TLS libraries need, and Debian's links to programs.
const ETC: [&str; 5] = [
    "ld.so.cache",
    "alternatives",
    "ssl/certs",
    "ca-certificates",
    "localtime",
];
/// Devices without state.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// What `/` and `/dev` themselves may hold: names of mounts, and a few files of `/etc`.
const TREE_OPTIONS: &str = "mode=755,size=4m,nr_inodes=512";
/// An empty directory of the new tree: an overlay has two layers at least.
const EMPTY: &str = "/run";
/// Entries of a writable tmpfs for each of its megabytes; a tree of small files fills its bytes first.
const INODES_PER_MEGABYTE: u64 = 1024;

const PASSWD: &str = "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
    agent:x:1000:1000:agent:/home/agent:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost sandbox\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\n";

/// Makes the tree and makes it `/`.
pub(crate) fn enter(spec: &Spec) -> Result<(), SpawnError> {
    let at = |what: &'static str| move |source: io::Error| SpawnError { what, source };
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|error| at("make mounts private")(error.into()))?;
    tmpfs(
        Path::new(BASE),
        MountFlags::NOSUID | MountFlags::NODEV,
        TREE_OPTIONS,
    )
    .map_err(at("mount the new root"))?;
    chdir(BASE).map_err(|error| at("enter the new root")(error.into()))?;
    fs::create_dir("old").map_err(at("make a place for the old root"))?;
    pivot_root(".", "old").map_err(|error| at("change the root")(error.into()))?;
    chdir("/").map_err(|error| at("enter the new root")(error.into()))?;
    fs::create_dir(EMPTY).map_err(at("make an empty directory"))?;
    system().map_err(at("show the system"))?;
    etc().map_err(at("make /etc"))?;
    devices(spec).map_err(at("make /dev"))?;
    proc::make().map_err(at("mount /proc"))?;
    writable(spec).map_err(at("mount the writable places"))?;
    if Control::OldRoot.applies() {
        unmount("/old", UnmountFlags::DETACH)
            .map_err(|error| at("leave the old root")(error.into()))?;
        fs::remove_dir("/old").map_err(at("remove the old root's place"))?;
    }
    read_only("/dev", MountFlags::NOSUID | MountFlags::NOEXEC).map_err(at("close /dev"))?;
    read_only("/", MountFlags::NOSUID | MountFlags::NODEV).map_err(at("close the root"))?;
    chdir("/workspace").map_err(|error| at("enter the workspace")(error.into()))
}

fn tmpfs(target: &Path, flags: MountFlags, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("tmpfs", target, "tmpfs", flags, options.as_c_str())?)
}

fn read_only(target: &str, flags: MountFlags) -> io::Result<()> {
    if !Control::ReadOnly.applies() {
        return Ok(());
    }
    Ok(mount_remount(
        target,
        flags | MountFlags::RDONLY | MountFlags::BIND,
        "",
    )?)
}

/// The machine's programs. Merged-usr systems have links in place of some directories.
fn system() -> io::Result<()> {
    for name in SYSTEM {
        let (source, target) = (Path::new("/old").join(name), Path::new("/").join(name));
        match fs::symlink_metadata(&source) {
            Ok(facts) if facts.is_symlink() => symlink(fs::read_link(&source)?, &target)?,
            Ok(facts) if facts.is_dir() => {
                fs::create_dir(&target)?;
                show(&source, &target)?;
            }
            // A machine without it has no programs there.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn etc() -> io::Result<()> {
    fs::create_dir("/etc")?;
    let files = [
        ("passwd", PASSWD),
        ("group", GROUP),
        ("hosts", HOSTS),
        ("nsswitch.conf", NSSWITCH),
        ("hostname", "sandbox\n"),
        ("resolv.conf", ""),
    ];
    for (name, content) in files {
        fs::write(Path::new("/etc").join(name), content)?;
    }
    for name in ETC {
        let (source, target) = (
            Path::new("/old/etc").join(name),
            Path::new("/etc").join(name),
        );
        // Links that lead elsewhere are resolved in the old tree.
        let Ok(resolved) = resolve(&source) else {
            continue;
        };
        let facts = fs::metadata(&resolved)?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        if facts.is_dir() {
            fs::create_dir_all(&target)?;
            show(&resolved, &target)?;
        } else {
            fs::copy(&resolved, &target)?;
        }
    }
    Ok(())
}

/// Follows a link within the old tree, once: the machine's own links of these names are no deeper.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    if !fs::symlink_metadata(path)?.is_symlink() {
        return Ok(path.to_owned());
    }
    let target = fs::read_link(path)?;
    let inside = match target.strip_prefix("/") {
        Ok(absolute) => Path::new("/old").join(absolute),
        Err(_) => path.parent().unwrap_or(Path::new("/old")).join(target),
    };
    fs::symlink_metadata(&inside).map(|_| inside)
}

fn devices(spec: &Spec) -> io::Result<()> {
    fs::create_dir("/dev")?;
    tmpfs(
        Path::new("/dev"),
        MountFlags::NOSUID | MountFlags::NOEXEC,
        TREE_OPTIONS,
    )?;
    for name in DEVICES {
        let target = Path::new("/dev").join(name);
        fs::write(&target, "")?;
        mount_bind_recursive(Path::new("/old/dev").join(name), &target)?;
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, Path::new("/dev").join(link))?;
    }
    fs::create_dir("/dev/pts")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(
        "devpts",
        "/dev/pts",
        "devpts",
        flags,
        // The number of terminals of a machine is bounded too, and shared.
        if Control::BoundedTerminals.applies() {
            c"newinstance,ptmxmode=0666,mode=620,max=64"
        } else {
            c"newinstance,ptmxmode=0666,mode=620"
        },
    )?;
    bounded("/dev/shm", spec.shared_memory, 0o1777)
}

fn writable(spec: &Spec) -> io::Result<()> {
    bounded("/workspace", spec.workspace, 0o755)?;
    fs::create_dir("/home")?;
    bounded("/home/agent", spec.home, 0o755)?;
    bounded("/tmp", spec.temporary, 0o1777)?;
    fs::create_dir("/var")?;
    symlink("/tmp", "/var/tmp")
}

/// A tmpfs of at most so many bytes, which belongs to the agent.
fn bounded(path: &str, bytes: u64, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    let inodes = (bytes >> 20).max(1) * INODES_PER_MEGABYTE;
    let agent = inside();
    let size = if Control::BoundedPlaces.applies() {
        format!("size={bytes},nr_inodes={inodes}")
    } else {
        "nr_inodes=0".to_owned()
    };
    let options = format!("mode={mode:o},{size},uid={agent},gid={agent}");
    tmpfs(
        Path::new(path),
        MountFlags::NOSUID | MountFlags::NODEV,
        &options,
    )?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Shows a directory at `target`, with all below it, read-only and without set-uid programs and devices. An overlay
/// leaves out what is mounted below; then, and where a kernel makes none for a user, the very files are shown.
fn show(source: &Path, target: &Path) -> io::Result<()> {
    let layers = [
        b"lowerdir=",
        source.as_os_str().as_bytes(),
        b":",
        EMPTY.as_bytes(),
    ]
    .concat();
    let layers = std::ffi::CString::new(layers)?;
    let options = layers.as_c_str();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    if has_mounts(source) || mount("overlay", target, "overlay", flags, options).is_err() {
        mount_bind_recursive(source, target)?;
    }
    close(target)
}

/// Whether something is mounted below a directory of the old tree, as far as that can be told.
fn has_mounts(folder: &Path) -> bool {
    let Ok(all) = fs::read_to_string("/old/proc/self/mountinfo") else {
        return true;
    };
    let mut points = all.lines().filter_map(|line| line.split(' ').nth(4));
    points.any(|point| Path::new(point) != folder && Path::new(point).starts_with(folder))
}

/// Makes a mount and all below it read-only (`mount_setattr`, Linux 5.12).
fn close(target: &Path) -> io::Result<()> {
    /// `struct mount_attr` of the kernel's interface.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    const RDONLY_NOSUID_NODEV: u64 = 0x1 | 0x2 | 0x4;
    const RECURSIVE: libc::c_int = 0x8000;
    if !Control::ReadOnly.applies() {
        return Ok(());
    }
    let path = std::ffi::CString::new(target.as_os_str().as_encoded_bytes())?;
    let attributes = Attributes {
        set: RDONLY_NOSUID_NODEV,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    #[expect(unsafe_code, reason = "no safe binding of mount_setattr")]
    // SAFETY: the path ends with NUL, the structure has the kernel's layout and the size that is given with it;
    // both outlive the call, which keeps no pointer.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
