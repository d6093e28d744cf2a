//! The policy as the gate serves it: its routes with their connections and buckets, and how a newer one takes
//! the place of the one before.

mod reload;
mod route;

pub(crate) use reload::{Loaded, Policies};
pub(crate) use route::{Added, Held, Route};

/// A policy whose routes can be served.
pub(crate) type Policy = sandgate_policy::Policy<Route>;
