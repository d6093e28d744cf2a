//! Where sandboxes run: the contract, and the backend of one Linux machine.
//!
//! A [`Backend`] has instances. A *spare* is nobody's; a *claim* makes it one sandbox's for ever; *release*
//! destroys it and answers once nothing is left. Whoever claims keeps the books: a backend knows no
//! conversation, tenant or token.

mod backend;
mod local;

pub use backend::{
    Backend, BackendError, Bound, Capabilities, ClaimRequest, Claimed, InstanceEvent,
    InstanceState, PoolState,
};
pub use local::{Limits, LocalBackend, LocalConfig, LocalTemplate, StartError};
