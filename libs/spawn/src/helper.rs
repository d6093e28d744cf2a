//! Starts the daemons of a sandbox from outside of it: with given descriptors and nothing else, under a uid of
//! their own where we are root, and so that they die with the thread that started them.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// The first number that a daemon's descriptors get.
pub const FIRST_DESCRIPTOR: RawFd = 3;
/// Where descriptors wait before they get their numbers, above whatever a process of ours has open.
const ASIDE: RawFd = 512;

/// A daemon to start.
#[derive(Debug)]
pub struct Helper {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Its descriptors from [`FIRST_DESCRIPTOR`] on.
    pub descriptors: Vec<OwnedFd>,
    /// Who it is, for the kernel; only root can say so.
    pub uid: Option<u32>,
    /// Whether its errors come to us through a pipe; else they go where ours go.
    pub pipe_errors: bool,
}

impl Helper {
    /// Starts it with an empty environment. It is killed when the calling *thread* ends, so that thread must
    /// live as long as what it starts is wanted.
    ///
    /// # Errors
    /// What the kernel says; then nothing runs.
    pub fn start(self) -> io::Result<Child> {
        let Self { argv, descriptors, uid, pipe_errors } = self;
        let mut words = argv.into_iter();
        let program = words.next().ok_or_else(|| io::Error::other("a helper has a program"))?;
        let mut command = Command::new(program);
        command.args(words).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(if pipe_errors { Stdio::piped() } else { Stdio::inherit() });
        if let Some(uid) = uid {
            // Root's supplementary groups are given up by the library when it changes the uid.
            command.uid(uid).gid(uid);
        }
        let numbers: Vec<RawFd> = descriptors.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
        let parent = rustix::process::getpid();
        #[expect(unsafe_code, reason = "pre_exec runs between fork and exec")]
        // SAFETY: the closure makes system calls only (async-signal-safe), and allocates nothing.
        unsafe {
            command.pre_exec(move || in_child(&numbers, parent));
        }
        let child = command.spawn();
        drop(descriptors);
        child
    }
}

fn in_child(numbers: &[RawFd], parent: rustix::process::Pid) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::other("whoever started this is gone"));
    }
    crate::process::close_the_rest()?;
    // Two steps, since a number may be another descriptor's target.
    for (index, number) in numbers.iter().enumerate() {
        duplicate(*number, ASIDE + offset(index))?;
    }
    for index in 0..numbers.len() {
        duplicate(ASIDE + offset(index), FIRST_DESCRIPTOR + offset(index))?;
        close(ASIDE + offset(index));
    }
    Ok(())
}

fn offset(index: usize) -> RawFd {
    RawFd::try_from(index).unwrap_or(RawFd::MAX)
}

#[expect(unsafe_code, reason = "descriptors are numbers here: their owners are in the parent")]
fn duplicate(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: works on this child's table of descriptors only, touches no memory.
    if unsafe { libc::dup2(from, to) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[expect(unsafe_code, reason = "descriptors are numbers here: their owners are in the parent")]
fn close(number: RawFd) {
    // SAFETY: the number was made by `duplicate` in this child and belongs to nobody else.
    unsafe {
        libc::close(number);
    }
}
