//! What is in one directory.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, OFlags, RawDir};
use rustix::io::Errno;

use super::{Stat, Tree, TreeError};
use crate::TreePath;

/// Room for some 800 short names a system call.
const BUFFER_BYTES: usize = 32 * 1024;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name: raw bytes.
    pub name: Vec<u8>,
    /// What it is.
    pub stat: Stat,
}

impl Tree {
    /// What is in the directory at `path`, sorted by raw bytes.
    ///
    /// # Errors
    /// [`TreeError::TooMany`] when there are more than `most` names.
    pub fn list(&self, path: &TreePath, most: usize) -> Result<Vec<Listed>, TreeError> {
        let directory = self.open_directory(path, OFlags::RDONLY)?;
        let mut listed = Vec::new();
        for name in names(&directory, most)? {
            match rustix::fs::statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(raw) => listed.push(Listed {
                    name,
                    stat: Stat::from_raw(&raw),
                }),
                // Gone since its name was read.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(listed)
    }
}

/// The names in an opened directory, sorted, without `.` and `..`.
pub(super) fn names(directory: impl AsFd, most: usize) -> Result<Vec<Vec<u8>>, TreeError> {
    let mut names = some_names(directory, most.saturating_add(1))?;
    if names.len() > most {
        return Err(TreeError::TooMany);
    }
    names.sort_unstable();
    Ok(names)
}

/// At most `most` names of an opened directory, in the file system's order.
pub(super) fn some_names(directory: impl AsFd, most: usize) -> Result<Vec<Vec<u8>>, TreeError> {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while names.len() < most {
        let Some(entry) = entries.next() else { break };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
