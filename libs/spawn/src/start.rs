//! Starts a program the way `posix_spawn` does, with steps of ours before it.
//!
//! The child runs on a stack of its own in the memory of its parent, whose thread waits until the child has become
//! the program or has ended. So nothing is copied. A fork would copy the parent's page tables while all of its
//! threads wait, and have each page copied that one of them writes afterwards: in a mesh that makes a spare
//! sandbox beside every create, that cost more than the start itself.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use crate::signals;

/// Bytes of the child's stack. It calls the kernel and a few functions of ours, each a page at the most.
const STACK_BYTES: usize = 256 * 1024;
/// What the child ends with when it cannot become the program; the reason is in memory.
const FAILED: libc::c_int = 127;
/// Who reads a file that the kernel does not know how to execute, as `execvp` has it.
const SHELL: &[u8] = b"/bin/sh";

/// What is executed.
#[derive(Debug)]
pub(crate) enum Program {
    /// The file that this descriptor, which need not be inherited, stands for.
    Descriptor(RawFd),
    /// The file of this path. One that is no program is read by the shell.
    Path(CString),
}

/// A program to start, with everything that the child needs in memory already.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) program: Program,
    pub(crate) argv: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) cwd: Option<CString>,
    /// What becomes its first three descriptors; none of them is one of the three. The caller keeps them open.
    pub(crate) stdio: [RawFd; 3],
    /// How long it may take to become the program, where others may stop it before; then it is killed.
    pub(crate) patience: Option<Timespec>,
}

/// Where the child finds everything.
struct Plan<'a> {
    program: &'a Program,
    argv: Vec<*const libc::c_char>,
    /// The arguments of the shell that reads the file.
    script: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    cwd: Option<&'a CString>,
    stdio: [RawFd; 3],
    steps: &'a mut dyn FnMut() -> Result<(), Errno>,
    failure: Option<Errno>,
}

/// A word of the kernel's, which ends with NUL.
pub(crate) fn word(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::from)
}

fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    let words = words.iter().map(|word| word.as_ptr());
    words.chain([std::ptr::null()]).collect()
}

impl Start {
    /// Starts the program. In the child, `steps` come last before it; they share the caller's memory, and must
    /// make system calls only, none of them through a function of the C library that acts on all threads.
    ///
    /// # Errors
    /// What the kernel said to the clone, a step or the execution; then nothing runs.
    pub(crate) fn run(&self, steps: &mut dyn FnMut() -> Result<(), Errno>) -> io::Result<Pid> {
        let shell = word(OsStr::from_bytes(SHELL))?;
        let mut script = pointers(&self.argv);
        if let Program::Path(path) = &self.program {
            // The shell, the file in place of what it is called, and its arguments.
            script.splice(..1.min(script.len()), [shell.as_ptr(), path.as_ptr()]);
        }
        let mut plan = Plan {
            program: &self.program,
            argv: pointers(&self.argv),
            script,
            environment: pointers(&self.environment),
            cwd: self.cwd.as_ref(),
            stdio: self.stdio,
            steps,
            failure: None,
        };
        let started = signals::without(|| clone(&mut plan, self.patience.as_ref()));
        let pid = started?;
        match plan.failure {
            None => Ok(pid),
            Some(failure) => {
                // It has ended already.
                while matches!(
                    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()),
                    Err(Errno::INTR)
                ) {}
                Err(failure.into())
            }
        }
    }
}

