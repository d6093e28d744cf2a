//! The gate's policy: which upstreams sandboxes may call, with what crossing in each direction.
//!
//! A policy is one file, read and validated as a whole and refused as a whole: whoever holds a [`Policy`] holds
//! one in which every route can be served. What it may say is in `docs/policy.md`.

mod document;
mod fields;
mod parse;
mod place;
mod reload;
pub(crate) mod route;
mod upstream;

use std::collections::HashMap;
use std::sync::Arc;

use sandgate_types::RouteName;

pub(crate) use fields::SERVED;
pub(crate) use reload::{Loaded, Policies};
pub(crate) use route::{Claim, Forward, Matching, Rate, Route};
pub(crate) use upstream::{Scheme, UpstreamSpec};

/// A valid policy.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    by_name: HashMap<RouteName, Arc<Route>>,
    by_method: HashMap<String, Arc<Route>>,
}

impl Policy {
    /// The policy of these routes, whose names and gRPC methods are distinct.
    pub(crate) fn new(routes: Vec<Arc<Route>>) -> Self {
        let mut policy = Self::default();
        for route in routes {
            if let Matching::Grpc { methods } = &route.spec.matching {
                for method in methods {
                    policy.by_method.insert(method.clone(), Arc::clone(&route));
                }
            }
            policy.by_name.insert(route.spec.name.clone(), route);
        }
        policy
    }

    /// The route of this name.
    pub(crate) fn route(&self, name: &RouteName) -> Option<&Arc<Route>> {
        self.by_name.get(name)
    }

    /// The route of a gRPC method, by its path `/package.Service/Method`.
    pub(crate) fn method(&self, path: &str) -> Option<&Arc<Route>> {
        self.by_method.get(path)
    }

    /// Every route.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_name.values()
    }
}
