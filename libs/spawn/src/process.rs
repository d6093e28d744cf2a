//! Starts a process of the agent: its own session, the signals of a fresh process, nothing inherited, and fewer
//! descriptors than the runner may have.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process;

use rustix::process::Pid;

use crate::control::Control;

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
        let mut command = process::Command::new(program);
        let mut arguments = argv.into_iter();
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).current_dir(cwd);
        if Control::EmptyEnvironment.applies() {
            command.env_clear();
        }
        for entry in environment {
            if let Some((name, value)) = entry.split_once('=') {
                command.env(OsString::from(name), OsString::from(value));
            }
        }
        let terminal = match stdio {
            Stdio::Pipes {
                stdin,
                stdout,
                stderr,
            } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
                None
            }
            Stdio::Terminal(terminal) => {
                let raw = terminal.as_raw_fd();
                let again = || File::from(terminal.try_clone()?).try_clone();
                command.stdin(again()?).stdout(again()?).stderr(again()?);
                // The descriptor lives until the process is started; the child uses the same number.
                Some((raw, terminal))
            }
        };
        let controlling = terminal.as_ref().map(|(raw, _)| *raw);
        #[expect(unsafe_code, reason = "pre_exec runs between fork and exec")]
        // SAFETY: the closure makes system calls only (async-signal-safe), and allocates nothing.
        unsafe {
            command.pre_exec(move || in_child(controlling.is_some()));
        }
        let child = command.spawn()?;
        drop(terminal);
        i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the kernel gave no number"))
    }
}

/// What the child does before it becomes the program.
fn in_child(terminal: bool) -> io::Result<()> {
    crate::limits::of_the_agent()?;
    rustix::process::setsid()?;
    if terminal {
        // Descriptor 0 is the terminal by now.
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    close_the_rest()
}

/// Marks every descriptor behind the first three to be closed by exec: whatever some library forgot.
pub(crate) fn close_the_rest() -> io::Result<()> {
    if !Control::ClosedDescriptors.applies() {
        return Ok(());
    }
    #[expect(unsafe_code, reason = "no safe binding of close_range")]
    // SAFETY: marks descriptors, touches no memory. A later use of one in this process is unaffected.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
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
