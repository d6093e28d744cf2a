//! A changed file of the workspace, open only while it is read.
//!
//! While the store is waited for the file is closed, so that one that is removed meanwhile gives its space back
//! at once; afterwards it is opened again, and goes on only if it is the same file.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use crate::keeper::runner::{Runner, RunnerError};
use crate::protocol::Why;

/// One file, by its path.
#[derive(Debug)]
pub(super) struct Source<'a> {
    runner: &'a Runner,
    path: &'a [u8],
    hold: Hold,
    /// Which file it is, once it was opened.
    inode: Option<u64>,
    file: Option<File>,
}

/// What happens to the descriptor while the store is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is closed.
    WhileRead,
    /// It stays: a file that is replaced faster than it can be stored would never be stored otherwise.
    ToTheEnd,
}

/// What came of opening.
#[derive(Debug)]
pub(super) enum Opened<T> {
    /// The file.
    File(T),
    /// It is gone, or another is in its place.
    Gone,
    /// It is there, and not for us to read.
    Closed,
}

impl<'a> Source<'a> {
    pub(super) fn new(runner: &'a Runner, path: &'a [u8], hold: Hold) -> Self {
        Self {
            runner,
            path,
            hold,
            inode: None,
            file: None,
        }
    }

    /// The file.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(super) async fn open(&mut self) -> Result<Opened<&File>, RunnerError> {
        if self.file.is_none() {
            match found(self.runner.open(self.path.to_vec()).await)? {
                Opened::File(opened) => {
                    let inode = opened.metadata().ok().map(|facts| facts.ino());
                    if self.inode.is_none() || self.inode == inode {
                        self.inode = inode;
                        self.file = Some(opened);
                    }
                }
                Opened::Gone => {}
                Opened::Closed => return Ok(Opened::Closed),
            }
        }
        Ok(self.file.as_ref().map_or(Opened::Gone, Opened::File))
    }

    /// Notes that the store is waited for now.
    pub(super) fn rest(&mut self) {
        match self.hold {
            Hold::WhileRead => self.file = None,
            Hold::ToTheEnd => {}
        }
    }
}

/// What the runner found at a path where a walk saw something to store.
pub(super) fn found<T>(found: Result<T, RunnerError>) -> Result<Opened<T>, RunnerError> {
    match found {
        Ok(found) => Ok(Opened::File(found)),
        // It was removed or replaced since; the next look sees by what.
        Err(RunnerError::Failed(
            Why::NotFound | Why::NotDirectory | Why::IsDirectory | Why::Link | Why::Special,
        )) => Ok(Opened::Gone),
        Err(RunnerError::Failed(Why::Denied | Why::Mount)) => Ok(Opened::Closed),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_may_not_be_read_is_told_from_what_is_gone() {
        let of = |why| found::<()>(Err(RunnerError::Failed(why)));
        for why in [Why::Denied, Why::Mount] {
            assert!(matches!(of(why), Ok(Opened::Closed)), "{why:?}");
        }
        for why in [Why::NotFound, Why::Special, Why::IsDirectory] {
            assert!(matches!(of(why), Ok(Opened::Gone)), "{why:?}");
        }
        assert!(of(Why::Io).is_err(), "trouble is neither");
    }
}
