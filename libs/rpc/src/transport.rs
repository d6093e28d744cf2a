//! How services are joined: TCP with mutual TLS, Unix sockets, or pipes within one process.
//!
//! Whatever the transport, the listener knows who is at the other end ([`Peer`]) before a byte of a call is
//! read, and connections are accepted only while the server runs.

mod connect;
mod listen;
pub mod pem;
mod renewed;
mod stream;
mod tls;

pub use connect::Target;
pub use listen::{Listen, Memory, memory};
pub use renewed::{Certificates, Renewed};
pub use tls::{ClientTls, ServerTls, ServiceTls};

#[cfg(doc)]
use crate::Peer;
