//! Renaming, and changing modes and times.

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::create::timestamps;
use super::{Kind, MODE_MASK, Mtime, Stat, Tree, TreeError, beneath};
use crate::TreePath;

impl Tree {
    /// Moves `from` to `to`, whose directory must be there. Without `replace`, what is at `to` stays.
    ///
    /// # Errors
    /// [`TreeError::AlreadyExists`], [`TreeError::IntoItself`], and what keeps either path from being reached.
    pub fn rename(&self, from: &TreePath, to: &TreePath, replace: bool) -> Result<(), TreeError> {
        let (from_parent, from_name) = self.parent_of(from)?;
        let (to_parent, to_name) = self.parent_of(to)?;
        let flags = if replace {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        Ok(rustix::fs::renameat_with(
            &from_parent,
            from_name,
            &to_parent,
            to_name,
            flags,
        )?)
    }

    /// Sets the permission bits of a file or directory.
    ///
    /// # Errors
    /// [`TreeError::Link`] and [`TreeError::Special`] for what has none that matter.
    pub fn set_mode(&self, path: &TreePath, mode: u32) -> Result<(), TreeError> {
        let mode = Mode::from_raw_mode(mode & MODE_MASK);
        let fd = self.resolve(path, OFlags::PATH)?;
        match Stat::from_raw(&rustix::fs::fstat(&fd)?).kind {
            Kind::File | Kind::Directory => {}
            Kind::Symlink => return Err(TreeError::Link),
            Kind::Special => return Err(TreeError::Special),
        }
        // The inode, by its descriptor: `fchmodat` by name would follow a link that took the name meanwhile.
        match self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(opened) => {
                let (before, now) = (rustix::fs::fstat(&fd)?, rustix::fs::fstat(&opened)?);
                if (before.st_dev, before.st_ino) != (now.st_dev, now.st_ino) {
                    return Err(TreeError::NotFound);
                }
                Ok(rustix::fs::fchmod(&opened, mode)?)
            }
            // An owner may change what they may not read, but only by name; this name is the descriptor's.
            Err(TreeError::Denied) => {
                use std::os::fd::AsRawFd as _;
                let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
                Ok(rustix::fs::chmod(name, mode)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the modification time of anything, a symbolic link's own included.
    ///
    /// # Errors
    /// What keeps the path from being reached.
    pub fn set_mtime(&self, path: &TreePath, mtime: Mtime) -> Result<(), TreeError> {
        let times = timestamps(mtime);
        if path.is_root() {
            return Ok(rustix::fs::futimens(&self.root, &times)?);
        }
        let (parent, name) = self.parent_of(path)?;
        Ok(rustix::fs::utimensat(
            &parent,
            name,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Opens a file for writing in place, without making it: for writes at an offset that must not replace it.
    ///
    /// # Errors
    /// As [`Tree::open_file`].
    pub fn open_for_writing(&self, path: &TreePath) -> Result<std::fs::File, TreeError> {
        let (parent, name) = self.parent_of(path)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match beneath(&parent, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(TreeError::Io(error)) if Errno::from_io_error(&error) == Some(Errno::TXTBSY) => {
                return Err(TreeError::Denied);
            }
            Err(error) => return Err(error),
        };
        match Stat::from_raw(&rustix::fs::fstat(&fd)?).kind {
            Kind::File => Ok(fd.into()),
            Kind::Directory => Err(TreeError::IsDirectory),
            Kind::Symlink => Err(TreeError::Link),
            Kind::Special => Err(TreeError::Special),
        }
    }
}
