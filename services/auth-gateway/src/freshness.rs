//! Watches what the gate relies on. On a lapse it is not ready, and what was open is cut; nobody has to ask.

use std::sync::Arc;
use std::time::Duration;

use sandgate_rpc::{Part, Readiness, Shutdown};
use sandgate_session::lease::Moment;
use tokio::time::Instant;

use crate::gate::Gate;
use crate::policy::Loaded;
use crate::refusal::{CutReason, Missing};
use crate::streams::Subject;

/// The longest between two looks, when nothing is about to lapse.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest: a deadline that was just missed is looked at again at once.
const LOOK_SOON: Duration = Duration::from_millis(5);
/// Between two looks at the files of the policy.
const POLICY_EVERY: Duration = Duration::from_secs(2);
/// Between two looks for sessions that are over, for answers that nobody reads, and for what limits remember.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The parts of the gate's readiness.
#[derive(Debug)]
pub(crate) struct Parts {
    lease: Part,
    endpoints: Part,
    keys: Part,
}

impl Parts {
    /// All missing yet.
    pub(crate) fn of(readiness: &Readiness) -> Self {
        Self {
            lease: readiness.part("revocations"),
            endpoints: readiness.part("instances"),
            keys: readiness.part("keys"),
        }
    }
}

/// Watches the feeds until the shutdown begins.
pub(crate) async fn watch(gate: Arc<Gate>, parts: Parts, shutdown: Shutdown) {
    let (mut trust, mut endpoints) = (gate.trust.changes(), gate.endpoints.changes());
    let (mut was_leased, mut was_fresh) = (false, false);
    loop {
        trust.borrow_and_update();
        endpoints.borrow_and_update();
        let now = Moment::now();
        let (leased, fresh) = (gate.trust.is_leased(now), gate.endpoints.is_fresh(now));
        if was_leased && !leased {
            gate.api_keys.forget();
            gate.cut_for_lost_feed(Missing::Lease);
        }
        if was_fresh && !fresh {
            gate.cut_for_lost_feed(Missing::Endpoints);
        }
        (was_leased, was_fresh) = (leased, fresh);
        tell(
            &parts.lease,
            leased,
            "the lease of the token service is not held; is the token service up?",
        );
        tell(
            &parts.endpoints,
            fresh,
            "the orchestrator's feed of instances is stale; is the orchestrator up?",
        );
        tell(
            &parts.keys,
            gate.trust.verifier().is_some(),
            "the token service's public keys are not there; is the token service up?",
        );
        let lapses = [
            gate.trust.leased_until().filter(|_| leased),
            gate.endpoints.stale_at().filter(|_| fresh),
        ];
        let next = lapses.into_iter().flatten().min();
        let wait = next.map_or(LOOK, |next| now.until(next).clamp(LOOK_SOON, LOOK));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            changed = trust.changed() => if changed.is_err() { return },
            changed = endpoints.changed() => if changed.is_err() { return },
        }
    }
}

fn tell(part: &Part, there: bool, missing: &str) {
    if there {
        part.ready();
    } else {
        part.missing(missing);
    }
}

/// Looks after what changes slowly: the policy's files, sessions that are over, answers that nobody reads, buckets of sandboxes that are gone.
pub(crate) async fn look_after(gate: Arc<Gate>, shutdown: Shutdown) {
    let mut policy_at = Instant::now() + POLICY_EVERY;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        let now = gate.clock.now();
        gate.streams.cut_where(|subject| match subject {
            Subject::Session { claims, .. } => {
                let over = gate.trust.is_over(claims, now) || claims.session_end <= now;
                over.then_some(CutReason::Expired)
            }
            Subject::Key { .. } => None,
        });
        gate.streams.abandon_stalled(Instant::now());
        gate.trust.forget_sessions(now);
        gate.agent_rate.shrink();
        gate.daemon_rate.shrink();
        gate.tenant_rate.shrink();
        gate.policies.shrink();
        if policy_at <= Instant::now() {
            policy_at = Instant::now() + POLICY_EVERY;
            look_at_policy(&gate);
        }
    }
}

fn look_at_policy(gate: &Gate) {
    match gate.policies.look() {
        Loaded::Same => {}
        Loaded::Newer { routes } => {
            tracing::info!(routes, "a newer policy is in force");
            gate.cut_for_policy();
        }
        Loaded::Refused(violations) => {
            let problems = violations.to_string();
            tracing::warn!(%problems, "the policy cannot be served; the one before goes on");
        }
    }
}
