//! The auth-gateway: every byte between a sandbox and anything else, and between a client and the mesh.
//!
//! It decides who may call what, as whom, how often and with which credential, and puts each decision on
//! record. It knows tokens, instances and revocations by feeds, and serves under a lease: whatever it has lost
//! sight of it refuses, and what is open for it is cut. It cannot sign anything.
//!
//! Three listeners: clients by API key ([`Bound`]), sandboxes over the links of their instances, and services
//! of the mesh. What sandboxes may call is one policy file, described in `docs/policy.md`.

mod access;
mod activity;
mod body;
mod bound;
mod buffers;
mod cache;
mod client;
mod config;
mod crash;
mod echo;
mod endpoints;
mod error;
mod facing;
mod forward;
mod freshness;
mod gate;
mod grpc;
mod guard;
mod headers;
mod keys;
mod limit;
mod links;
mod mesh;
mod observe;
mod open;
mod policy;
mod ports;
mod process;
mod records;
mod refusal;
mod sandbox;
mod server;
mod streams;
mod tally;
mod trust;
mod tunnel;
mod workers;

pub use bound::Bound;
pub use config::{Args, Config};
#[cfg(feature = "crash-points")]
pub use crash::CRASH_POINTS;
pub use facing::ClientFacingTls;
pub use ports::Ports;
pub use process::main;
pub use server::{ServeError, serve};
