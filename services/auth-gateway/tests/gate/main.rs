//! The gate over its real listeners, with peers that the tests control.

mod abuse;
mod bodies;
mod client;
mod credentials;
mod feeds;
mod mesh;
mod revocation;
mod sandbox;
mod strangers;
mod support;
mod tls;
mod tokens;
mod upstreams;
mod websocket;
