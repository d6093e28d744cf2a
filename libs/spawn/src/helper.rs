//! Starts the daemons of a sandbox from outside of it: with given descriptors and nothing else, under a uid of
//! their own where we are root, and so that they die with the thread that started them.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::control;
use crate::start::{self, Start};

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
pub struct Program {
    file: OwnedFd,
    /// What daemons read from and write to.
    null: OwnedFd,
}

impl Program {
    /// Opens a binary.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            file: rustix::io::fcntl_dupfd_cloexec(&opened, PROGRAM)?,
            null,
        })
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
        let (errors, their_errors) = if pipe_errors {
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            (Some(File::from(ours)), theirs)
        } else {
            (
                None,
                rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), FIRST_DESCRIPTOR)?,
            )
        };
        let null = program.null.as_raw_fd();
        let argv = argv.iter().map(|text| start::word(text));
        let start = Start {
            program: start::Program::Descriptor(program.file.as_raw_fd()),
            argv: argv.collect::<io::Result<_>>()?,
            environment: control::environment(),
            cwd: None,
            stdio: [null, null, their_errors.as_raw_fd()],
            // Nothing that runs under the same uid can reach it.
            patience: None,
        };
        let mut numbers = [-1; DESCRIPTORS_MAX];
        for (number, descriptor) in numbers.iter_mut().zip(&descriptors) {
            *number = descriptor.as_raw_fd();
        }
        let group = group.as_ref().map(|group| group.as_raw_fd());
        let parent = rustix::process::getpid();
        let pid = start.run(&mut || in_child(numbers, uid, group, parent))?;
        Ok(Child {
            pid,
            errors,
            has_ended: false,
        })
    }
}

/// A daemon that was started. Not consumed when this is dropped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// Where its errors can be read, if they come to us.
    pub errors: Option<File>,
    has_ended: bool,
}

impl Child {
    /// Its number, which is nobody else's until [`Self::has_ended`] was true.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(&self) -> io::Result<()> {
        if self.has_ended {
            return Err(Errno::SRCH.into());
        }
        Ok(kill_process(self.pid, Signal::KILL)?)
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// When the kernel does not know it as our child.
    pub fn end(mut self) -> io::Result<()> {
        // Whoever is gone is only consumed.
        let _gone = self.kill();
        while !self.has_ended {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(ended) => self.has_ended = ended.is_some(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether it has ended; then it is consumed. Does not wait.
    ///
    /// # Errors
    /// When the kernel does not know it as our child.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        if !self.has_ended {
            self.has_ended = waitpid(Some(self.pid), WaitOptions::NOHANG)?.is_some();
        }
        Ok(self.has_ended)
    }
}

fn in_child(
    mut numbers: [RawFd; DESCRIPTORS_MAX],
    uid: Option<u32>,
    group: Option<RawFd>,
    parent: Pid,
) -> Result<(), Errno> {
    if let Some(uid) = uid {
        become_user(uid)?;
        if rustix::process::dumpable_behavior()? == DumpableBehavior::Dumpable {
            return Err(Errno::PERM);
        }
    }
    if let Some(group) = group {
        join(group)?;
    }
    // Less would let agents of the same user stop what it sends, see the module `limits`.
    crate::limits::all_descriptors()?;
    rustix::process::setsid()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(Errno::SRCH);
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

/// Root's supplementary groups are given up, too. By the kernel's own calls: those of the C library change all
/// threads that it knows, and it would take the parent's for this child's.
///
/// With the uid the kernel sets the dumpable flag of the memory, which is the parent's too, to `fs.suid_dumpable`:
/// nobody of that uid may trace this child or read its memory before it is the program, and a mesh of root leaves no
/// core dump from then on. At 1, a value for debugging, there would be no such protection; so nothing runs.
fn become_user(uid: u32) -> Result<(), Errno> {
    let nobody: *const libc::gid_t = std::ptr::null();
    for answer in [
        #[expect(unsafe_code, reason = "no safe binding for one thread")]
        // SAFETY: with a count of zero the pointer is not read.
        unsafe {
            libc::syscall(libc::SYS_setgroups, 0, nobody)
        },
        #[expect(unsafe_code, reason = "no safe binding for one thread")]
        // SAFETY: takes numbers only.
        unsafe {
            libc::syscall(libc::SYS_setresgid, uid, uid, uid)
        },
        #[expect(unsafe_code, reason = "no safe binding for one thread")]
        // SAFETY: takes numbers only.
        unsafe {
            libc::syscall(libc::SYS_setresuid, uid, uid, uid)
        },
    ] {
        if answer != 0 {
            return Err(start::last_error());
        }
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "descriptors are numbers here: their owners are in the parent"
)]
fn join(group: RawFd) -> Result<(), Errno> {
    // SAFETY: writes one static byte to a descriptor that the parent keeps open until after exec.
    let written = unsafe { libc::write(group, b"0".as_ptr().cast(), 1) };
    if written == 1 {
        Ok(())
    } else {
        Err(start::last_error())
    }
}

#[expect(
    unsafe_code,
    reason = "descriptors are numbers here: their owners are in the parent"
)]
fn aside(number: RawFd) -> Result<RawFd, Errno> {
    // SAFETY: works on this child's table of descriptors only, and takes a number that is free.
    start::check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, ASIDE) })
}

#[expect(
    unsafe_code,
    reason = "descriptors are numbers here: their owners are in the parent"
)]
fn place(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: works on this child's table of descriptors only, touches no memory.
    start::check(unsafe { libc::dup2(from, to) }).map(drop)
}
