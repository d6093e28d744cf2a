//! Between what is on the wire and what the rules speak of.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::Duration;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::{duration_from, duration_to, timestamp_to};
use sandgate_session::Operations;
use sandgate_types::{
    LABEL_COUNT_MAX, LABEL_VALUE_MAX_BYTES, LabelKey, Labels, Malformed, RequestId, VersionId,
    Violations,
};

use crate::sandbox::{Ending, Phase, Reason, Sandbox};
use crate::wait::Wait;

/// Variables of one environment, as the proto says.
const ENVIRONMENT_COUNT_MAX: usize = 64;
const ENVIRONMENT_MAX_BYTES: usize = 32 * 1024;
/// The longest idle timeout: what is idle for a day is not idle.
const IDLE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) fn phase_to(phase: Phase) -> pb::Phase {
    match phase {
        Phase::Claiming => pb::Phase::Claiming,
        Phase::Attaching => pb::Phase::Attaching,
        Phase::Hydrating => pb::Phase::Hydrating,
        Phase::Ready => pb::Phase::Ready,
        Phase::Suspending => pb::Phase::Suspending,
        Phase::Suspended => pb::Phase::Suspended,
        Phase::Deleting => pb::Phase::Deleting,
        Phase::Deleted => pb::Phase::Deleted,
        Phase::Finished => pb::Phase::Finished,
        Phase::Failed => pb::Phase::Failed,
    }
}

pub(super) fn phase_from(number: i32) -> Result<Phase, Malformed> {
    let rule = || Malformed::new("phases", "must be phases of a sandbox");
    match pb::Phase::try_from(number).map_err(|_| rule())? {
        pb::Phase::Unspecified => Err(rule()),
        pb::Phase::Claiming => Ok(Phase::Claiming),
        pb::Phase::Attaching => Ok(Phase::Attaching),
        pb::Phase::Hydrating => Ok(Phase::Hydrating),
        pb::Phase::Ready => Ok(Phase::Ready),
        pb::Phase::Suspending => Ok(Phase::Suspending),
        pb::Phase::Suspended => Ok(Phase::Suspended),
        pb::Phase::Deleting => Ok(Phase::Deleting),
        pb::Phase::Deleted => Ok(Phase::Deleted),
        pb::Phase::Finished => Ok(Phase::Finished),
        pb::Phase::Failed => Ok(Phase::Failed),
    }
}

fn reason_to(reason: Reason) -> pb::Reason {
    match reason {
        Reason::None => pb::Reason::Unspecified,
        Reason::Requested => pb::Reason::Requested,
        Reason::Expired => pb::Reason::Expired,
        Reason::Idle => pb::Reason::Idle,
        Reason::SessionMax => pb::Reason::SessionMax,
        Reason::BackendRestarted => pb::Reason::BackendRestarted,
        Reason::InstanceLost => pb::Reason::InstanceLost,
        Reason::NoCapacity => pb::Reason::NoCapacity,
        Reason::AttachFailed => pb::Reason::AttachFailed,
        Reason::HydrateFailed => pb::Reason::HydrateFailed,
        Reason::CommandEnded => pb::Reason::CommandEnded,
    }
}

pub(super) fn wait_from(number: i32) -> Result<Wait, Malformed> {
    let wait = pb::Wait::try_from(number)
        .map_err(|_| Malformed::new("wait", "must be one of the values of Wait"))?;
    Ok(match wait {
        pb::Wait::Unspecified | pb::Wait::Ready | pb::Wait::Hydrated => Wait::Ready,
        pb::Wait::None => Wait::None,
        pb::Wait::Running => Wait::Running,
    })
}

fn ending_to(ending: &Ending) -> pb::Ending {
    let Ending {
        at,
        exit_code,
        signal,
        last_output,
        not_synced,
    } = ending;
    pb::Ending {
        ended_at: Some(timestamp_to(*at)),
        exit_code: *exit_code,
        signal: *signal,
        last_output: last_output.clone(),
        not_synced: not_synced.clone(),
    }
}

/// The sandbox as callers see it.
pub(super) fn sandbox_to(sandbox: &Sandbox) -> pb::Sandbox {
    let (facts, state) = (&sandbox.facts, &sandbox.state);
    let labels = facts
        .labels
        .iter()
        .map(|(key, value)| (key.as_str().to_owned(), value.clone()));
    let instance = state.run.as_ref().map(|run| pb::Instance {
        instance_id: run.instance.as_str().to_owned(),
        generation: state.generation.get(),
        claimed_at: Some(timestamp_to(run.claimed_at)),
        cold: run.cold,
    });
    let bounds = state.bounds.iter().map(|bound| pb::Bound {
        resource: bound.resource.clone(),
        limit: bound.limit,
        mechanism: bound.mechanism.clone(),
    });
    pb::Sandbox {
        sandbox_id: facts.id.as_str().to_owned(),
        tenant: facts.tenant.as_str().to_owned(),
        user: facts.user.as_str().to_owned(),
        conversation: facts.conversation.as_str().to_owned(),
        template: facts.template.as_str().to_owned(),
        phase: phase_to(state.phase).into(),
        reason: reason_to(state.reason).into(),
        message: state.message.clone(),
        labels: labels.collect(),
        created_at: Some(timestamp_to(facts.created_at)),
        expires_at: Some(timestamp_to(state.expires_at)),
        idle_timeout: Some(duration_to(facts.idle_timeout)),
        instance,
        workspace_version: state
            .workspace
            .as_ref()
            .map(VersionId::as_str)
            .unwrap_or_default()
            .to_owned(),
        ending: state.ending.as_ref().map(ending_to),
        bounds: bounds.collect(),
        revision: sandbox.revision(),
    }
}

