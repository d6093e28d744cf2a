//! What it means that a packet was not sent: the other side may be gone, or the kernel may have no room for it now.

use std::io;

use rustix::io::Errno;

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The other side has closed its end.
    Gone,
    /// Too many descriptors are under way between processes of one user, or memory is short; both pass.
    Crowded,
    /// Anything else; the connection stands.
    Other,
}

/// What the kernel's answer to a send means.
pub(crate) fn unsent(error: &io::Error) -> Unsent {
    match Errno::from_io_error(error) {
        Some(
            Errno::PIPE
            | Errno::CONNRESET
            | Errno::CONNREFUSED
            | Errno::NOTCONN
            | Errno::SHUTDOWN
            | Errno::BADF,
        ) => Unsent::Gone,
        Some(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => {
            Unsent::Crowded
        }
        Some(_) | None => Unsent::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use sandgate_session::packet;

    use super::*;

    #[test]
    fn who_has_no_room_is_not_gone() {
        for errno in [Errno::TOOMANYREFS, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(unsent(&errno.into()), Unsent::Crowded, "{errno:?}");
        }
        let (ours, theirs) = packet::pair().expect("a pair");
        let empty = packet::send(ours.as_fd(), b"", &[]).expect_err("nothing to send");
        assert_eq!(unsent(&empty), Unsent::Other);
        drop(theirs);
        let closed = packet::send(ours.as_fd(), b"x", &[]).expect_err("nobody is there");
        assert_eq!(unsent(&closed), Unsent::Gone);
    }
}
