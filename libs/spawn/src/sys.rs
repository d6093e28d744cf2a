//! System calls that nobody wraps safely. Nothing here allocates or takes a lock: a forked child may call it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// The highest signal number of Linux.
const SIGNAL_MAX: libc::c_int = 64;

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 {
        Ok(result)
    } else {
        // The C library's errno is a small positive number; anything else would be its bug.
        let number = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Err(Errno::from_raw_os_error(number))
    }
}

/// Gives each signal its default action and unblocks all.
pub(crate) fn default_signals() {
    for signal in 1..=SIGNAL_MAX {
        #[expect(unsafe_code, reason = "rustix leaves signal handlers to the C library")]
        // SAFETY: the default action has no handler that could be unsound. Numbers that the C library
        // keeps to itself, SIGKILL and SIGSTOP are refused, and already have their default.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    #[expect(unsafe_code, reason = "rustix leaves the signal mask to the C library")]
    // SAFETY: all zeroes is a valid `sigset_t`: a plain bit set.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "rustix leaves the signal mask to the C library")]
    // SAFETY: `none` lives through the call, and a null pointer asks for no answer.
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Marks each descriptor from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "rustix has no close_range")]
    // SAFETY: with this flag the call closes nothing, so no descriptor that somebody owns goes away.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(result).map(|_| ())
}
