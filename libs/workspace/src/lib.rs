//! What sandboxd and storage-sync must agree on: manifests, chunks, blobs, safe tree walks.
//!
//! Nothing here does asynchronous I/O or knows a protocol. Formats are content-addressed and have a stored test
//! vector each, so that neither side can drift from what was written before.

pub mod blob;
mod chunk;
mod entry;
pub mod manifest;
mod name;
mod path;
pub mod tree;

pub use chunk::{CHUNK_AVERAGE_BYTES, CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, Cutter};
pub use entry::{
    Entry, FILE_MAX_BYTES, FILE_PIECES_MAX, LINK_TARGET_MAX_BYTES, Node, Piece, PiecePage, Stated,
    Stored,
};
pub use name::{BlobName, ChunkingSeed, ContentHash, HASH_BYTES, NameKeys};
pub use path::{DEPTH_MAX, NAME_MAX_BYTES, PATH_MAX_BYTES, TreePath};
