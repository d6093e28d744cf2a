//! Connects to what listens inside, on loopback and nowhere else.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::protocol::Why;

/// A connection to `port`, by IPv4 or else by IPv6. Loopback answers at once; a connection that is still being
/// made, since the listener's queue is full, is handed out as it is.
pub(super) fn dial(port: u32) -> Result<OwnedFd, Why> {
    let port = u16::try_from(port).map_err(|_| Why::BadRequest)?;
    let by_name = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ];
    for address in by_name {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = socket_with(family, SocketType::STREAM, flags, None) else {
            continue;
        };
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => return Ok(socket),
            Err(_) => {}
        }
    }
    Err(Why::Refused)
}
