//! A process's end of a pipe or terminal, read and written without ever blocking the keeper.
//!
//! The descriptor comes from the runner, which is as trustworthy as the agent: what cannot be waited for (a
//! regular file, say) is refused here, before anybody waits for it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The most that a terminal holds for its reader; what is behind it was written after the process ended.
const TERMINAL_HOLDS_BYTES: usize = 64 * 1024;

/// One descriptor.
#[derive(Debug)]
pub(crate) struct Pipe {
    fd: AsyncFd<OwnedFd>,
    terminal: bool,
}

impl Pipe {
    /// Takes a descriptor of the runner.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) fn new(fd: OwnedFd, terminal: bool) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self {
            fd: watched(fd)?,
            terminal,
        })
    }

    /// The same descriptor once more, for the other direction of a terminal.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            fd: watched(self.fd.get_ref().try_clone()?)?,
            terminal: self.terminal,
        })
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// When the descriptor can no longer be waited for.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await?.retain_ready();
        Ok(())
    }

    /// Reads at most `most` bytes of what there is; nothing at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing at the moment; any that the kernel gives, but for the one by which a
    /// terminal says that nobody writes any more.
    pub(crate) fn try_read(&self, most: usize) -> io::Result<Vec<u8>> {
        let read = |fd: &OwnedFd| -> io::Result<Vec<u8>> {
            let mut buffer = Vec::with_capacity(most);
            loop {
                match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut buffer)) {
                    Ok(_) => return Ok(buffer),
                    Err(Errno::INTR) => {}
                    Err(Errno::IO) if self.terminal => return Ok(buffer),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        // The kernel is asked, not what was last heard of it: what a process wrote right before its end is in
        // the pipe before anybody was told. Only when there is nothing is that noted, by asking once more.
        match read(self.fd.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.fd.try_io(Interest::READABLE, read)
            }
            done => done,
        }
    }

    /// How many bytes were written and not read yet.
    pub(crate) fn waiting(&self) -> usize {
        if self.terminal {
            // What a terminal's line discipline still works on is in no count; reading finds it.
            return TERMINAL_HOLDS_BYTES;
        }
        let count = rustix::io::ioctl_fionread(&self.fd).unwrap_or(0);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Writes all of `data`, waiting for room.
    ///
    /// # Errors
    /// Broken pipe when nobody reads any more, or any other that the kernel gives.
    pub(crate) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.fd.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd, data)?)) {
                Ok(Ok(count)) => data = &data[count.min(data.len())..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_not_yet) => {}
            }
        }
        Ok(())
    }

    /// Sets the size of the terminal.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(&self.fd, size)?)
    }

    /// Whether it is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }
}

/// Lets a descriptor be waited for.
///
/// # Errors
/// When it is of a kind that cannot be waited for.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor can change while it is watched; an owned one cannot"
)]
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}
