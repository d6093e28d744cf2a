//! A route as the gate serves it.

use sandgate_egress::{Dialing, Upstream};
use sandgate_policy::{Matching, RouteSpec};
use sandgate_types::SandboxId;

use crate::limit::Limiter;
use crate::workers;

/// A route as it is served.
#[derive(Debug)]
pub(crate) struct Route {
    /// What the policy says.
    pub(crate) spec: RouteSpec,
    /// How often each sandbox may use it.
    pub(crate) limiter: Option<Limiter<SandboxId>>,
    /// The connections to its upstream.
    pub(crate) upstream: Upstream,
}

impl Route {
    /// A route that nobody has used yet.
    pub(crate) fn new(spec: RouteSpec, dialing: Dialing) -> Self {
        let grpc = matches!(spec.matching, Matching::Grpc { .. });
        let upstream = Upstream::new(spec.upstream.clone(), grpc, workers::MAX, dialing);
        Self {
            limiter: spec.rate.map(Limiter::new),
            upstream,
            spec,
        }
    }
}

impl AsRef<RouteSpec> for Route {
    fn as_ref(&self) -> &RouteSpec {
        &self.spec
    }
}
