//! The orchestrator: the life of a sandbox, from the request to the proof that nothing is left.
//!
//! It promises one live sandbox for each conversation, that each transition is on record before it is begun,
//! and that after a crash at any line nothing is left behind: the reconciler finishes or undoes what was
//! begun. It decides by a pure function and never by what a sandbox says about itself.

mod caller;
mod config;
mod crash;
mod create;
mod environment;
mod error;
mod feed;
mod grpc;
mod hub;
mod life;
mod lifecycle;
mod link_socket;
mod local;
mod peers;
mod process;
mod quota;
mod reconcile;
mod records;
mod resume;
mod sandbox;
mod server;
mod store;
mod suspend;
mod sweep;
mod template;
mod wait;

pub use config::{Args, Config, FIRST_UID, Process};
#[cfg(feature = "crash-points")]
pub use crash::CRASH_POINTS;
pub use life::Limits;
pub use local::local_backend;
pub use process::main;
pub use server::{Ports, ServeError, migrate, serve};
pub use template::{Limits as TemplateLimits, Template, Templates};
