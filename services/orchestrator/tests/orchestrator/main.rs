//! The orchestrator through the wire: real database, real transport, scripted backend and peers.

mod audit;
mod backend;
mod by_itself;
mod create;
mod ending;
mod environment;
mod feed;
mod harness;
mod input;
mod list;
mod peers;
mod quota;
mod records;
mod recovery;
mod start;
mod stored;
mod taken_away;
