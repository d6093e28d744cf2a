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

    /// The file; `None` when it is gone or another is in its place.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub(super) async fn open(&mut self) -> Result<Option<&File>, RunnerError> {
        if self.file.is_none() {
            let opened = present(self.runner.open(self.path.to_vec()).await)?;
            let inode = opened
                .as_ref()
                .and_then(|file| Some(file.metadata().ok()?.ino()));
            if self.inode.is_none() || self.inode == inode {
                self.inode = inode;
                self.file = opened;
            }
        }
        Ok(self.file.as_ref())
    }

    /// Notes that the store is waited for now.
    pub(super) fn rest(&mut self) {
        match self.hold {
            Hold::WhileRead => self.file = None,
            Hold::ToTheEnd => {}
        }
    }
}

/// What the runner found; `None` when it is gone, or of a kind or mode that cannot be stored.
pub(super) fn present<T>(found: Result<T, RunnerError>) -> Result<Option<T>, RunnerError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(RunnerError::Failed(
            Why::NotFound
            | Why::NotDirectory
            | Why::IsDirectory
            | Why::Link
            | Why::Special
            | Why::Denied
            | Why::Mount,
        )) => Ok(None),
        Err(error) => Err(error),
    }
}
