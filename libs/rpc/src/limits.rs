//! The bounds of every connection of the mesh, each with its reason.

use std::time::Duration;

/// The largest gRPC message, in either direction: gRPC's own default, so that no client needs to be told.
pub const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The largest header list: room for two tokens and trace context, small against a header bomb.
pub const HEADER_LIST_MAX_BYTES: u32 = 32 * 1024;
/// Calls in flight on one connection; the gate multiplexes many callers over one connection to a service.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 1024;
/// Calls in flight in a whole server, before new ones are refused: bounds memory at about 4 GiB of messages
/// in theory and far less in practice, since most are a few hundred bytes.
pub(crate) const CALLS_IN_FLIGHT: usize = 1024;
/// Streams that a peer may reset before they were accepted (CVE-2023-44487); hyper's own default.
pub(crate) const PENDING_RESETS: usize = 20;
/// A peer that is silent this long is asked whether it lives.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A peer that does not answer in this time is gone.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that has not been established after this long is given up.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The deadline of a short call, and of the first answer of a stream, when the client names none or a longer one.
pub(crate) const SHORT_DEADLINE: Duration = Duration::from_secs(10);
/// The deadline of a long call, when the client names none or a longer one.
pub(crate) const LONG_DEADLINE: Duration = Duration::from_secs(600);
/// What a server takes off a client's deadline, so that its own answer arrives first.
pub(crate) const DEADLINE_MARGIN: Duration = Duration::from_millis(10);
/// The bytes in memory of one direction of an in-process pipe: one HTTP/2 window.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;
/// Handshakes in progress on one listener; the rest wait in the kernel's backlog.
pub(crate) const HANDSHAKES: usize = 256;
/// A TLS handshake takes two round trips; a peer that needs longer is not one of ours.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
