//! Takes over descriptors that a daemon was started with.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// The descriptor with this number, from now on closed by exec. Each number may be taken once, at the very start
/// of a process, before anything else could own it.
///
/// # Errors
/// When the process was started without it.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "a number that was inherited has no owner yet")]
    // SAFETY: F_GETFD works on the number only. The caller's contract makes us its first owner.
    let descriptor = unsafe {
        if libc::fcntl(number, libc::F_GETFD) < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(number)
    };
    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}
