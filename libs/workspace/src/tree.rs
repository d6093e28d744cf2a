//! Safe operations on a tree of files whose owner is hostile.
//!
//! Everything is resolved by the kernel relative to one directory descriptor, beneath it, across no mount and
//! through no symbolic link (`openat2`); so neither a name nor a race of the tree's owner leads outside. The type
//! of a file is checked on the opened descriptor, and opening never blocks on a fifo or a device. What is created
//! is what an unprivileged user could create by hand: permission bits of 0777, no set-uid, no device.
//!
//! A directory restored with a mode that forbids writing must get that mode after its content; restore the
//! modes and times of directories last, the deepest first.

mod change;
mod create;
mod error;
mod extents;
mod list;
mod remove;
mod walk;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};

pub use create::NewFile;
pub use error::TreeError;
pub use extents::next_data;
pub use list::Listed;
pub use walk::{Skip, Visit, WalkLimits, Walked};

use crate::TreePath;

/// Permission bits that may be stored and restored.
pub const MODE_MASK: u32 = 0o777;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, never followed here.
    Symlink,
    /// A socket, fifo or device: listed, never opened, never stored.
    Special,
}

/// A modification time as the file system keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds of that second, below 1,000,000,000.
    pub nanos: u32,
}

/// What is known of a path without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits, without set-uid, set-gid and sticky.
    pub mode: u32,
    /// When its content changed.
    pub mtime: Mtime,
    /// When content or attributes changed; cannot be set back, so it betrays a changed file with an old mtime.
    pub ctime: Mtime,
    /// The size of a file; zero for everything else.
    pub size: u64,
    /// The number of its inode.
    pub inode: u64,
}

impl Stat {
    fn from_raw(raw: &rustix::fs::Stat) -> Self {
        let kind = Kind::from_raw(FileType::from_raw_mode(raw.st_mode));
        let size = if kind == Kind::File {
            u64::try_from(raw.st_size).unwrap_or(0)
        } else {
            0
        };
        Self {
            kind,
            mode: raw.st_mode & MODE_MASK,
            mtime: Mtime::from_raw(raw.st_mtime, raw.st_mtime_nsec),
            ctime: Mtime::from_raw(raw.st_ctime, raw.st_ctime_nsec),
            size,
            inode: raw.st_ino,
        }
    }
}

impl Kind {
    fn from_raw(raw: FileType) -> Self {
        match raw {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::Special,
        }
    }
}

impl Mtime {
    fn from_raw(seconds: i64, nanos: impl TryInto<u32>) -> Self {
        Self {
            seconds,
            nanos: nanos.try_into().unwrap_or(0),
        }
    }
}

/// A tree of files below one directory.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// The tree below a directory of ours; `directory` itself is trusted and may be reached by links.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub fn open(directory: &Path) -> Result<Self, TreeError> {
        let root = rustix::fs::openat(
            CWD,
            directory,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { root })
    }

    /// The tree below an opened directory.
    ///
    /// # Errors
    /// When the descriptor is no directory.
    pub fn from_fd(root: OwnedFd) -> Result<Self, TreeError> {
        let stat = Stat::from_raw(&rustix::fs::fstat(&root)?);
        if stat.kind == Kind::Directory {
            Ok(Self { root })
        } else {
            Err(TreeError::NotDirectory)
        }
    }

    /// What is at `path`; a symbolic link is described itself.
    ///
    /// # Errors
    /// [`TreeError::NotFound`], or what keeps the path from being reached.
    pub fn stat(&self, path: &TreePath) -> Result<Stat, TreeError> {
        let (parent, name) = match self.parent_of(path) {
            Ok(place) => place,
            Err(TreeError::IsRoot) => return Ok(Stat::from_raw(&rustix::fs::fstat(&self.root)?)),
            Err(error) => return Err(error),
        };
        let raw = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Stat::from_raw(&raw))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`TreeError::IsDirectory`], [`TreeError::Link`] or [`TreeError::Special`] for what is no file, told by the
    /// opened descriptor.
    pub fn open_file(&self, path: &TreePath) -> Result<(File, Stat), TreeError> {
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = Stat::from_raw(&rustix::fs::fstat(&fd)?);
        match stat.kind {
            Kind::File => Ok((File::from(fd), stat)),
            Kind::Directory => Err(TreeError::IsDirectory),
            Kind::Symlink => Err(TreeError::Link),
            Kind::Special => Err(TreeError::Special),
        }
    }

    /// The target of a symbolic link, as raw bytes.
    ///
    /// # Errors
    /// [`TreeError::NotLink`] when it is something else.
    pub fn read_link(&self, path: &TreePath) -> Result<Vec<u8>, TreeError> {
        let (parent, name) = self.parent_of(path)?;
        match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            Err(rustix::io::Errno::INVAL) => Err(TreeError::NotLink),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the directory at `path` so that names in it can be acted upon, or listed.
    fn open_directory(&self, path: &TreePath, access: OFlags) -> Result<OwnedFd, TreeError> {
        self.resolve(path, access | OFlags::DIRECTORY)
    }

    /// The directory that holds `path`, opened, and the last name of `path`.
    fn parent_of<'p>(&self, path: &'p TreePath) -> Result<(OwnedFd, &'p [u8]), TreeError> {
        let parent = path.parent().ok_or(TreeError::IsRoot)?;
        Ok((self.open_directory(&parent, OFlags::PATH)?, path.name()))
    }

    fn resolve(&self, path: &TreePath, flags: OFlags) -> Result<OwnedFd, TreeError> {
        let relative: &[u8] = if path.is_root() {
            b"."
        } else {
            path.as_bytes()
        };
        beneath(&self.root, relative, flags, Mode::empty())
    }
}

/// Opens `relative` beneath `directory`: the only way in which this module enters a directory or opens a file.
fn beneath(
    directory: impl AsFd,
    relative: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, TreeError> {
    let confined = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat2(
        directory, relative, flags, mode, confined,
    )?)
}

#[cfg(test)]
mod tests;
