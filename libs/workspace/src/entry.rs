//! Entries of a version, as they come over the wire and as a manifest keeps them.

mod wire;

use crate::tree::Mtime;
use crate::{BlobName, ContentHash, TreePath};

/// The longest target of a symbolic link.
pub const LINK_TARGET_MAX_BYTES: usize = 4095;
/// The most pieces of one file: an entry with so many fits into one gRPC message.
pub const FILE_PIECES_MAX: usize = 96 * 1024;
/// The largest file, holes included.
pub const FILE_MAX_BYTES: u64 = 1 << 43;

/// One entry; `C` is how the content of a file is referenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<C> {
    /// Where it is.
    pub path: TreePath,
    /// Permission bits, 0 to 0777.
    pub mode: u32,
    /// When it was modified.
    pub mtime: Mtime,
    /// What it is.
    pub node: Node<C>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<C> {
    /// A file.
    File {
        /// Its size, holes included.
        size: u64,
        /// Its content.
        content: C,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, as raw bytes.
        target: Vec<u8>,
    },
}

/// One piece of a file's content; `N` is how a chunk is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<N> {
    /// So many zeros that were never written.
    Hole(u64),
    /// A chunk.
    Chunk {
        /// Which.
        name: N,
        /// Its length, at least 1 and at most [`crate::CHUNK_MAX_BYTES`].
        length: u32,
    },
}

/// A file's content as a keeper states it.
pub type Stated = Vec<Piece<ContentHash>>;

/// A file's content as a manifest keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// The pieces themselves.
    Inline(Vec<Piece<BlobName>>),
    /// Pages that hold the pieces of a large file.
    Paged(Vec<PiecePage>),
}

/// A page of pieces of a large file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PiecePage {
    /// Its name.
    pub name: BlobName,
    /// How much of the file its pieces cover.
    pub length: u64,
}

// === impl Piece ===

impl<N> Piece<N> {
    /// How much of the file it covers.
    pub fn length(&self) -> u64 {
        match self {
            Self::Hole(length) => *length,
            Self::Chunk { length, .. } => u64::from(*length),
        }
    }
}

// === impl Entry ===

impl<C> Entry<C> {
    /// The size of a file; zero for everything else.
    pub fn size(&self) -> u64 {
        match &self.node {
            Node::File { size, .. } => *size,
            Node::Directory | Node::Symlink { .. } => 0,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        match self.node {
            Node::Directory => true,
            Node::File { .. } | Node::Symlink { .. } => false,
        }
    }

    /// The same entry with its content referenced otherwise.
    ///
    /// # Errors
    /// What `convert` answers.
    pub fn try_map<D, E>(self, convert: impl FnOnce(C) -> Result<D, E>) -> Result<Entry<D>, E> {
        let Self {
            path,
            mode,
            mtime,
            node,
        } = self;
        let node = match node {
            Node::File { size, content } => Node::File {
                size,
                content: convert(content)?,
            },
            Node::Directory => Node::Directory,
            Node::Symlink { target } => Node::Symlink { target },
        };
        Ok(Entry {
            path,
            mode,
            mtime,
            node,
        })
    }
}
