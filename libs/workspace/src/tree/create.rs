//! Making files, directories and symbolic links, so that a reader sees the old or the new one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Kind, MODE_MASK, Mtime, Stat, Tree, TreeError, beneath};
use crate::TreePath;

/// How names of unfinished files begin; 32 hexadecimal digits follow. [`Tree::walk`] shows such names as skipped.
const PARTIAL_PREFIX: &[u8] = b".sandgate-partial-";
const PARTIAL_RANDOM_BYTES: usize = 16;

/// A file that is being written under a name of its own, and takes its place when it is complete.
///
/// Dropped without [`NewFile::commit`], it is gone.
#[derive(Debug)]
pub struct NewFile {
    directory: OwnedFd,
    partial: Vec<u8>,
    name: Vec<u8>,
    file: File,
    committed: bool,
}

impl Tree {
    /// Begins a file at `path`, whose directory must be there.
    ///
    /// # Errors
    /// [`TreeError::IsDirectory`] when a directory has that path, and what keeps the path from being reached.
    pub fn create_file(&self, path: &TreePath) -> Result<NewFile, TreeError> {
        let (directory, name) = self.parent_of(path)?;
        refuse_directory(&directory, name)?;
        let partial = partial_name()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let fd = beneath(&directory, &partial, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(NewFile {
            directory,
            partial,
            name: name.to_vec(),
            file: File::from(fd),
            committed: false,
        })
    }

    /// Makes a directory, whose parent must be there.
    ///
    /// # Errors
    /// [`TreeError::AlreadyExists`], and what keeps the path from being reached.
    pub fn make_directory(&self, path: &TreePath, mode: u32) -> Result<(), TreeError> {
        let (parent, name) = self.parent_of(path)?;
        Ok(rustix::fs::mkdirat(
            &parent,
            name,
            Mode::from_raw_mode(mode & MODE_MASK),
        )?)
    }

    /// Makes a directory and those above it that are missing; one that is there already stays as it is.
    ///
    /// # Errors
    /// [`TreeError::NotDirectory`] or [`TreeError::Link`] when something else stands in the way.
    pub fn make_directories(&self, path: &TreePath, mode: u32) -> Result<(), TreeError> {
        for directory in path
            .ancestors()
            .chain((!path.is_root()).then(|| path.clone()))
        {
            match self.make_directory(&directory, mode) {
                Ok(()) => {}
                Err(TreeError::AlreadyExists) => match self.stat(&directory)?.kind {
                    Kind::Directory => {}
                    Kind::Symlink => return Err(TreeError::Link),
                    Kind::File | Kind::Special => return Err(TreeError::NotDirectory),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes a symbolic link at `path`, in place of what is there unless that is a directory. Its target is
    /// stored as it is, and never looked at.
    ///
    /// # Errors
    /// [`TreeError::IsDirectory`], and what keeps the path from being reached.
    pub fn make_symlink(&self, path: &TreePath, target: &[u8]) -> Result<(), TreeError> {
        let (parent, name) = self.parent_of(path)?;
        refuse_directory(&parent, name)?;
        let partial = partial_name()?;
        rustix::fs::symlinkat(target, &parent, partial.as_slice())?;
        if let Err(errno) = rustix::fs::renameat(&parent, partial.as_slice(), &parent, name) {
            // The link is ours and empty of content; if this fails too, the walk leaves its name out.
            let _left = rustix::fs::unlinkat(&parent, partial.as_slice(), AtFlags::empty());
            return Err(errno.into());
        }
        Ok(())
    }
}

// === impl NewFile ===

impl NewFile {
    /// The file itself, for positioned writes, holes and sizes.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its permission bits, its time and its name, replacing what file or link is there.
    ///
    /// # Errors
    /// [`TreeError::IsDirectory`] when a directory took the name meanwhile.
    pub fn commit(mut self, mode: u32, mtime: Option<Mtime>) -> Result<Stat, TreeError> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & MODE_MASK))?;
        if let Some(mtime) = mtime {
            rustix::fs::futimens(&self.file, &timestamps(mtime))?;
        }
        let stat = Stat::from_raw(&rustix::fs::fstat(&self.file)?);
        let directory = self.directory.as_fd();
        rustix::fs::renameat(
            directory,
            self.partial.as_slice(),
            directory,
            self.name.as_slice(),
        )?;
        self.committed = true;
        Ok(stat)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to tell; the walk leaves the name out.
            let _left =
                rustix::fs::unlinkat(&self.directory, self.partial.as_slice(), AtFlags::empty());
        }
    }
}

/// Whether `name` is that of an unfinished file of ours.
pub(super) fn is_partial(name: &[u8]) -> bool {
    name.strip_prefix(PARTIAL_PREFIX).is_some_and(|random| {
        random.len() == 2 * PARTIAL_RANDOM_BYTES && random.iter().all(u8::is_ascii_hexdigit)
    })
}

pub(super) fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanos.into(),
        },
    }
}

/// A name that the tree's owner cannot foresee, and so cannot occupy.
fn partial_name() -> Result<Vec<u8>, TreeError> {
    let mut random = [0; PARTIAL_RANDOM_BYTES];
    // Up to 256 bytes the kernel answers whole.
    getrandom(&mut random, GetRandomFlags::empty())?;
    let mut name = PARTIAL_PREFIX.to_vec();
    for byte in random {
        write!(name, "{byte:02x}").map_err(TreeError::Io)?;
    }
    Ok(name)
}

/// A rename over a directory fails only at the end, so it is refused before anything was written.
fn refuse_directory(parent: &OwnedFd, name: &[u8]) -> Result<(), TreeError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(raw) if Stat::from_raw(&raw).kind == Kind::Directory => Err(TreeError::IsDirectory),
        Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
