//! The only place that names generated messages: what the mesh listener serves, and what the gate asks.

pub(crate) mod activity;
pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod endpoints;
pub(crate) mod jwks;
pub(crate) mod lease;
pub(crate) mod mesh;
pub(crate) mod revocations;
