//! What keeper and runner say to each other: one bounded message a packet, descriptors beside it.
//!
//! The keeper asks, by a number of its own choice, and gets one [`Answer`] under that number; what a process
//! does later comes as [`Exited`] under the number of its launch. What does not fit a packet travels through a
//! descriptor: a launch in a sealed-off memory file, whole trees as frames of a stream.
//!
//! The keeper believes nothing of this beyond the runner's own files and processes.

mod answer;
mod frames;
mod request;
mod unsent;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use prost::Message as _;
use sandgate_session::packet::{self, PACKET_MAX_BYTES};

pub(crate) use self::answer::*;
pub(crate) use self::frames::*;
pub(crate) use self::request::*;
pub(crate) use self::unsent::{Unsent, unsent};

/// The most that a launch takes: arguments, environment and some to spare.
pub(crate) const LAUNCH_MAX_BYTES: u64 = 1024 * 1024;
/// The longest frame of a stream: a piece of a file and its surroundings.
pub(crate) const FRAME_MAX_BYTES: usize = 128 * 1024;
/// The most of a file in one frame.
pub(crate) const PIECE_MAX_BYTES: usize = 64 * 1024;
/// What the entries of one listing may take together, so that they fit a packet.
pub(crate) const LISTING_MAX_BYTES: usize = PACKET_MAX_BYTES - 8 * 1024;

/// Sends what the runner says.
///
/// # Errors
/// What the kernel says.
pub(crate) fn tell(
    socket: impl AsFd,
    event: Event,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    packet::send(
        socket,
        &FromRunner { event: Some(event) }.encode_to_vec(),
        descriptors,
    )
}

/// Receives what the keeper asks; `None` when it is gone.
///
/// # Errors
/// `InvalidData` for what is no message of the protocol, else what the kernel says.
pub(crate) fn receive_request(
    socket: impl AsFd,
) -> io::Result<Option<(u64, Request, Vec<OwnedFd>)>> {
    let Some(packet) = packet::receive(socket)? else {
        return Ok(None);
    };
    let ToRunner { id, request } = ToRunner::decode(&*packet.bytes).map_err(|_| no_message())?;
    Ok(Some((
        id,
        request.ok_or_else(no_message)?,
        packet.descriptors,
    )))
}

/// Receives what the runner says; `None` when it is gone.
///
/// # Errors
/// `InvalidData` for what is no message of the protocol, else what the kernel says, `WouldBlock` included.
pub(crate) fn receive_event(socket: impl AsFd) -> io::Result<Option<(Event, Vec<OwnedFd>)>> {
    let Some(packet) = packet::receive(socket)? else {
        return Ok(None);
    };
    let FromRunner { event } = FromRunner::decode(&*packet.bytes).map_err(|_| no_message())?;
    Ok(Some((event.ok_or_else(no_message)?, packet.descriptors)))
}

/// A frame: its length in four bytes, big end first, and its message.
pub(crate) fn frame(message: &impl prost::Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut bytes);
    bytes
}

/// How long the frame is whose first four bytes these are.
///
/// # Errors
/// `InvalidData` when it is longer than a frame may be.
pub(crate) fn frame_length(head: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > FRAME_MAX_BYTES {
        Err(no_message())
    } else {
        Ok(length)
    }
}

/// That what came is no message of the protocol.
pub(crate) fn no_message() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what came is no message between keeper and runner",
    )
}

#[cfg(test)]
mod tests;
