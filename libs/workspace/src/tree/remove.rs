//! Removing what is at a path, and everything below it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::list::some_names;
use super::{Tree, TreeError, beneath};
use crate::{DEPTH_MAX, TreePath};

/// Names taken from a directory at once, so that one with millions of them needs no memory.
const BATCH: usize = 4096;

impl Tree {
    /// Removes a file, link, special file or empty directory; with `recursive` everything below it too. Links
    /// are removed, never followed.
    ///
    /// # Errors
    /// [`TreeError::NotEmpty`] without `recursive`, [`TreeError::TooDeep`] past [`DEPTH_MAX`] levels; what was
    /// removed until then stays removed.
    pub fn remove(&self, path: &TreePath, recursive: bool) -> Result<(), TreeError> {
        let (parent, name) = self.parent_of(path)?;
        remove_at(parent.as_fd(), name, recursive.then_some(DEPTH_MAX))
    }

    /// Removes everything in the directory at `path`, which itself stays.
    ///
    /// # Errors
    /// As [`Tree::remove`].
    pub fn clear(&self, path: &TreePath) -> Result<(), TreeError> {
        let directory = self.open_directory(path, OFlags::RDONLY)?;
        empty(directory.as_fd(), DEPTH_MAX)
    }
}

/// Removes `name`, descending at most `depth` levels; `None` descends not at all.
fn remove_at(parent: BorrowedFd<'_>, name: &[u8], depth: Option<usize>) -> Result<(), TreeError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        // Linux answers ISDIR for a directory; PERM is what POSIX says, and what some file systems do.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let left = match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => depth.ok_or(TreeError::NotEmpty)?,
        Err(errno) => return Err(errno.into()),
    };
    let below = left.checked_sub(1).ok_or(TreeError::TooDeep)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = beneath(parent, name, flags, Mode::empty())?;
    empty(directory.as_fd(), below)?;
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn empty(directory: BorrowedFd<'_>, depth: usize) -> Result<(), TreeError> {
    loop {
        // A descriptor of its own for each round, since reading a directory moves its position.
        let reading = beneath(
            directory,
            b".",
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )?;
        let batch = some_names(reading.as_fd(), BATCH)?;
        if batch.is_empty() {
            return Ok(());
        }
        for name in batch {
            match remove_at(directory, &name, Some(depth)) {
                Ok(()) | Err(TreeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
