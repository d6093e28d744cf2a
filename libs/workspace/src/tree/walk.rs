//! Everything below a directory, parents first, in an order that does not depend on the file system.

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::create::is_partial;
use super::list::names;
use super::{Kind, Stat, Tree, TreeError};
use crate::TreePath;

/// How much a walk visits at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkLimits {
    /// Entries, those included that are skipped.
    pub entries: u64,
}

/// What a walk comes across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// A file, directory or symbolic link.
    Entry {
        /// Where.
        path: TreePath,
        /// What.
        stat: Stat,
        /// The target of a symbolic link; empty for everything else.
        link_target: Vec<u8>,
    },
    /// Something that cannot be stored.
    Skipped {
        /// Where; for a path that cannot be named, the directory that holds it.
        path: TreePath,
        /// Why.
        why: Skip,
    },
}

/// Why an entry was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// It is a socket, fifo or device.
    Special,
    /// It is a directory that may not be read or entered, or lies on another file system. The directory was
    /// visited; what is in it is unknown, which is not the same as gone.
    Unreadable,
    /// Its path would be longer or deeper than one may be.
    Unnameable,
    /// Its name is one of those under which files are written until they are complete.
    Partial,
}

/// What a walk came across, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walked {
    /// Entries that were visited.
    pub entries: u64,
    /// Sockets, fifos and devices.
    pub special: u64,
    /// Directories that could not be read.
    pub unreadable: u64,
    /// Paths too long or too deep.
    pub unnameable: u64,
    /// Names of unfinished files.
    pub partial: u64,
}

impl Tree {
    /// Visits everything below the directory at `path`, which itself is not visited: parents before what is in
    /// them, names of one directory sorted by raw bytes. What disappears meanwhile is left out.
    ///
    /// NB: this order is by directory; it differs from that of whole paths as raw bytes, in which manifests are
    /// sorted (`a`, `a-b`, `a/c`).
    ///
    /// # Errors
    /// [`TreeError::TooMany`] past the limit, or whatever `visit` answers.
    pub fn walk<E: From<TreeError>>(
        &self,
        path: &TreePath,
        limits: WalkLimits,
        mut visit: impl FnMut(Visit) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let mut walked = Walked::default();
        let mut left = limits.entries;
        let mut pending = vec![path.clone()];
        while let Some(directory) = pending.pop() {
            let read = self.read_directory(&directory, left);
            let found = match read {
                Ok(found) => found,
                Err(TreeError::Denied | TreeError::Mount) if directory != *path => {
                    walked.unreadable += 1;
                    visit(Visit::Skipped {
                        path: directory,
                        why: Skip::Unreadable,
                    })?;
                    continue;
                }
                // It was replaced or removed since it was listed.
                Err(TreeError::NotFound | TreeError::NotDirectory | TreeError::Link)
                    if directory != *path =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut below = Vec::new();
            for Found {
                name,
                stat,
                link_target,
            } in found
            {
                left = left.checked_sub(1).ok_or(TreeError::TooMany)?;
                let Ok(path) = directory.join(&name) else {
                    walked.unnameable += 1;
                    visit(Visit::Skipped {
                        path: directory.clone(),
                        why: Skip::Unnameable,
                    })?;
                    continue;
                };
                if is_partial(&name) {
                    walked.partial += 1;
                    visit(Visit::Skipped {
                        path,
                        why: Skip::Partial,
                    })?;
                    continue;
                }
                match stat.kind {
                    Kind::Special => {
                        walked.special += 1;
                        visit(Visit::Skipped {
                            path,
                            why: Skip::Special,
                        })?;
                        continue;
                    }
                    Kind::Directory => below.push(path.clone()),
                    Kind::File | Kind::Symlink => {}
                }
                walked.entries += 1;
                visit(Visit::Entry {
                    path,
                    stat,
                    link_target,
                })?;
            }
            // Taken from the end, so that the first name comes first.
            pending.extend(below.into_iter().rev());
        }
        Ok(walked)
    }

    fn read_directory(&self, path: &TreePath, left: u64) -> Result<Vec<Found>, TreeError> {
        let directory = self.open_directory(path, OFlags::RDONLY)?;
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for name in names(&directory, most)? {
            let stat =
                match rustix::fs::statat(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(raw) => Stat::from_raw(&raw),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno.into()),
                };
            let link_target = if stat.kind == Kind::Symlink {
                match rustix::fs::readlinkat(&directory, name.as_slice(), Vec::new()) {
                    Ok(target) => target.into_bytes(),
                    // It was replaced since; the next walk sees by what.
                    Err(Errno::NOENT | Errno::INVAL) => continue,
                    Err(errno) => return Err(errno.into()),
                }
            } else {
                Vec::new()
            };
            found.push(Found {
                name,
                stat,
                link_target,
            });
        }
        Ok(found)
    }
}

struct Found {
    name: Vec<u8>,
    stat: Stat,
    link_target: Vec<u8>,
}
