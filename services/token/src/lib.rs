//! The token service: what a session may do, for how long, and when it stops.
//!
//! It alone signs. Signing keys are made here, are sealed at rest under the master key and never leave the
//! process; minting writes nothing, so a session is what its tokens say. Whatever is revoked stays so, reaches
//! every gate through one feed without gaps, and [`RevocationService.Revoke`] answers when every gate that may
//! be serving knows. API keys are kept as keyed hashes. [`init`] creates trust; a start never does.
//!
//! [`RevocationService.Revoke`]: sandgate_api::token::v1::revocation_service_server::RevocationService::revoke

mod api_key;
mod authority;
mod certificates;
mod config;
mod core;
mod crash;
mod error;
mod feed;
mod grpc;
mod init;
mod keys;
mod master_key;
mod process;
mod records;
mod rotation;
mod server;
mod session;
mod signing;
mod store;
mod tenant;
mod witness;

pub use config::{Args, Config, Socket};
#[cfg(feature = "crash-points")]
pub use crash::CRASH_POINTS;
pub use feed::Moments;
pub use init::{InitConfig, InitError, Initialized, check_api_keys, init};
pub use master_key::gen_secret;
pub use process::main;
pub use server::{Ports, ServeError, serve, serve_by};
