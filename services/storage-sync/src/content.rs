//! Reading versions: entries in order, and the content of files, a page and a chunk at a time.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use sandgate_workspace::manifest::{Cursor, PageError, Root, Step, decode_pieces};
use sandgate_workspace::{BlobName, Entry, Piece, PiecePage, Stored, TreePath};

use crate::objects::{ObjectError, TenantObjects};

/// Why a version could not be read. None of these is the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// An object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A page.
    #[error("a page of the manifest")]
    Page(#[from] PageError),
}

/// The entries of a version, in order of their paths as raw bytes.
#[derive(Debug)]
pub struct Entries {
    objects: TenantObjects,
    cursor: Cursor,
}

impl Entries {
    /// All entries.
    pub fn new(objects: TenantObjects, root: &Root) -> Self {
        Self {
            objects,
            cursor: Cursor::new(root),
        }
    }

    /// Those whose path is not before `from`, as raw bytes.
    pub fn from(objects: TenantObjects, root: &Root, from: Vec<u8>) -> Self {
        Self {
            objects,
            cursor: Cursor::from(root, from),
        }
    }

    /// The next entry.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<Entry<Stored>>, ReadError> {
        loop {
            match self.cursor.step()? {
                Step::Page(name) => {
                    let page = self.objects.page(&name).await?;
                    self.cursor.feed(&page)?;
                }
                Step::Entry(entry) => return Ok(Some(*entry)),
                Step::End => return Ok(None),
            }
        }
    }
}

/// The entry at a path, if the version has one.
///
/// # Errors
/// See [`ReadError`].
pub async fn lookup(
    objects: &TenantObjects,
    root: &Root,
    path: &TreePath,
) -> Result<Option<Entry<Stored>>, ReadError> {
    let from = path.as_bytes().to_vec();
    let next = Entries::from(objects.clone(), root, from).next().await?;
    Ok(next.filter(|entry| entry.path == *path))
}

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stretch {
    /// Zeros that were never written.
    Hole(u64),
    /// Bytes.
    Data(Bytes),
}

/// The content of a file, in order, between two offsets.
#[derive(Debug)]
pub struct Content {
    objects: TenantObjects,
    pages: VecDeque<PiecePage>,
    pieces: VecDeque<Piece<BlobName>>,
    /// Where the next piece begins.
    at: u64,
    wanted: Range<u64>,
}

impl Content {
    /// What lies within `wanted`, which is cut to the file's own length.
    pub fn new(objects: TenantObjects, content: Stored, wanted: Range<u64>) -> Self {
        let (pages, pieces) = match content {
            Stored::Inline(pieces) => (VecDeque::new(), pieces.into()),
            Stored::Paged(pages) => (pages.into(), VecDeque::new()),
        };
        Self {
            objects,
            pages,
            pieces,
            at: 0,
            wanted,
        }
    }

    /// The next stretch and where it begins.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<(u64, Stretch)>, ReadError> {
        while self.at < self.wanted.end {
            let Some(piece) = self.pieces.pop_front() else {
                let Some(page) = self.pages.pop_front() else {
                    return Ok(None);
                };
                // Pages before the wanted range are passed over unread.
                if self.at.saturating_add(page.length) <= self.wanted.start {
                    self.at += page.length;
                } else {
                    let bytes = self.objects.page(&page.name).await?;
                    self.pieces = decode_pieces(&page, &bytes)?.into();
                }
                continue;
            };
            let begins = self.at;
            let ends = begins.saturating_add(piece.length());
            self.at = ends;
            let (from, to) = (begins.max(self.wanted.start), ends.min(self.wanted.end));
            if from >= to {
                continue;
            }
            let stretch = match piece {
                Piece::Hole(_) => Stretch::Hole(to - from),
                Piece::Chunk { name, length } => {
                    let chunk = self.objects.chunk(&name, length).await?;
                    // Both lie within a chunk, whose length fits 32 bits.
                    let within =
                        |offset: u64| usize::try_from(offset - begins).unwrap_or(usize::MAX);
                    Stretch::Data(chunk.slice(within(from)..within(to)))
                }
            };
            return Ok(Some((from, stretch)));
        }
        Ok(None)
    }
}
