//! Starts the daemons of a sandbox from outside of it: with given descriptors and nothing else, under a uid of
//! their own where we are root, and so that they die with the thread that started them.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::control::{self, Control};

/// The first number that a daemon's descriptors get.
pub const FIRST_DESCRIPTOR: RawFd = 3;
/// Descriptors wait from this number on before they get theirs; at most four of them.
const ASIDE: RawFd = 16;
/// The most descriptors of one daemon.
const DESCRIPTORS_MAX: usize = 4;
/// The program's own descriptor is kept out of the way of those that are given numbers.
const PROGRAM: RawFd = 64;

/// A binary that is executed by its descriptor: whoever executes it needs no way through the folders that lead
/// to it, which root's are closed to the uids of sandboxes.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// Opens a binary.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(&opened, PROGRAM)?))
    }
}

/// A daemon to start.
#[derive(Debug)]
pub struct Helper {
    /// What it is called, and its arguments.
    pub argv: Vec<OsString>,
    /// Its descriptors from [`FIRST_DESCRIPTOR`] on.
    pub descriptors: Vec<OwnedFd>,
    /// Who it is, for the kernel; only root can say so.
    pub uid: Option<u32>,
    /// The `cgroup.procs` of the group that it joins before anything else.
    pub group: Option<File>,
    /// Whether its errors come to us through a pipe; else they go where ours go.
    pub pipe_errors: bool,
}

impl Helper {
    /// Starts `program` with an empty environment. It is killed when the calling *thread* ends, so that thread
    /// must live as long as what it starts is wanted.
    ///
    /// # Errors
    /// What the kernel says; then nothing runs.
    pub fn start(self, program: &Program) -> io::Result<Child> {
        let Self {
            argv,
            descriptors,
            uid,
            group,
            pipe_errors,
        } = self;
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::Error::other("a daemon has at most four descriptors"));
        }
        let mut command = Command::new(format!("/proc/self/fd/{}", program.0.as_raw_fd()));
        let mut words = argv.into_iter();
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if Control::EmptyEnvironment.applies() {
            command.env_clear();
        }
        control::pass_on(&mut command);
        command.stderr(if pipe_errors {
            Stdio::piped()
        } else {
            Stdio::inherit()
        });
        if let Some(uid) = uid {
            // Root's supplementary groups are given up by the library when it changes the uid.
            command.uid(uid).gid(uid);
        }
        let mut numbers = [-1; DESCRIPTORS_MAX];
        for (number, descriptor) in numbers.iter_mut().zip(&descriptors) {
            *number = descriptor.as_raw_fd();
        }
        let group_number = group.as_ref().map(|group| group.as_raw_fd());
        let parent = rustix::process::getpid();
        #[expect(unsafe_code, reason = "pre_exec runs between fork and exec")]
        // SAFETY: the closure makes system calls only (async-signal-safe), and allocates nothing.
        unsafe {
            command.pre_exec(move || in_child(numbers, group_number, parent));
        }
        let child = command.spawn();
        drop((descriptors, group));
        child
    }
}

fn in_child(
    mut numbers: [RawFd; DESCRIPTORS_MAX],
    group: Option<RawFd>,
    parent: Pid,
) -> io::Result<()> {
    if let Some(group) = group {
        join(group)?;
    }
    // Less would let agents of the same user stop what it sends, see the module `limits`.
    crate::limits::all_descriptors()?;
    rustix::process::setsid()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    crate::process::close_the_rest()?;
    // Two steps, since a number may be another descriptor's target.
    for number in numbers.iter_mut().filter(|number| **number >= 0) {
        *number = aside(*number)?;
    }
    for (index, number) in numbers
        .iter()
        .enumerate()
        .filter(|(_, number)| **number >= 0)
    {
        let target = FIRST_DESCRIPTOR + RawFd::try_from(index).unwrap_or(0);
        place(*number, target)?;
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "descriptors are numbers here: their owners are in the parent"
)]
fn join(group: RawFd) -> io::Result<()> {
    // SAFETY: writes one static byte to a descriptor that the parent keeps open until after exec.
    let written = unsafe { libc::write(group, b"0".as_ptr().cast(), 1) };
    if written == 1 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[expect(
    unsafe_code,
    reason = "descriptors are numbers here: their owners are in the parent"
)]
fn aside(number: RawFd) -> io::Result<RawFd> {
    // SAFETY: works on this child's table of descriptors only, and takes a number that is free.
    let free = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, ASIDE) };
    if free >= 0 {
        Ok(free)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[expect(
    unsafe_code,
    reason = "descriptors are numbers here: their owners are in the parent"
)]
fn place(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: works on this child's table of descriptors only, touches no memory.
    if unsafe { libc::dup2(from, to) } >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
