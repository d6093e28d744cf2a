//! Makes a sandbox and becomes its first process.
//!
//! [`become_first_process`] is called by a process that was started for nothing else, already under the uid that
//! the sandbox has on the machine. It forks once: the child is process 1 of the new namespaces and goes on as the
//! runner, the parent waits for it and is what the machine sees of the sandbox. The runner is not executed anew:
//! this process began for this sandbox alone and has nothing to forget, and an execution would take as long as all
//! of the set-up. What the first process has:
//!
//! | | |
//! |---|---|
//! | namespaces | user, mount, pid, network, ipc, uts, cgroup, all new |
//! | uid and gid | 1000 inside, mapped to the one outside; no other is mapped |
//! | supplementary groups | none where root started us; an ordinary user cannot give up its own |
//! | capabilities | none in any set, none to be gained; no new privileges |
//! | system calls | the allow-list of the module `filter` |
//! | descriptors | 0, 1 and 2 on /dev/null, 3 is the socket to the keeper |
//! | environment | empty, as its parent's |
//! | session, keyring | new, empty; umask 022, default signals |
//! | file system | the module `mounts` |

use std::ffi::CStr;
use std::fs;
use std::io;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, WaitIdStatus, getpid};

use crate::control::Control;
use crate::filter::Filter;
pub use crate::spec::Spec;
use crate::{capability, limits, mounts, network, signals};

/// The agent's uid and gid inside.
const AGENT: u32 = 1000;
/// The namespaces of a sandbox beside that of its mounts.
const NAMESPACES: [(Control, libc::c_int); 6] = [
    (Control::UserNamespace, libc::CLONE_NEWUSER),
    (Control::ProcessNamespace, libc::CLONE_NEWPID),
    (Control::NetworkNamespace, libc::CLONE_NEWNET),
    (Control::IpcNamespace, libc::CLONE_NEWIPC),
    (Control::NamesNamespace, libc::CLONE_NEWUTS),
    (Control::GroupNamespace, libc::CLONE_NEWCGROUP),
];
/// The socket to the keeper, before and after.
const SOCKET: libc::c_int = 3;
/// What the first process is called where its parent's command line says nothing about it.
const NAME: &CStr = c"runner";

/// The uid and gid inside.
pub(crate) fn inside() -> u32 {
    if Control::UidInside.applies() {
        AGENT
    } else {
        0
    }
}

/// Why a sandbox could not be made: a step, and what the kernel said.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct SpawnError {
    /// The step.
    pub what: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// Makes the sandbox, in which `run` is what the first process does; its answer is the exit code. Descriptor 3 must
/// be the socket to the keeper, and is `run`'s. Returns in two processes: in the first one when `run` has returned,
/// in its parent when the first one has ended, with the same exit code.
///
/// # Errors
/// The step that the kernel refused; then there is no sandbox.
pub fn become_first_process(spec: &Spec, run: impl FnOnce() -> u8) -> Result<u8, SpawnError> {
    let failed = |what: &'static str| move |source: io::Error| SpawnError { what, source };
    hide_from_others().map_err(failed("hide from ptrace"))?;
    let filter =
        Filter::compile(spec.address_space.is_some()).map_err(failed("compile the filter"))?;
    capability::fresh_keyring().map_err(failed("leave the session keyring"))?;
    namespaces()?;
    match fork().map_err(failed("fork"))? {
        Some(child) => wait_for(child).map_err(failed("wait for the first process")),
        None => first_process(spec, &filter).map(|()| run()),
    }
}

