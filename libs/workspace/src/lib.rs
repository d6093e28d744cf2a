//! What sandboxd and storage-sync must agree on: manifests, chunks, blobs, safe tree walks.
//!
//! Nothing here does asynchronous I/O or knows a protocol. Formats are content-addressed and have a stored test
//! vector each, so that neither side can drift from what was written before.

mod path;
pub mod tree;

pub use path::{DEPTH_MAX, NAME_MAX_BYTES, PATH_MAX_BYTES, TreePath};
