//! The one place that turns reasons into statuses.

use std::time::Duration;

use sandgate_rpc::{Fault, Reason};
use sandgate_types::{Malformed, SandboxId, TemplateName};

use crate::caller::{ScopeError, UserError};
use crate::create::CreateError;
use crate::life::ApplyError;
use crate::lifecycle::Refusal;
use crate::quota::{Exceeded, Resource};
use crate::resume::ResumeError;
use crate::sandbox::{self, Phase, Sandbox};
use crate::store::StoreError;
use crate::suspend::SuspendError;

const DOMAIN: &str = "orchestrator";
/// A database that is busy is so for a write or two.
const BUSY: Duration = Duration::from_millis(200);
/// A service that has just started has compared its rows within a few commits.
const STARTING: Duration = Duration::from_millis(50);
/// Most sandboxes are gone within a second.
const ENDING: Duration = Duration::from_secs(1);
/// A pool refills in seconds.
const CAPACITY: Duration = Duration::from_secs(5);
/// One text for every state of another's conversation, so that nothing of it can be told apart.
const OWNED_BY_ANOTHER: &str = "the conversation belongs to another user";

const fn reason(code: &'static str) -> Reason {
    Reason::new(DOMAIN, code)
}

/// There is no such sandbox, or it is not the caller's: which of both is not said.
pub(crate) fn unknown(id: &SandboxId) -> Fault {
    Fault::not_found(
        reason("SANDBOX_UNKNOWN"),
        "there is no such sandbox; it may have been deleted a while ago",
    )
    .about("sandbox", id)
}

/// The service is up and cannot work yet.
pub(crate) fn not_ready(missing: &[String]) -> Fault {
    Fault::unavailable(
        reason("NOT_READY"),
        format!("not ready: {}", missing.join("; ")),
    )
    .retry_after(STARTING)
}

/// The sandbox's template is not in the configuration any more, and with it the bounds of what is asked for.
pub(crate) fn template_gone(template: &TemplateName) -> Fault {
    Fault::failed_precondition(
        reason("TEMPLATE_UNKNOWN"),
        format!(
            "the sandbox's template {template} is not configured any more; bring it back, or create the \
             conversation again with another"
        ),
    )
    .precondition("TEMPLATE", template.as_str(), "it must be configured")
}

/// A report of a run that is not the current one.
pub(crate) fn not_current() -> Fault {
    Fault::failed_precondition(
        reason("INSTANCE_NOT_CURRENT"),
        "the instance is not the sandbox's current run",
    )
    .precondition(
        "GENERATION",
        "instance",
        "the token's instance and generation must be the row's",
    )
}

/// The caller's process went on, and ours is ending.
pub(crate) fn ending() -> Fault {
    Fault::unavailable(
        reason("SHUTTING_DOWN"),
        "the orchestrator is ending; call again",
    )
    .retry_after(ENDING)
}

/// A gap in a writer's records.
pub(crate) fn audit_gap(acknowledged: i64) -> Fault {
    Fault::failed_precondition(
        reason("AUDIT_GAP"),
        "records are missing before the first one; send them from the number after `acknowledged`",
    )
    .meta("acknowledged", acknowledged)
}

/// A writer's records are not a chain.
pub(crate) fn audit_broken(sequence: i64, rule: &str) -> Fault {
    Fault::failed_precondition(
        reason("AUDIT_CHAIN_BROKEN"),
        format!("record {sequence} {rule}"),
    )
    .meta("sequence", sequence)
}

/// A service that writes in another's name.
pub(crate) fn audit_writer() -> Fault {
    Fault::permission_denied(
        reason("AUDIT_WRITER"),
        "a service appends records of its own name only",
    )
}

