//! The gate's policy: which upstreams sandboxes may call, with what crossing in each direction.
//!
//! A policy is one file, read and validated as a whole and refused as a whole: whoever holds a [`Policy`] holds
//! one in which every route can be served. [`decide`] is pure, so that the gate, an explanation and a replay give
//! the same verdict. What a policy may say is in `docs/policy.md`.

mod body;
mod clause;
mod credential;
mod decide;
mod diff;
mod document;
mod fields;
mod headers;
mod parse;
mod place;
mod query;
mod read;
mod route;
mod table;

pub use body::{Body, BodyRefused, JsonBody, Messages};
pub use clause::{Clause, Denial};
pub use credential::{
    ClientCredentials, Credential, CredentialPlace, CredentialSource, CredentialValue,
    NoHeaderValue,
};
pub use decide::{Allowed, Asked, Verdict, answer_headers, decide, takes_credential};
pub use diff::{Change, Effect, diff};
pub use headers::{GRPC_REQUEST_ALWAYS, GRPC_RESPONSE_ALWAYS, Twice, is_grpc, is_reserved, only};
pub use parse::parse;
pub use place::with_lines;
pub use read::read;
pub use route::{Claim, Forward, Limits, Lower, Matching, Rate, RouteSpec};
pub use table::Policy;
