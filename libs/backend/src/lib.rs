//! Where sandboxes run: the contract, and the backend of one Linux machine.

mod backend;

pub use backend::{
    Backend, BackendError, Bound, Capabilities, ClaimRequest, Claimed, InstanceEvent, InstanceState, PoolState,
};
