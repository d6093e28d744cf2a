//! Everything that the listeners share, and the rules that a request meets whichever way it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sandgate_rpc::{Channel, Role};
use sandgate_session::lease::Moment;
use sandgate_session::{Audience, Claims, Verified};
use sandgate_types::{Clock, SandboxId, TenantId};

use crate::activity::Activity;
use crate::buffers::Buffers;
use crate::cache::Cache;
use crate::endpoints::{Endpoint, Endpoints};
use crate::keys::ApiKeys;
use crate::limit::Limiter;
use crate::links::Links;
use crate::observe::Instruments;
use crate::policy::Policies;
use crate::records::Records;
use crate::refusal::{CutReason, Missing, Refusal};
use crate::streams::{Streams, Subject};
use crate::trust::Trust;

/// What the listeners share.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) trust: Trust,
    pub(crate) endpoints: Endpoints,
    pub(crate) streams: Arc<Streams>,
    pub(crate) links: Links,
    pub(crate) policies: Policies,
    pub(crate) tokens: Cache<Verified>,
    pub(crate) api_keys: ApiKeys,
    pub(crate) agent_rate: Limiter<SandboxId>,
    pub(crate) daemon_rate: Limiter<SandboxId>,
    /// Control calls of each tenant.
    pub(crate) tenant_rate: Limiter<TenantId>,
    pub(crate) records: Records,
    /// Bodies that are taken apart.
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) activity: Activity,
    pub(crate) services: Services,
    pub(crate) instruments: Instruments,
    /// Random at each start; the first part of every request's id.
    pub(crate) id: String,
    pub(crate) requests: AtomicU64,
}

/// The gate's ways to the services of the mesh.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    pub(crate) token: Channel,
    pub(crate) orchestrator: Channel,
    pub(crate) storage: Channel,
}

impl Services {
    /// The service behind a method of ours, by its package.
    pub(crate) fn of(&self, path: &str) -> Option<&Channel> {
        let package = path.trim_start_matches('/');
        // The audit log is kept by the orchestrator.
        if package.starts_with("sandgate.orchestrator.v1.")
            || package.starts_with("sandgate.audit.v1.")
        {
            Some(&self.orchestrator)
        } else if package.starts_with("sandgate.storage.v1.") {
            Some(&self.storage)
        } else if package.starts_with("sandgate.token.v1.") {
            Some(&self.token)
        } else {
            None
        }
    }
}

/// For whom a token has to be good that asks for a path: the daemon's methods take the daemon's token, and
/// everything else the agent's.
pub(crate) fn audience_of(path: &str) -> Audience {
    let access = sandgate_api::find(path).and_then(|method| method.access.as_ref());
    if access.is_some_and(|access| access.allows_role(Role::Daemon)) {
        Audience::Daemon
    } else {
        Audience::Agent
    }
}

impl Gate {
    /// The next request's id.
    pub(crate) fn next_request(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.id)
    }

    /// Whether the gate may serve anybody.
    pub(crate) fn check_lease(&self, now: Moment) -> Result<(), Refusal> {
        if self.trust.is_leased(now) {
            Ok(())
        } else {
            Err(Refusal::NotReady(Missing::Lease))
        }
    }

    /// Whether the gate knows where instances are.
    pub(crate) fn check_endpoints(&self, now: Moment) -> Result<(), Refusal> {
        if self.endpoints.is_fresh(now) {
            Ok(())
        } else {
            Err(Refusal::NotReady(Missing::Endpoints))
        }
    }

    /// Why a request that is on its way must end now, as far as feeds say.
    pub(crate) fn cut_reason(&self, subject: &Subject) -> Option<CutReason> {
        match subject {
            Subject::Session { claims, .. } => {
                if self.trust.is_revoked(claims) {
                    return Some(CutReason::Revoked);
                }
                (!self.is_current(claims)).then_some(CutReason::InstanceEnded)
            }
            Subject::Key { key, target } => {
                if self.trust.is_key_revoked(key) {
                    return Some(CutReason::Revoked);
                }
                let target = target.as_ref()?;
                let endpoint = self.endpoints.get(&target.instance);
                // A client sees its process end while the instance is ending; it is cut when that is gone.
                let serving = endpoint.as_ref().and_then(Endpoint::serving);
                let same = serving.is_some_and(|serving| {
                    serving.generation == target.generation && serving.sandbox == target.sandbox
                });
                (!same).then_some(CutReason::InstanceEnded)
            }
        }
    }

    /// Whether the claims are those of an instance that may call: live, or ending for the daemon.
    pub(crate) fn is_current(&self, claims: &Claims) -> bool {
        let endpoint = self.endpoints.get(&claims.instance);
        let serving = endpoint
            .as_ref()
            .and_then(|endpoint| match claims.audience {
                Audience::Agent => endpoint.live(),
                Audience::Daemon => endpoint.serving(),
            });
        serving.is_some_and(|serving| {
            serving.generation == claims.generation
                && serving.sandbox == claims.sandbox
                && serving.tenant == claims.tenant
                && serving.user == claims.user
                && serving.conversation == claims.conversation
        })
    }

    /// Cuts what feeds no longer allow.
    pub(crate) fn cut_what_ended(&self) {
        self.streams.cut_where(|subject| self.cut_reason(subject));
    }

    /// Cuts everything, or everything that needs to know where instances are.
    pub(crate) fn cut_for_lost_feed(&self, missing: Missing) {
        self.streams.cut_where(|subject| {
            let touched = match (missing, subject) {
                (Missing::Lease | Missing::Keys, _) | (_, Subject::Session { .. }) => true,
                (Missing::Endpoints, Subject::Key { target, .. }) => target.is_some(),
            };
            touched.then_some(CutReason::FeedLost)
        });
    }

    /// Cuts what rests on a route that the policy no longer has as it was.
    pub(crate) fn cut_for_policy(&self) {
        let policy = self.policies.current();
        self.streams.cut_where(|subject| match subject {
            Subject::Session {
                route: Some(route), ..
            } => {
                let now = policy.route(&route.spec.name);
                let same = now.is_some_and(|now| Arc::ptr_eq(now, route));
                (!same).then_some(CutReason::PolicyChanged)
            }
            Subject::Session { route: None, .. } | Subject::Key { .. } => None,
        });
    }
}
