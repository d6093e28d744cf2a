//! Why an operation on a tree did not happen.

use std::io;

use rustix::io::Errno;

/// Why an operation on a tree did not happen. Nothing was followed out of the tree in any case.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Nothing is there.
    #[error("nothing is at this path")]
    NotFound,
    /// Something is there already.
    #[error("something is at this path already")]
    AlreadyExists,
    /// The path, or a directory above it, is a symbolic link; those are never followed.
    #[error("the path leads through a symbolic link")]
    Link,
    /// A symbolic link was asked for.
    #[error("this is no symbolic link")]
    NotLink,
    /// The path leads into another file system.
    #[error("the path leads across a mount")]
    Mount,
    /// A file was asked for.
    #[error("this is a directory")]
    IsDirectory,
    /// A directory was asked for, or stands above the path.
    #[error("this, or what is above it, is no directory")]
    NotDirectory,
    /// The root itself cannot be created, renamed or removed.
    #[error("this is the root of the tree")]
    IsRoot,
    /// A socket, fifo or device.
    #[error("this is a socket, fifo or device")]
    Special,
    /// The directory is not empty.
    #[error("the directory is not empty")]
    NotEmpty,
    /// The tree is nested deeper than [`crate::DEPTH_MAX`].
    #[error("the tree is nested too deeply")]
    TooDeep,
    /// There are more entries than the caller takes.
    #[error("there are too many entries")]
    TooMany,
    /// The permissions forbid it.
    #[error("the permissions forbid it")]
    Denied,
    /// The disk, or the owner's share of it, is full.
    #[error("no space is left")]
    NoSpace,
    /// A directory cannot move into itself.
    #[error("a directory cannot move into itself")]
    IntoItself,
    /// Anything else that the kernel answered.
    #[error("the file system refused")]
    Io(#[source] io::Error),
}

impl From<Errno> for TreeError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::EXIST => Self::AlreadyExists,
            Errno::LOOP => Self::Link,
            Errno::XDEV => Self::Mount,
            Errno::ISDIR => Self::IsDirectory,
            Errno::NOTDIR => Self::NotDirectory,
            // The answers to opening a socket, and a fifo or device without its other end.
            Errno::NXIO | Errno::NODEV => Self::Special,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Self::Denied,
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace,
            // What `rename` answers; names that the kernel might refuse were parsed before.
            Errno::INVAL => Self::IntoItself,
            other => Self::Io(other.into()),
        }
    }
}

impl From<io::Error> for TreeError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::INVAL) | None => Self::Io(error),
            Some(errno) => errno.into(),
        }
    }
}
