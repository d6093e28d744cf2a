//! One packet with descriptors, over a SOCK_SEQPACKET socket. Bounded on both sides.
//!
//! The calls are plain system calls on a borrowed descriptor, so blocking code uses them as they are and
//! `tokio::io::unix::AsyncFd` by its `async_io` or `try_io`: on a socket that does not block they answer
//! `WouldBlock`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// The largest packet. What is larger goes as a descriptor of a pipe.
pub const PACKET_MAX_BYTES: usize = 64 * 1024;
/// The most descriptors of one packet: standard streams, a terminal and some to spare.
pub const DESCRIPTORS_MAX: usize = 8;
const SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX));

/// One packet.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The descriptors that came with it, closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Two ends, closed on exec and blocking.
///
/// # Errors
/// What the kernel says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one packet, whole or not at all.
///
/// # Errors
/// `InvalidInput` when it is empty (that would read as the end) or over a bound; else what the kernel says,
/// `WouldBlock` included.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || bytes.len() > PACKET_MAX_BYTES || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the packet is empty or over a bound",
        ));
    }
    send_once(socket, bytes, descriptors).map(drop)
}

/// Receives one packet; `None` at the end.
///
/// # Errors
/// `InvalidData` when the packet or its descriptors were cut, since a part of a packet means nothing; else
/// what the kernel says, `WouldBlock` included.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; PACKET_MAX_BYTES];
    let (read, descriptors) = receive_once(socket, &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    bytes.truncate(read);
    Ok(Some(Packet { bytes, descriptors }))
}

pub(crate) fn send_once(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    Ok(rustix::io::retry_on_intr(|| {
        sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?)
}

pub(crate) fn receive_once(
    socket: impl AsFd,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        // Nobody asks for anything else (SO_PASSCRED is off).
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the packet or its descriptors were cut",
        ));
    }
    Ok((received.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_and_descriptors_arrive_together_and_the_end_is_told() {
        let (ours, theirs) = pair().expect("a pair");
        let (mut kept, given) = UnixStream::pair().expect("streams");
        send(&ours, b"take this", &[given.as_fd()]).expect("send");
        drop((ours, given));
        let packet = receive(&theirs).expect("receive").expect("a packet");
        assert_eq!(packet.bytes, b"take this");
        let [descriptor] = <[OwnedFd; 1]>::try_from(packet.descriptors).expect("one descriptor");
        kept.write_all(b"through").expect("write");
        drop(kept);
        let mut text = String::new();
        UnixStream::from(descriptor)
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "through");
        assert!(receive(&theirs).expect("the end").is_none());
    }

    #[test]
    fn packets_that_are_empty_or_over_a_bound_are_not_sent() {
        let (ours, _theirs) = pair().expect("a pair");
        let many = [ours.as_fd(); DESCRIPTORS_MAX + 1];
        for (bytes, descriptors) in [
            (&b""[..], &[][..]),
            (&vec![0; PACKET_MAX_BYTES + 1], &[]),
            (b"x", &many[..]),
        ] {
            let refused = send(&ours, bytes, descriptors).expect_err("refused");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_packet_that_was_cut_is_refused() {
        let (ours, theirs) = pair().expect("a pair");
        send_once(&ours, &vec![1; PACKET_MAX_BYTES + 1], &[]).expect("the kernel takes it");
        assert_eq!(
            receive(&theirs).expect_err("cut").kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn the_largest_packet_passes() {
        let (ours, theirs) = pair().expect("a pair");
        send(&ours, &vec![7; PACKET_MAX_BYTES], &[]).expect("send");
        let packet = receive(&theirs).expect("receive").expect("a packet");
        assert_eq!(packet.bytes.len(), PACKET_MAX_BYTES);
    }
}