/// The sandbox that a create or resume waited for cannot become READY.
pub(crate) fn not_started(sandbox: &Sandbox) -> Option<Fault> {
    if sandbox.state.phase != Phase::Failed {
        return None;
    }
    let message = format!("the sandbox did not start: {}", sandbox.state.message);
    let fault = match sandbox.state.reason {
        sandbox::Reason::NoCapacity => Fault::exhausted(reason("NO_CAPACITY"), message)
            .quota("instances", "the backend has no instance ready")
            .retry_after(CAPACITY),
        sandbox::Reason::HydrateFailed => {
            Fault::failed_precondition(reason("HYDRATE_FAILED"), message)
        }
        sandbox::Reason::InstanceLost => {
            Fault::failed_precondition(reason("INSTANCE_LOST"), message)
        }
        sandbox::Reason::None
        | sandbox::Reason::Requested
        | sandbox::Reason::Expired
        | sandbox::Reason::Idle
        | sandbox::Reason::SessionMax
        | sandbox::Reason::BackendRestarted
        | sandbox::Reason::AttachFailed
        | sandbox::Reason::CommandEnded => {
            Fault::failed_precondition(reason("ATTACH_FAILED"), message)
        }
    };
    Some(fault.about("sandbox", &sandbox.facts.id))
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            Fault::unavailable(
                reason("STORE_BUSY"),
                "the database does not answer; call again",
            )
            .retry_after(BUSY)
        } else {
            Fault::internal(error)
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ending => Fault::failed_precondition(
                reason("SANDBOX_ENDING"),
                "the sandbox is being suspended or deleted; call again when that is done",
            )
            .precondition(
                "PHASE",
                "sandbox",
                "it must not be on its way to SUSPENDED or DELETED",
            )
            .retry_after(ENDING),
            Refusal::Ended => Fault::failed_precondition(
                reason("SANDBOX_ENDED"),
                "the sandbox has ended; create the conversation's next one",
            )
            .precondition(
                "PHASE",
                "sandbox",
                "it must not be DELETED, FINISHED or FAILED",
            ),
            Refusal::Late => not_current(),
            Refusal::EnvironmentMissing => Fault::failed_precondition(
                reason("ENVIRONMENT_MISSING"),
                "the sandbox was created with an environment, whose values are not kept; bring them again in `environment`",
            )
            .precondition("FIELD", "environment", "it must be brought by each resume")
            .meta("field", "environment"),
            Refusal::Runs => differs("environment"),
        }
    }
}

/// What an error about the sandbox `id` is to the caller.
pub(crate) fn of_apply(error: ApplyError, id: &SandboxId) -> Fault {
    match error {
        ApplyError::Unknown => unknown(id),
        ApplyError::Other => not_current(),
        ApplyError::Refused(refusal) => refusal.into(),
        ApplyError::Store(error) => error.into(),
        ApplyError::Exceeded(exceeded) => exceeded.into(),
        ApplyError::Contended => Fault::aborted(
            reason("CONTENDED"),
            "the sandbox was changed by others; call again",
        )
        .retry_after(BUSY),
        ApplyError::Ending => ending(),
    }
}

impl From<Exceeded> for Fault {
    fn from(exceeded: Exceeded) -> Self {
        let Exceeded {
            resource,
            of_user,
            limit,
            used,
            wait,
        } = &exceeded;
        let what = match resource {
            Resource::Live => "delete or suspend a sandbox, or ask for a larger quota",
            Resource::Memory => {
                "delete or suspend a sandbox, take a template with less memory, or ask for a larger quota"
            }
            Resource::Suspended => "delete a suspended sandbox, or ask for a larger quota",
            Resource::Starts => "wait as told, or ask for a larger quota",
        };
        let whose = if *of_user { "user" } else { "tenant" };
        let (name, wait) = (resource.as_str(), *wait);
        let subject = format!("{whose}/{name}");
        let fault = Fault::exhausted(
            reason("QUOTA_EXCEEDED"),
            format!("the quota of the {whose} is used up ({name}: {used} of {limit}); {what}"),
        )
        .quota(&subject, &format!("{used} of {limit} used"))
        .meta("quota", name)
        .meta("of", whose)
        .meta("limit", limit)
        .meta("used", used);
        match wait {
            Some(wait) => fault.retry_after(wait),
            None => fault,
        }
    }
}

