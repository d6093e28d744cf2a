//! How services are joined: TCP with mutual TLS, Unix sockets, or pipes within one process.
//!
//! Whatever the transport, the listener knows who is at the other end ([`Peer`]) before a byte of a call is
//! read, and connections are accepted only while the server runs.

mod connect;
mod listen;
mod stream;
mod tls;

pub use connect::Target;
pub use listen::{Listen, Memory, memory};
pub use tls::{ClientTls, ServerTls, TlsError};

#[cfg(doc)]
use crate::Peer;
