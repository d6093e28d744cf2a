//! What goes on record, and how: each control change with the row that it makes, before anything else happens;
//! what the orchestrator does by itself, with the reason; each refusal of a caller who may not, before its answer.

use sandgate_audit::{Decision, Entry};
use sandgate_rpc::{Caller, Peer, RequestName};
use sandgate_types::{SandboxId, TenantId};

use crate::lifecycle::Event;
use crate::sandbox::{Phase, Sandbox};

/// The principal of what nobody asked for.
const ITSELF: &str = "orchestrator";
/// A start that stopped half-way, by a crash or a peer that went away.
const START_INTERRUPTED: &str = "START_INTERRUPTED";
/// An instance that no row wants.
const UNWANTED: &str = "INSTANCE_UNWANTED";

/// Who makes a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// The orchestrator, for a reason that the record says.
    Itself,
    /// A principal who asked for it.
    Principal(String),
}

impl By {
    /// A caller whom the gate authenticated.
    pub(crate) fn caller(caller: &Caller) -> Self {
        Self::Principal(caller.principal.name().to_owned())
    }
}

fn request_id() -> String {
    RequestName::current()
        .map(|name| name.as_str().to_owned())
        .unwrap_or_default()
}

/// The record of a sandbox that was made.
pub(crate) fn of_created(sandbox: &Sandbox, by: &By) -> Entry {
    about("sandbox.create", sandbox, by, "")
}

/// The record of the change that `event` made, which led to `next`; `None` for what is no control change.
pub(crate) fn of_change(event: &Event, next: &Sandbox, by: &By) -> Option<Entry> {
    let (action, reason) = match event {
        // Progress of a start, which is on record as soon as it is READY; and files, of which the keeper tells.
        Event::Claimed(_) | Event::Synced(_) => return None,
        Event::Attached { .. } | Event::Hydrated(_) => match next.state.phase {
            Phase::Ready => ("sandbox.ready", ""),
            Phase::Claiming
            | Phase::Attaching
            | Phase::Hydrating
            | Phase::Suspending
            | Phase::Suspended
            | Phase::Deleting
            | Phase::Deleted
            | Phase::Finished
            | Phase::Failed => return None,
        },
        Event::StartAgain => ("sandbox.start_again", START_INTERRUPTED),
        Event::ClaimFailed(_)
        | Event::AttachFailed(_)
        | Event::HydrateFailed(_)
        | Event::EnvironmentLost
        | Event::InstanceLost => ("sandbox.fail", next.state.reason.as_str()),
        Event::CommandEnded { .. } => ("sandbox.finish", next.state.reason.as_str()),
        Event::BackendRestarted | Event::Suspend(_) => {
            ("sandbox.suspend", next.state.reason.as_str())
        }
        Event::Resume(_) => ("sandbox.resume", ""),
        Event::Extend(_) => ("sandbox.extend", ""),
        Event::Delete(_) => ("sandbox.delete", next.state.reason.as_str()),
        Event::Ended { .. } => {
            let done = match next.state.phase {
                Phase::Suspended => "sandbox.suspended",
                Phase::Deleted => "sandbox.deleted",
                Phase::Finished => "sandbox.finished",
                Phase::Claiming
                | Phase::Attaching
                | Phase::Hydrating
                | Phase::Ready
                | Phase::Suspending
                | Phase::Deleting
                | Phase::Failed => "sandbox.failed",
            };
            (done, next.state.reason.as_str())
        }
    };
    Some(about(action, next, by, reason))
}

/// The record of an instance that is taken away since no row wants it.
pub(crate) fn of_destroyed(sandbox: &SandboxId, tenant: Option<&TenantId>) -> Entry {
    Entry {
        decision: Decision::Allowed,
        action: "instance.destroy".to_owned(),
        reason: UNWANTED.to_owned(),
        tenant: tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
        principal: ITSELF.to_owned(),
        sandbox: sandbox.as_str().to_owned(),
        request_id: String::new(),
    }
}

/// The record of a call that is refused: by the method table or by a rule, which `reason` names.
pub(crate) fn of_refused(
    method: &str,
    reason: &str,
    peer: &Peer,
    caller: Option<&Caller>,
) -> Entry {
    Entry {
        reason: reason.to_owned(),
        ..Entry::of_call(method, peer, caller)
    }
}

fn about(action: &str, sandbox: &Sandbox, by: &By, reason: &str) -> Entry {
    // What was asked for needs no reason but the asking.
    let (principal, reason) = match by {
        By::Itself => (ITSELF, reason),
        By::Principal(principal) => (principal.as_str(), ""),
    };
    Entry {
        decision: Decision::Allowed,
        action: action.to_owned(),
        reason: reason.to_owned(),
        tenant: sandbox.facts.tenant.as_str().to_owned(),
        principal: principal.to_owned(),
        sandbox: sandbox.facts.id.as_str().to_owned(),
        request_id: request_id(),
    }
}
