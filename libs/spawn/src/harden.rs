//! What the keeper and the runner do to themselves before anything else.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Makes this process unreadable to others of its uid: no ptrace, no `/proc/<pid>/mem`, no core.
///
/// Call it first in `main` of keeper and runner. Exec makes a process readable again, so whoever started us
/// cannot do it for us.
///
/// # Errors
/// When the kernel refuses; the process must end then.
pub fn seal() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// [`seal`], for the runner: refuses to be anything but the first process of a process namespace.
///
/// # Errors
/// When this is no PID 1, or the kernel refuses; the process must end then.
pub fn enter_runner() -> io::Result<()> {
    seal()?;
    if rustix::process::getpid() == rustix::process::Pid::INIT {
        Ok(())
    } else {
        Err(io::Error::other(
            "the runner is the first process of a sandbox; it is started by a backend only",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_outside_a_sandbox_refuses() {
        assert!(enter_runner().is_err());
        assert_eq!(
            rustix::process::dumpable_behavior().expect("ask"),
            DumpableBehavior::NotDumpable
        );
    }
}
