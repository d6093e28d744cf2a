//! A route as the gate serves it.

use std::sync::Arc;

use sandgate_egress::{Dialing, Upstream};
use sandgate_policy::{Credential, CredentialSource, CredentialValue, Matching, RouteSpec};
use sandgate_types::SandboxId;

use crate::access::AccessTokens;
use crate::echo::Secrets;
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
    /// What its upstream asks for.
    pub(crate) credential: Option<Held>,
}

/// The credential of a route, as the gate has it.
#[derive(Debug)]
pub(crate) enum Held {
    /// It is in the policy's files, and in the requests that the policy allows.
    Known(Arc<Added>),
    /// It is fetched, and added to requests at last.
    Fetched(Box<AccessTokens>),
}

/// What is added to requests, and must not come back.
#[derive(Debug)]
pub(crate) struct Added {
    /// As it stands in a request.
    pub(crate) value: CredentialValue,
    /// As it must not stand in an answer.
    pub(crate) secrets: Secrets,
}

impl Added {
    /// With what it takes to find it again.
    pub(crate) fn new(value: CredentialValue) -> Arc<Self> {
        let secrets = Secrets::of(&value);
        Arc::new(Self { value, secrets })
    }
}

impl Route {
    /// A route that nobody has used yet.
    pub(crate) fn new(spec: RouteSpec, dialing: Dialing) -> Self {
        let grpc = matches!(spec.matching, Matching::Grpc { .. });
        let credential = spec.credential.as_ref();
        let credential = credential.map(|Credential { place, source }| match source {
            CredentialSource::Known(value) => Held::Known(Added::new(value.clone())),
            CredentialSource::ClientCredentials(client) => {
                let (client, place) = (client.clone(), place.clone());
                let tokens = AccessTokens::new(client, place, dialing.clone());
                Held::Fetched(Box::new(tokens))
            }
        });
        let upstream = Upstream::new(spec.upstream.clone(), grpc, workers::MAX, dialing);
        Self {
            limiter: spec.rate.map(Limiter::new),
            upstream,
            credential,
            spec,
        }
    }
}

impl AsRef<RouteSpec> for Route {
    fn as_ref(&self) -> &RouteSpec {
        &self.spec
    }
}
