//! The orchestrator through the wire: real database, real transport, scripted backend and peers.

mod audit;
mod backend;
mod create;
mod ending;
mod feed;
mod harness;
mod list;
mod peers;
mod recovery;
