//! The routes of a policy, found by name and by gRPC method.

use std::collections::HashMap;
use std::sync::Arc;

use sandgate_types::RouteName;

use crate::route::{Matching, RouteSpec};

/// A valid policy, whose routes are as their holder serves them.
#[derive(Debug)]
pub struct Policy<R = RouteSpec> {
    by_name: HashMap<RouteName, Arc<R>>,
    by_method: HashMap<String, Arc<R>>,
}

impl<R> Default for Policy<R> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            by_method: HashMap::new(),
        }
    }
}

impl<R: AsRef<RouteSpec>> Policy<R> {
    /// The policy of these routes, whose names and gRPC methods are distinct.
    pub fn new(routes: impl IntoIterator<Item = Arc<R>>) -> Self {
        let mut policy = Self::default();
        for route in routes {
            let spec: &RouteSpec = (*route).as_ref();
            if let Matching::Grpc { methods } = &spec.matching {
                for method in methods {
                    policy.by_method.insert(method.clone(), Arc::clone(&route));
                }
            }
            policy.by_name.insert(spec.name.clone(), route);
        }
        policy
    }

    /// The route of this name.
    #[must_use]
    pub fn route(&self, name: &RouteName) -> Option<&Arc<R>> {
        self.by_name.get(name)
    }

    /// The route of a gRPC method, by its path `/package.Service/Method`.
    #[must_use]
    pub fn method(&self, path: &str) -> Option<&Arc<R>> {
        self.by_method.get(path)
    }

    /// Every route, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<R>> {
        self.by_name.values()
    }
}
