//! The keeper: the half of sandboxd that holds proof, keys and tokens, outside of the sandbox.
//!
//! It holds the socket to the gate and the sandbox's local listener, decides what the runner does, and
//! treats the runner as it would the agent: a runner can lie about its own files and processes, and about
//! nothing else. One thread, no state on disk.

mod activity;
mod environment;
mod error;
mod gate;
mod grpc;
mod identity;
mod instance;
mod kills;
mod listener;
mod peers;
mod pipe;
mod process;
mod processes;
mod renew;
mod report;
mod ring;
mod runner;
mod server;
mod sync;
mod table;

pub(crate) use server::{KeeperError, serve};