impl From<ScopeError> for Fault {
    fn from(error: ScopeError) -> Self {
        let text = error.to_string();
        match error {
            ScopeError::NoCaller => Fault::permission_denied(reason("CALLER_NOT_ALLOWED"), text),
            ScopeError::NoUser => Fault::permission_denied(reason("USER_MISSING"), text),
            ScopeError::MayNotName => Fault::permission_denied(reason("USER_NOT_NAMEABLE"), text),
        }
    }
}

impl From<UserError> for Fault {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Scope(error) => error.into(),
            UserError::Malformed(malformed) => malformed.into(),
        }
    }
}

/// The live sandbox is not, or may not be, what is asked for.
fn differs(field: &'static str) -> Fault {
    let text = match field {
        "ttl" => "the conversation has a live sandbox with another ttl; ExtendSandbox moves its end".to_owned(),
        "environment" => "the conversation has a live sandbox, with whose environment another cannot be compared; \
                          leave it out, or suspend the sandbox and resume it with this environment"
            .to_owned(),
        field => format!(
            "the conversation has a live sandbox with another {field}; delete it first, or ask for the same"
        ),
    };
    Fault::already_exists(reason("SANDBOX_DIFFERS"), text).meta("field", field)
}

/// What a resume that began nothing is to the caller.
pub(crate) fn of_resume(error: ResumeError, id: &SandboxId) -> Fault {
    match error {
        ResumeError::Malformed(malformed) => malformed.into(),
        ResumeError::Runs => differs("environment"),
        ResumeError::Apply(error) => of_apply(error, id),
    }
}

/// What a suspend that began nothing is to the caller.
pub(crate) fn of_suspend(error: SuspendError, id: &SandboxId) -> Fault {
    match error {
        SuspendError::NotStored(why) => Fault::failed_precondition(
            reason("FILES_NOT_STORED"),
            format!(
                "the files cannot be stored, so the sandbox runs on: {why}; remove what is in the way, or \
                 delete the sandbox, which drops what is not stored"
            ),
        )
        .precondition("FILES", "workspace", "they must be within what can be stored")
        .about("sandbox", id),
        SuspendError::Apply(error) => of_apply(error, id),
    }
}

/// A refusal that could not be put on record is no answer yet.
pub(crate) fn unrecorded(error: &StoreError) -> Fault {
    tracing::warn!(%error, "a refusal is not on record");
    Fault::unavailable(
        reason("AUDIT_UNAVAILABLE"),
        "the answer could not be put on record; call again",
    )
    .retry_after(BUSY)
}

/// What a create that made nothing is to the caller.
pub(crate) fn of_create(error: CreateError) -> Fault {
    match error {
        CreateError::Malformed(malformed) => malformed.into(),
        CreateError::OwnedByAnother => {
            Fault::permission_denied(reason("CONVERSATION_OWNED"), OWNED_BY_ANOTHER)
        }
        CreateError::Differs(field) => differs(field),
        CreateError::Ending => Refusal::Ending.into(),
        CreateError::RequestReused => Malformed::new(
            "request_id",
            "must not repeat that of a request with other content",
        )
        .into(),
        CreateError::Gone => Fault::not_found(
            reason("SANDBOX_UNKNOWN"),
            "the sandbox that this request made is gone; use another request_id",
        ),
        CreateError::Exceeded(exceeded) | CreateError::Apply(ApplyError::Exceeded(exceeded)) => {
            exceeded.into()
        }
        CreateError::Apply(ApplyError::Store(error)) => error.into(),
        CreateError::Apply(ApplyError::Refused(refusal)) => refusal.into(),
        CreateError::Apply(ApplyError::Contended | ApplyError::Other | ApplyError::Unknown) => {
            Fault::aborted(
                reason("CONTENDED"),
                "the sandbox was changed by others; call again",
            )
            .retry_after(BUSY)
        }
        CreateError::Apply(ApplyError::Ending) => ending(),
    }
}
