//! The gate over its real listeners, with peers that the tests control.

mod client;
mod feeds;
mod mesh;
mod sandbox;
mod support;
mod tokens;
mod upstreams;
