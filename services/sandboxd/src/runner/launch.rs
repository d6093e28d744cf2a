//! Starts a process as the keeper describes it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use prost::Message as _;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use sandgate_spawn::process::{Command, Stdio};

use super::program;
use crate::protocol::{LAUNCH_MAX_BYTES, Launch, Terminal, Why};

/// A process that runs, and the keeper's ends of what it reads and writes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: Pid,
    /// Output, errors, input, in this order; or the terminal alone.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Reads the description from the memory file that came with the request.
pub(super) fn read(descriptors: Vec<OwnedFd>) -> Result<Launch, Why> {
    let [fd] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| Why::BadRequest)?;
    let mut bytes = Vec::new();
    File::from(fd)
        .take(LAUNCH_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Why::BadRequest)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LAUNCH_MAX_BYTES) {
        return Err(Why::TooLong);
    }
    Launch::decode(&*bytes).map_err(|_| Why::BadRequest)
}

/// Starts it.
pub(super) fn start(launch: &Launch) -> Result<Running, Why> {
    let Launch {
        argv,
        environment,
        cwd,
        terminal,
        stdin,
    } = launch;
    program::check_cwd(cwd)?;
    let path = environment
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or_default();
    let named = argv.first().map(String::as_str).unwrap_or_default();
    let program = program::find(named, path, cwd)?;
    let (stdio, descriptors) = match terminal {
        Some(size) => with_terminal(*size)?,
        None => with_pipes(*stdin)?,
    };
    let command = Command {
        program,
        argv: argv.clone(),
        environment: environment.clone(),
        cwd: cwd.into(),
        stdio,
    };
    let pid = command.start().map_err(|error| why(&error))?;
    Ok(Running { pid, descriptors })
}

fn with_pipes(wants_stdin: bool) -> Result<(Stdio, Vec<OwnedFd>), Why> {
    let pair = || pipe_with(PipeFlags::CLOEXEC).map_err(|_| Why::Crowded);
    let (stdout, stdout_child) = pair()?;
    let (stderr, stderr_child) = pair()?;
    let mut descriptors = vec![stdout, stderr];
    let stdin_child = if wants_stdin {
        let (stdin_child, stdin) = pair()?;
        descriptors.push(stdin);
        stdin_child
    } else {
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|_| Why::Io)?
    };
    Ok((
        Stdio::Pipes {
            stdin: stdin_child,
            stdout: stdout_child,
            stderr: stderr_child,
        },
        descriptors,
    ))
}

fn with_terminal(size: Terminal) -> Result<(Stdio, Vec<OwnedFd>), Why> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).map_err(|_| Why::NoTerminal)?;
    unlockpt(&ours).map_err(|_| Why::NoTerminal)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags).map_err(|_| Why::NoTerminal)?;
    let number = |count: u32| u16::try_from(count).map_err(|_| Why::BadRequest);
    let size = Winsize {
        ws_row: number(size.rows)?,
        ws_col: number(size.columns)?,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&theirs, size).map_err(|_| Why::NoTerminal)?;
    Ok((Stdio::Terminal(theirs), vec![ours]))
}

/// What the kernel's answer to a start means.
fn why(error: &std::io::Error) -> Why {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => Why::ProgramMissing,
        Some(Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::TXTBSY) => {
            Why::ProgramNotExecutable
        }
        Some(Errno::TOOBIG) => Why::TooLong,
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => Why::Crowded,
        Some(_) | None => Why::Io,
    }
}
