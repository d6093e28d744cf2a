//! Frames over a stream of the keeper's, read and written by a thread that may block.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::protocol::{frame, frame_length, no_message};

/// The runner's end of a stream.
#[derive(Debug)]
pub(super) struct Frames(UnixStream);

impl Frames {
    /// Takes the descriptor that came with a request.
    pub(super) fn new(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let [fd] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| no_message())?;
        let stream = UnixStream::from(fd);
        stream.set_nonblocking(false)?;
        Ok(Self(stream))
    }

    /// Writes a frame; fails when the keeper has closed its end.
    pub(super) fn write(&mut self, message: &impl prost::Message) -> io::Result<()> {
        self.0.write_all(&frame(message))
    }

    /// Reads a frame; `None` at the end.
    pub(super) fn read<M: prost::Message + Default>(&mut self) -> io::Result<Option<M>> {
        let mut head = [0; 4];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut bytes = vec![0; frame_length(head)?];
        self.0.read_exact(&mut bytes)?;
        M::decode(&*bytes).map(Some).map_err(|_| no_message())
    }

    /// The stream itself, to be waited for.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.0
    }
}
