//! Starting a process of the agent's, inside a sandbox, by the runner.
//!
//! A process starts in a session of its own, with the signals, mask and descriptors of a fresh login: nothing of
//! the runner's but its limits, filter and namespaces. The caller reaps: nothing here waits, and a
//! [`Started`] that is dropped leaves the process running.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio as Inherit};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::sys;

/// What to start.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program and its arguments. The program is looked up in the `PATH` of `env` when it has no slash.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// What its standard streams are.
    pub stdio: Stdio,
}

/// The standard streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Three pipes.
    Pipes,
    /// One terminal for all three, which controls the process's session.
    Pty {
        /// Its height in characters.
        rows: u16,
        /// Its width in characters.
        columns: u16,
    },
}

/// A process that runs, and the caller's ends of its streams. They close on exec.
#[derive(Debug)]
pub struct Started {
    /// Its id, also of its session and process group.
    pub pid: Pid,
    /// Where its input is written: a pipe, or the terminal.
    pub stdin: OwnedFd,
    /// Where its output is read: a pipe, or the terminal.
    pub stdout: OwnedFd,
    /// Where its errors are read; a terminal mixes them into the output.
    pub stderr: Option<OwnedFd>,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No program was named.
    #[error("no program is named")]
    Empty,
    /// The working directory cannot be entered.
    #[error("enter the working directory")]
    Cwd(#[source] io::Error),
    /// The program is missing, a directory, or cannot be executed; or the process limit is reached.
    #[error("start the program")]
    Program(#[source] io::Error),
    /// No terminal can be had.
    #[error("open a terminal")]
    Terminal(#[source] io::Error),
}

/// Starts a process.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub fn start(start: &Start) -> Result<Started, StartError> {
    let (program, arguments) = start.argv.split_first().ok_or(StartError::Empty)?;
    let cwd = rustix::fs::open(
        &start.cwd,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| StartError::Cwd(error.into()))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(start.env.iter().map(|(name, value)| (name, value)));
    match start.stdio {
        Stdio::Pipes => {
            command
                .stdin(Inherit::piped())
                .stdout(Inherit::piped())
                .stderr(Inherit::piped());
            let mut child = spawn(command, cwd, false)?;
            // All three were asked for just above; without one the process would be out of reach.
            let missing = || StartError::Program(io::ErrorKind::BrokenPipe.into());
            Ok(Started {
                pid: pid_of(&child)?,
                stdin: child.stdin.take().ok_or_else(missing)?.into(),
                stdout: child.stdout.take().ok_or_else(missing)?.into(),
                stderr: Some(child.stderr.take().ok_or_else(missing)?.into()),
            })
        }
        Stdio::Pty { rows, columns } => {
            let (ours, theirs) = terminal(rows, columns).map_err(StartError::Terminal)?;
            let copy = |fd: &OwnedFd| fd.try_clone().map_err(StartError::Terminal);
            command
                .stdin(copy(&theirs)?)
                .stdout(copy(&theirs)?)
                .stderr(theirs);
            let stdin = copy(&ours)?;
            let child = spawn(command, cwd, true)?;
            Ok(Started {
                pid: pid_of(&child)?,
                stdin,
                stdout: ours,
                stderr: None,
            })
        }
    }
}

/// Sets the size of the terminal whose caller's end is `terminal`.
///
/// # Errors
/// When it is no terminal.
pub fn resize(terminal: &OwnedFd, rows: u16, columns: u16) -> io::Result<()> {
    rustix::termios::tcsetwinsize(
        terminal,
        Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?;
    Ok(())
}

/// A new terminal: our end, and the process's.
fn terminal(rows: u16, columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&ours)?;
    // By descriptor, not by name: the name could mean another terminal in another mount namespace.
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    resize(&ours, rows, columns)?;
    Ok((ours, theirs))
}

fn pid_of(child: &std::process::Child) -> Result<Pid, StartError> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| StartError::Program(io::ErrorKind::InvalidData.into()))
}