/// New namespaces of every kind, in which we are uid 1000 and nobody else exists.
fn namespaces() -> Result<(), SpawnError> {
    let failed = |what: &'static str| move |source: io::Error| SpawnError { what, source };
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let flags = NAMESPACES
        .iter()
        .filter(|(control, _)| control.applies())
        .fold(libc::CLONE_NEWNS, |flags, (_, flag)| flags | flag);
    #[expect(
        unsafe_code,
        reason = "no safe binding of unshare with a user namespace"
    )]
    // SAFETY: this process has one thread and shares no memory; its file descriptors are not affected.
    let done = unsafe { libc::unshare(flags) };
    if done != 0 {
        return Err(failed(
            "make namespaces (user namespaces must be allowed for this user)",
        )(io::Error::last_os_error()));
    }
    if Control::UserNamespace.applies() {
        map_ids(uid, gid)?;
    }
    if Control::NamesNamespace.applies() {
        rustix::system::sethostname(b"sandbox")
            .and_then(|()| rustix::system::setdomainname(b"(none)"))
            .map_err(|error| failed("set the host's names")(error.into()))?;
    }
    Ok(())
}

/// Makes us [`inside`] in our new user namespace, who are `uid` and `gid` outside.
fn map_ids(uid: u32, gid: u32) -> Result<(), SpawnError> {
    let failed = |what: &'static str| move |source: io::Error| SpawnError { what, source };
    let inside = inside();
    // A kernel may have dropped the dumpable flag's owner with the credentials: these files stay ours.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(|error| failed("own our /proc")(error.into()))?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{inside} {uid} 1")),
        ("/proc/self/gid_map", format!("{inside} {gid} 1")),
    ] {
        fs::write(file, text).map_err(failed("map our own uid"))?;
    }
    hide_from_others().map_err(failed("hide from ptrace"))
}

/// Shows this process's memory and descriptors to nobody.
fn hide_from_others() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if Control::HiddenRunner.applies() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// What the child does before it is the runner.
fn first_process(spec: &Spec, filter: &Filter) -> Result<(), SpawnError> {
    let failed = |what: &'static str| move |source: io::Error| SpawnError { what, source };
    // Errors are heard until the end, though descriptor 2 leads nowhere before that.
    let heard = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), SOCKET + 1);
    let prepared = || -> Result<(), SpawnError> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| failed("die with our parent")(error.into()))?;
        if !getpid().is_init() && Control::ProcessNamespace.applies() {
            return Err(failed("be the first process")(io::Error::other(
                "another process is",
            )));
        }
        rustix::process::setsid().map_err(|error| failed("start a session")(error.into()))?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        signals::default();
        signals::ignore_closed_pipes();
        rustix::thread::set_name(NAME).map_err(|error| failed("take a name")(error.into()))?;
        network::loopback_up().map_err(failed("bring loopback up"))?;
        mounts::enter(spec)?;
        limits::apply(spec).map_err(failed("set limits"))?;
        capability::drop_all().map_err(failed("give up privileges"))?;
        silence().map_err(failed("close the descriptors"))?;
        filter.apply().map_err(failed("apply the filter"))
    };
    if let Err(error) = prepared() {
        // Unheard, the error is still seen: the sandbox ends.
        let _unheard = heard.map(|heard| rustix::stdio::dup2_stderr(&heard));
        return Err(error);
    }
    drop(heard);
    crate::process::close_from(SOCKET + 1)
        .map_err(|error| failed("close the descriptors")(error.into()))
}

/// The first three descriptors lead nowhere.
fn silence() -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    #[expect(unsafe_code, reason = "no safe binding of fork")]
    // SAFETY: this process has one thread, so the child may do whatever we may.
    let number = unsafe { libc::fork() };
    match number {
        0 => Ok(None),
        number if number > 0 => Ok(Pid::from_raw(number)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn wait_for(child: Pid) -> io::Result<u8> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    // The socket belongs to the first process alone: its end must be seen when that one ends.
    #[expect(
        unsafe_code,
        reason = "descriptor 3 was given to this process by number"
    )]
    // SAFETY: nobody else in this process uses the descriptor.
    unsafe {
        libc::close(SOCKET);
    }
    loop {
        match waitid(WaitId::Pid(child), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(code_of(&status)),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn code_of(status: &WaitIdStatus) -> u8 {
    let code = status
        .exit_status()
        .unwrap_or(128 + status.terminating_signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
