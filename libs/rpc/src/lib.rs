//! How every service of the mesh serves and calls.
//!
//! A server built here refuses what its method table does not allow, answers within a deadline, turns every
//! error into a status with `google.rpc` details, and joins all that it started. A client built here passes
//! deadlines on and retries only what is declared idempotent.

mod authorize;
mod channel;
mod code;
pub mod config;
#[cfg(feature = "crash-points")]
pub mod crash;
mod deadline;
mod descriptors;
mod fault;
mod guard;
mod identity;
mod limits;
mod page;
mod process;
mod readiness;
mod refusals;
mod request;
mod retry;
mod server;
mod shutdown;
mod signals;
mod tail;
mod trace;
pub mod transport;
mod watched;
mod websocket;

pub use channel::{Channel, ChannelOptions};
pub use code::code_name;
pub use deadline::Deadline;
pub use descriptors::{descriptor_limit, raise_descriptor_limit};
pub use fault::{Fault, Reason};
pub use identity::{
    CALLER_METADATA, Caller, Peer, Principal, SessionCaller, service_from_name, service_name,
};
pub use limits::{HEADER_LIST_MAX_BYTES, MESSAGE_MAX_BYTES};
pub use page::{PageToken, page_size};
pub use process::run_process;
pub use readiness::{Part, Readiness};
pub use refusals::{Refusals, Refused};
pub use request::{REQUEST_NAME_METADATA, RequestName};
pub use sandgate_api::options::v1::{Role, Service};
pub use server::{ServeError, Server, ServerOptions};
pub use shutdown::Shutdown;
pub use signals::until_told;
pub use trace::Outgoing;
pub use transport::{
    Certificates, ClientTls, Listen, Memory, Renewed, ServerTls, ServiceTls, Target, memory, pem,
};
pub use watched::{Fingerprint, Watched};
pub use websocket::{WEBSOCKET, WebSocketKey, is_offered, is_websocket_version};
