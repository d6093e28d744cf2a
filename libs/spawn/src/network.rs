//! The network of a sandbox: loopback, up, and nothing else.

use std::io;
use std::os::fd::AsRawFd as _;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::control::Control;

/// Brings loopback up in the network namespace that we are in.
pub(crate) fn loopback_up() -> io::Result<()> {
    if !Control::NetworkNamespace.applies() {
        return Ok(());
    }
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    #[expect(unsafe_code, reason = "no safe binding of SIOCSIFFLAGS")]
    // SAFETY: all-zero is a valid `ifreq`; the name is shorter than its field and ends with NUL; the kernel
    // reads the structure and keeps no pointer to it.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        request.ifr_ifru.ifru_flags =
            libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