fn clone(plan: &mut Plan<'_>, patience: Option<&Timespec>) -> io::Result<Pid> {
    let pipe = patience
        .map(|_| pipe_with(PipeFlags::CLOEXEC))
        .transpose()?;
    let waits = if pipe.is_some() { 0 } else { libc::CLONE_VFORK };
    // 128 bits, since the kernel's interface wants stacks aligned to 16 bytes.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    #[expect(unsafe_code, reason = "no safe binding of clone")]
    // SAFETY: `top` is the end of memory that outlives the child's use of it, as does the plan: by CLONE_VFORK or
    // by `wait_for` this thread goes on only once the child has ended or executed something; at both the kernel
    // leaves the memory before it closes descriptors, by which `wait_for` is woken. Until then the child
    // writes to its stack and the plan, and to this thread's `errno`, which nobody reads meanwhile. It has its own
    // tables of descriptors and of signal actions.
    let number = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(
            in_child,
            top.cast(),
            libc::CLONE_VM | waits | libc::SIGCHLD,
            std::ptr::from_mut(plan).cast(),
        )
    };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = Pid::from_raw(number).ok_or_else(|| io::Error::other("the kernel gave no number"))?;
    if let (Some(pipe), Some(patience)) = (pipe, patience) {
        wait_for(pid, pipe, patience);
    }
    Ok(pid)
}

/// Waits until the child, which shares our memory, has become the program or has ended: either closes its end of
/// the pipe. What is called here makes system calls of its own, which leave `errno` alone.
fn wait_for(pid: Pid, (read, write): (OwnedFd, OwnedFd), patience: &Timespec) {
    drop(write);
    let mut end = [PollFd::new(&read, PollFlags::IN)];
    if poll(&mut end, Some(patience)) == Ok(0) {
        // Nobody has waited for it yet, so the number is its own.
        let _ended_meanwhile = kill_process(pid, Signal::KILL);
    }
    while poll(&mut end, None) != Ok(1) {}
}

extern "C" fn in_child(plan: *mut libc::c_void) -> libc::c_int {
    #[expect(unsafe_code, reason = "what clone hands over is a pointer")]
    // SAFETY: `clone` above passes its plan, which nobody else uses while the child runs.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    let failure = match prepare(plan) {
        Ok(()) => execute(plan),
        Err(failure) => failure,
    };
    plan.failure = Some(failure);
    FAILED
}

fn prepare(plan: &mut Plan<'_>) -> Result<(), Errno> {
    signals::default();
    for (target, descriptor) in (0..).zip(plan.stdio) {
        #[expect(unsafe_code, reason = "descriptors are numbers here")]
        // SAFETY: works on this child's table of descriptors only.
        check(unsafe { libc::dup2(descriptor, target) })?;
    }
    if let Some(cwd) = plan.cwd {
        rustix::process::chdir(cwd.as_c_str())?;
    }
    (plan.steps)()
}

/// Returns only when that failed.
fn execute(plan: &Plan<'_>) -> Errno {
    let (argv, environment) = (plan.argv.as_ptr(), plan.environment.as_ptr());
    match plan.program {
        Program::Descriptor(number) => {
            #[expect(unsafe_code, reason = "no safe binding of execveat")]
            // SAFETY: both arrays end with null and their strings with NUL; all outlive the call, which either
            // replaces the program or changes nothing.
            unsafe {
                let empty = c"".as_ptr();
                libc::syscall(
                    libc::SYS_execveat,
                    *number,
                    empty,
                    argv,
                    environment,
                    libc::AT_EMPTY_PATH,
                );
            }
            last_error()
        }
        Program::Path(path) => {
            #[expect(unsafe_code, reason = "no safe binding of execve")]
            // SAFETY: as above.
            unsafe {
                libc::execve(path.as_ptr(), argv, environment);
            }
            let failure = last_error();
            if failure == Errno::NOEXEC
                && let Some(shell) = plan.script.first()
            {
                #[expect(unsafe_code, reason = "no safe binding of execve")]
                // SAFETY: as above.
                unsafe {
                    libc::execve(*shell, plan.script.as_ptr(), environment);
                }
            }
            failure
        }
    }
}

