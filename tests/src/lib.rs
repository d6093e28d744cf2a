//! What the stories share: real binaries on a fresh data directory, real backends, a real Python client.
//!
//! Nothing in here stands in for a part of the mesh; what a story asserts, it saw from outside.

pub mod backend;
pub mod bar;
pub mod canary;
pub mod client;
pub mod collector;
pub mod config;
pub mod mesh;
pub mod minting;
pub mod points;
pub mod processes;
pub mod python;
pub mod remains;
pub mod tls;
