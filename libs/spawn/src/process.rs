//! Starts a process of the agent: its own session, the signals of a fresh process, nothing inherited, and fewer
//! descriptors than the runner may have.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::control::{self, Control};
use crate::start::{self, Program, Start};

/// How long a process may take to become its program. What runs beside it in the sandbox can stop it before that,
/// and would stop whoever starts it, too.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// A process to start.
#[derive(Debug)]
pub struct Command {
    /// The file to execute.
    pub program: PathBuf,
    /// Its arguments, the first of which is what it is called.
    pub argv: Vec<String>,
    /// All of its environment, as `NAME=value`.
    pub environment: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its first three descriptors; it has no others.
    pub stdio: Stdio,
}

/// Where a process reads and writes.
#[derive(Debug)]
pub enum Stdio {
    /// Three pipes, or whatever is in their place.
    Pipes {
        /// Its input.
        stdin: OwnedFd,
        /// Its output.
        stdout: OwnedFd,
        /// Its errors.
        stderr: OwnedFd,
    },
    /// A terminal, which becomes its controlling one.
    Terminal(OwnedFd),
}

impl Command {
    /// Starts the process in a session and group of its own. The caller consumes its end by waiting.
    ///
    /// # Errors
    /// What the kernel says about the file, the directory or its limits; then nothing runs.
    pub fn start(self) -> io::Result<Pid> {
        let Self {
            program,
            argv,
            environment,
            cwd,
            stdio,
        } = self;
        let words = |words: Vec<String>| -> io::Result<Vec<CString>> {
            words
                .iter()
                .map(|text| start::word(text.as_ref()))
                .collect()
        };
        let mut variables = words(environment)?;
        if !Control::EmptyEnvironment.applies() {
            variables.extend(control::environment());
        }
        let (descriptors, is_terminal) = match &stdio {
            Stdio::Pipes {
                stdin,
                stdout,
                stderr,
            } => ([stdin, stdout, stderr], false),
            Stdio::Terminal(terminal) => ([terminal; 3], true),
        };
        let start = Start {
            program: Program::Path(start::word(program.as_os_str())?),
            argv: words(argv)?,
            environment: variables,
            cwd: Some(start::word(cwd.as_os_str())?),
            stdio: descriptors.map(|descriptor| descriptor.as_raw_fd()),
            patience: Some(PATIENCE),
        };
        start.run(&mut || in_child(is_terminal))
    }
}

/// What the child does before it becomes the program.
fn in_child(terminal: bool) -> Result<(), Errno> {
    crate::limits::of_the_agent()?;
    rustix::process::setsid()?;
    if terminal {
        // Descriptor 0 is the terminal by now.
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    close_the_rest()
}

/// Marks every descriptor behind the first three to be closed by exec: whatever some library forgot.
pub(crate) fn close_the_rest() -> Result<(), Errno> {
    close_range(3, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from this number on. Nobody in this process may own one of them.
pub(crate) fn close_from(first: libc::c_int) -> Result<(), Errno> {
    close_range(first, 0)
}

fn close_range(first: libc::c_int, flags: libc::c_uint) -> Result<(), Errno> {
    if !Control::ClosedDescriptors.applies() {
        return Ok(());
    }
    #[expect(unsafe_code, reason = "no safe binding of close_range")]
    // SAFETY: works on descriptors, touches no memory. Marking one changes nothing in this process; whoever has them
    // closed vouches that they have no owner.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    if done == 0 {
        Ok(())
    } else {
        Err(start::last_error())
    }
}

/// Kills every process that we may, but ourselves: in a namespace of its own, all of the sandbox.
///
/// Must only be called by the first process of such a namespace.
pub fn kill_all_others() {
    if !rustix::process::getpid().is_init() {
        return;
    }
    #[expect(unsafe_code, reason = "no safe binding of kill with -1")]
    // SAFETY: sends signals, touches no memory. That nobody is left to kill is as good.
    unsafe {
        libc::kill(-1, libc::SIGKILL);
    }
}