/// The kernel's last word to this thread.
pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The answer of a function of the C library.
pub(crate) fn check(answer: libc::c_int) -> Result<libc::c_int, Errno> {
    if answer < 0 {
        Err(last_error())
    } else {
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use rustix::pipe::{PipeFlags, pipe_with};
    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    fn program(path: &str, argv: &[&str]) -> (Start, File) {
        let words = |words: &[&str]| {
            let words = words.iter().map(|text| word(OsStr::new(text)));
            words.collect::<io::Result<Vec<_>>>().expect("words")
        };
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        // Kept open by being forgotten: three numbers of a process that ends with the tests.
        let write = std::os::fd::IntoRawFd::into_raw_fd(write);
        let null = File::open("/dev/null").expect("null");
        let null = std::os::fd::IntoRawFd::into_raw_fd(null);
        let start = Start {
            program: Program::Path(word(OsStr::new(path)).expect("a path")),
            argv: words(argv),
            environment: words(&["NAME=value"]),
            cwd: Some(word(OsStr::new("/")).expect("a path")),
            stdio: [null, write, write],
            patience: None,
        };
        (start, read.into())
    }

    fn output(start: &Start, read: &mut File) -> String {
        let mut steps = || Ok(());
        let pid = start.run(&mut steps).expect("a process");
        let ended = waitpid(Some(pid), WaitOptions::empty()).expect("an end");
        assert_eq!(ended.and_then(|(_, status)| status.exit_status()), Some(0));
        let mut bytes = [0; 4096];
        let length = read.read(&mut bytes).expect("its output");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_program_has_its_arguments_environment_and_directory() {
        let script = "echo $0 $1 $NAME $(pwd)";
        let (start, mut read) = program("/bin/sh", &["sh", "-c", script, "named", "one"]);
        assert_eq!(output(&start, &mut read), "named one value /\n");
    }

    #[test]
    fn what_the_kernel_refuses_is_answered_and_leaves_no_process() {
        let (start, _read) = program("/nowhere", &["nowhere"]);
        let failed = start.run(&mut || Ok(())).expect_err("no such file");
        assert_eq!(failed.raw_os_error(), Some(libc::ENOENT));
        let failed = start.run(&mut || Err(Errno::DQUOT));
        let failed = failed.expect_err("the step");
        assert_eq!(failed.raw_os_error(), Some(libc::EDQUOT));
    }

    #[test]
    fn who_is_stopped_before_the_program_holds_nobody_up() {
        let (mut start, mut read) = program("/bin/sh", &["sh", "-c", "echo started"]);
        start.patience = Some(Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        });
        assert_eq!(output(&start, &mut read), "started\n");
        start.patience = Some(Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        });
        let (told, hears) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let stopped = start.run(&mut || kill_process(rustix::process::getpid(), Signal::STOP));
            let ended = waitpid(stopped.ok(), WaitOptions::empty()).expect("its end");
            told.send(ended.and_then(|(_, status)| status.terminating_signal()))
        });
        let signal = hears.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(signal, Ok(Some(libc::SIGKILL)));
    }

    #[test]
    fn a_file_that_is_no_program_is_read_by_the_shell() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("script");
        std::fs::write(&path, "echo $1\n").expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("its mode");
        let path = path.to_str().expect("a plain path");
        let (start, mut read) = program(path, &["ignored", "one"]);
        assert_eq!(output(&start, &mut read), "one\n");
    }

    #[test]
    fn the_child_shares_the_memory_of_its_parent_and_not_its_descriptors() {
        let (start, _read) = program("/bin/true", &["true"]);
        let mut seen = 0;
        let parent = rustix::process::getpid();
        let mine = File::open("/dev/null").expect("null");
        let pid = start
            .run(&mut || {
                seen = rustix::process::getpid().as_raw_nonzero().get();
                #[expect(unsafe_code, reason = "a descriptor of the child's own table")]
                // SAFETY: the parent's table, and so the parent's file, is another.
                unsafe {
                    libc::close(mine.as_raw_fd());
                }
                Ok(())
            })
            .expect("a process");
        assert_eq!(seen, pid.as_raw_nonzero().get());
        assert_ne!(pid, parent);
        mine.metadata().expect("still open here");
        waitpid(Some(pid), WaitOptions::empty()).expect("an end");
    }
}