/// Labels of a create or a filter.
pub(super) fn labels_from(wire: HashMap<String, String>) -> Result<Labels, Violations> {
    let mut violations = Violations::new();
    if wire.len() > LABEL_COUNT_MAX {
        let rule = format!("must have at most {LABEL_COUNT_MAX} entries");
        violations.push(Malformed::new("labels", rule));
    }
    let mut labels = Labels::new();
    for (key, value) in wire {
        if value.len() > LABEL_VALUE_MAX_BYTES || value.chars().any(char::is_control) {
            let rule = format!(
                "must have values of at most {LABEL_VALUE_MAX_BYTES} bytes without control characters"
            );
            violations.push(Malformed::new("labels", rule));
        }
        if let Some(key) = violations.check(LabelKey::parse("labels", &key)) {
            labels.insert(key, value);
        }
    }
    violations.or(labels)
}

/// The environment of a create. Its values are in no message.
pub(super) fn environment_from(
    wire: HashMap<String, String>,
) -> Result<BTreeMap<String, String>, Malformed> {
    let refuse = |rule: String| Err(Malformed::new("environment", rule));
    if wire.len() > ENVIRONMENT_COUNT_MAX {
        return refuse(format!("must have at most {ENVIRONMENT_COUNT_MAX} entries"));
    }
    let bytes: usize = wire
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > ENVIRONMENT_MAX_BYTES {
        return refuse(format!(
            "must have at most {ENVIRONMENT_MAX_BYTES} bytes in all"
        ));
    }
    for (name, value) in &wire {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !plain || name.starts_with(|first: char| first.is_ascii_digit()) {
            return refuse(
                "must have names of letters, digits and '_' that start with no digit".to_owned(),
            );
        }
        if name.starts_with("SANDGATE_") {
            return refuse(
                "must not have names that start with SANDGATE_, which are ours".to_owned(),
            );
        }
        if value.contains('\0') {
            return refuse("must have values without NUL".to_owned());
        }
    }
    Ok(wire.into_iter().collect())
}

/// The id by which a request is known when it is repeated.
pub(super) fn request_from(wire: &str) -> Result<Option<RequestId>, Malformed> {
    match wire {
        "" => Ok(None),
        text => RequestId::parse("request_id", text).map(Some),
    }
}

/// The operations that a create asks for.
pub(super) fn operations_from(
    wire: Option<pb::Operations>,
) -> Result<Option<Vec<String>>, Malformed> {
    let Some(pb::Operations { names }) = wire else {
        return Ok(None);
    };
    if names.iter().any(|name| name == "*") {
        return Err(Malformed::new(
            "operations.names",
            "must be names of operations; leave it absent for all",
        ));
    }
    Operations::parse("operations.names", &names)?;
    let mut names = names;
    names.sort();
    Ok(Some(names))
}

/// A lifetime; the template's maximum is checked where the template is known.
pub(super) fn ttl_from(wire: Option<prost_types::Duration>) -> Result<Option<Duration>, Malformed> {
    let Some(wire) = wire else { return Ok(None) };
    let ttl = duration_from("ttl", &wire)
        .map_err(|_| Malformed::new("ttl", "must be between 1s and the template's max_ttl"))?;
    if ttl < Duration::from_secs(1) {
        return Err(Malformed::new(
            "ttl",
            "must be between 1s and the template's max_ttl",
        ));
    }
    Ok(Some(in_micros(ttl)))
}

/// As it is stored; what is finer would come back different.
fn in_micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// An idle timeout; zero means never.
pub(super) fn idle_from(
    wire: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Malformed> {
    let Some(wire) = wire else { return Ok(None) };
    let idle = duration_from("idle_timeout", &wire)?;
    let whole = in_micros(idle);
    if whole > IDLE_MAX || (!idle.is_zero() && idle < Duration::from_secs(1)) {
        return Err(Malformed::new(
            "idle_timeout",
            "must be zero, or between 1s and 366 days",
        ));
    }
    Ok(Some(whole))
}

#[cfg(test)]
mod tests;
