//! The storage-sync service: versions of a conversation's files.
//!
//! A workspace is a head that moves by compare-and-swap over immutable versions. Chunks are stored first, then the
//! manifest, then the head moves; a reader sees a whole version or the one before, and whatever is read back is
//! verified against the hash that named it. A sandbox reaches its own conversation's workspace and no other, and is
//! told of no chunk that others have.

pub mod browse;
pub mod commit;
pub mod config;
pub mod content;
mod crash;
mod error;
mod grpc;
pub mod ingest;
pub mod objects;
mod process;
pub mod rebuild;
mod server;
pub mod storage;
pub mod store;
pub mod sweep;
pub mod upload;
pub mod version;
pub mod workspace;
pub mod write;

pub use config::{Args, Config, Endpoint};
#[cfg(feature = "crash-points")]
pub use crash::CRASH_POINTS;
pub use process::main;
pub use server::{Ports, ServeError, migrate, serve};