fn spawn(
    mut command: Command,
    cwd: OwnedFd,
    controls_terminal: bool,
) -> Result<std::process::Child, StartError> {
    let prepare = move || {
        rustix::process::setsid()?;
        if controls_terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        rustix::process::fchdir(cwd.as_fd())?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        sys::default_signals();
        // Not closed at once: the standard library reports a failed exec through one of them.
        sys::close_on_exec_from(3)?;
        Ok(())
    };
    #[expect(unsafe_code, reason = "no safe way sets up a child before exec")]
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock, so it may run
    // between fork and exec whatever the other threads of the runner were doing.
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn().map_err(StartError::Program)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    use rustix::process::{WaitId, WaitIdOptions};

    use super::*;

    fn sh(script: &str, stdio: Stdio) -> Start {
        Start {
            argv: vec!["sh".into(), "-c".into(), script.into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/".into(),
            stdio,
        }
    }

    fn exit_status(pid: Pid) -> Option<i32> {
        let status = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
            .expect("wait for the child")
            .expect("an exit");
        status.exit_status()
    }

    fn output(started: Started) -> String {
        let mut text = Vec::new();
        drop(started.stdin);
        // A terminal whose other end is closed answers EIO after the last byte.
        let mut file = File::from(started.stdout);
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = file.read(&mut buffer) {
            text.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(exit_status(started.pid), Some(0));
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_process_has_three_descriptors_its_own_session_and_the_environment_it_was_given() {
        let leaked = File::open("/dev/null").expect("open");
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).expect("make it leak");
        let started = start(&sh(
            "ls /proc/self/fd | wc -l; ps -o sid= -p $$ | tr -d ' '; echo $$; /usr/bin/env | grep -v -e ^PWD -e ^_ -e SHLVL",
            Stdio::Pipes,
        ))
        .expect("start");
        // `ls` has the directory open as well.
        let pid = started.pid.as_raw_nonzero();
        assert_eq!(
            output(started),
            format!("4\n{pid}\n{pid}\nPATH=/usr/bin:/bin\n")
        );
    }

    #[test]
    fn a_process_ignores_no_signal_and_blocks_none() {
        let started = start(&sh("grep -E '^Sig(Blk|Ign)' /proc/self/status", Stdio::Pipes));
        let text = output(started.expect("start"));
        for line in text.lines() {
            assert!(line.ends_with("0000000000000000"), "{line}");
        }
    }

    #[test]
    fn a_terminal_has_its_size_and_controls_the_session() {
        let stdio = Stdio::Pty {
            rows: 7,
            columns: 33,
        };
        let started = start(&sh("stty size; test -t 0 && : < /dev/tty && echo controls", stdio));
        let mut started = started.expect("start");
        let mut input = File::from(started.stdin.try_clone().expect("clone"));
        input.write_all(b"\n").expect("type");
        drop(input);
        started.stdin = started.stdin.try_clone().expect("clone");
        let text = output(started);
        assert!(text.contains("7 33"), "{text}");
        assert!(text.contains("controls"), "{text}");
    }

    #[test]
    fn a_missing_program_a_directory_and_a_missing_working_directory_are_told_apart() {
        let mut missing = sh("", Stdio::Pipes);
        missing.argv = vec!["no-such-program".into()];
        assert!(
            matches!(start(&missing), Err(StartError::Program(error)) if error.kind() == io::ErrorKind::NotFound)
        );
        missing.argv = vec!["/usr".into()];
        assert!(
            matches!(start(&missing), Err(StartError::Program(error)) if error.kind() == io::ErrorKind::PermissionDenied)
        );
        missing.cwd = "/no/such/place".into();
        assert!(matches!(start(&missing), Err(StartError::Cwd(_))));
        missing.argv.clear();
        assert!(matches!(start(&missing), Err(StartError::Empty)));
    }
}
