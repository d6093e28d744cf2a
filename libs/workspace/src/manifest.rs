//! Manifests: what a version holds, as a tree of content-addressed pages.
//!
//! Entries are sorted by their whole paths as raw bytes, so `a-b` stands between `a` and `a/c`. Where a page ends
//! follows from the paths in it, so that a change rewrites the pages around it and those above, and everything else
//! is shared with the version before. Nothing here reads or writes: a builder hands out pages, a cursor asks for
//! them, and whoever fetches one verifies it by its name.

mod build;
mod cursor;
mod merge;
mod page;

pub use build::{Builder, Page, page_pieces};
pub use cursor::{Cursor, Step};
pub use merge::Merge;
pub use page::{PAGE_MAX_BYTES, PageError, decode_pieces};

use crate::BlobName;

/// The most entries of a version.
pub const ENTRIES_MAX: u64 = 1_000_000;

/// A whole manifest, named by its topmost page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The name of the topmost page.
    pub name: BlobName,
    /// How many entries there are.
    pub entries: u64,
    /// How many bytes their files have, holes included.
    pub bytes: u64,
}

#[cfg(test)]
mod tests;
