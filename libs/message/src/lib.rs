//! Bodies of requests: taken apart once, identity written, and put together anew.
//!
//! Whatever a body says about who asks, at the places that a policy names, is replaced by what the token says. What
//! goes on is never the bytes that came but an encoding of what was decoded, in the one spelling that every reader
//! understands alike; a body that two readers could understand differently is refused and not repaired. Nothing in
//! here knows of tokens, policies or sockets, and nothing that it says repeats what a body held.

pub mod frame;
pub mod json;
pub mod protobuf;
