//! Where sandboxes run: the contract, and the backend of one Linux machine.

pub mod config;
mod contract;

pub use config::{Hello, Limits, LocalConfig, LocalTemplate, UidRange};
pub use contract::{
    Backend, BackendError, Bound, Capabilities, ClaimRequest, Claimed, InstanceEvent, InstanceState, PoolState,
};
