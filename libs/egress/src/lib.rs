//! The one way out of the mesh to addresses that are not ours.
//!
//! Each address is checked after resolution and before it is dialed, on every dial, whoever asks: a route of the
//! policy, or a service that fetches a document. Redirects are never followed, and TLS is verified by the roots that
//! the operator names. It knows no policy and no token; where an upstream may be is part of its [`UpstreamSpec`].

mod address;
mod dial;
mod spec;
mod tls;
mod upstream;

pub use address::Network;
pub use spec::{Scheme, UpstreamSpec};
pub use tls::Roots;
pub use upstream::{Dialing, Failure, Upstream};
