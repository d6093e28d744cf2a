//! The life of a sandbox, as a pure function: `(state, event) -> (state, effects)`.
//!
//! It knows neither database nor peers. Whoever drives it writes the new state by compare-and-swap, and only
//! then carries the effects out; so after a crash the written intent says what was left to do. ATTACHING and
//! HYDRATING are progress of a start that lives in memory: after a crash a start begins again, with another
//! instance and a raised generation, since an instance that was ever claimed serves nobody else.

mod end;
mod start;

use sandgate_types::{InstanceId, SessionId, Timestamp, VersionId};

use self::end::{backend_restarted, command_ended, delete, ended, lost, suspend};
use self::start::{attached, claim_failed, claimed, hydrated, resume, start_again, start_failed};
use crate::environment::Environment;
use crate::sandbox::{Bound, Phase, Reason, State, sentence};

/// Something that happened to a sandbox, or was asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The backend acknowledged the claim.
    Claimed(Claim),
    /// The backend has no instance.
    ClaimFailed(String),
    /// The keeper took its identity; `hydrates` tells whether there are files to bring in.
    Attached {
        /// Whether the workspace has a version.
        hydrates: bool,
    },
    /// The keeper did not take its identity.
    AttachFailed(String),
    /// The workspace is complete: the keeper reported it, or there is nothing to bring in.
    Hydrated(Option<VersionId>),
    /// The keeper reported that it is not, or did not report in time.
    HydrateFailed(String),
    /// A version was stored.
    Synced(VersionId),
    /// The template's command ended.
    CommandEnded {
        /// Its exit code.
        exit_code: Option<i32>,
        /// Its signal.
        signal: Option<i32>,
        /// The last of its output.
        last_output: Vec<u8>,
    },
    /// The backend says that the instance is gone.
    InstanceLost,
    /// The backend restarted, and its instances died with it.
    BackendRestarted,
    /// The orchestrator restarted in the middle of a start; its instance, if any, is destroyed.
    StartAgain,
    /// The environment of a start was lost with the process that held it.
    EnvironmentLost,
    /// Suspend, for this reason.
    Suspend(Reason),
    /// Resume, with this environment.
    Resume(Environment),
    /// A new end.
    Extend(Timestamp),
    /// Delete, for this reason.
    Delete(Reason),
    /// Its instance is gone, verified, and nothing that was minted for it is accepted any more.
    Ended {
        /// The newest version that is known to be stored.
        version: Option<VersionId>,
        /// What could not be synced; empty when everything was.
        not_synced: String,
    },
}

/// What the backend gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// The session that begins in it.
    pub(crate) session: SessionId,
    /// Whether it had to be started for this claim.
    pub(crate) cold: bool,
    /// What bounds it.
    pub(crate) bounds: Vec<Bound>,
}

/// What has to be done once the new state is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Write the state. Without it, the change is progress that memory alone keeps.
    Write,
    /// Tell whoever waits, and nothing else. Every change is told.
    Show,
    /// Carry the intent out.
    Drive,
    /// Whoever carries out an earlier intent stops at the next safe place.
    Interrupt,
    /// Gates learn that the instance serves this conversation.
    Publish,
    /// Gates learn that the instance takes no new calls.
    Withdraw,
    /// Nobody waits for the environment any more.
    ForgetEnvironment,
}

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is on its way to no instance; the same call helps later.
    #[error("the sandbox is being suspended or deleted")]
    Ending,
    /// It ended; another create makes another one.
    #[error("the sandbox has ended")]
    Ended,
    /// It is not what the event is about any more.
    #[error("the event came too late")]
    Late,
    /// It has an environment, and the resume brings none.
    #[error("the sandbox has an environment, which a resume must bring again")]
    EnvironmentMissing,
    /// It runs, so it cannot take what a resume brings.
    #[error("the sandbox runs already")]
    Runs,
}

/// Decides what `event` at `now` makes of `state`. An event that changes nothing has no effects.
///
/// # Errors
/// [`Refusal`]; nothing changes then.
pub(crate) fn step(
    state: &State,
    event: Event,
    now: Timestamp,
) -> Result<(State, Vec<Effect>), Refusal> {
    match event {
        Event::Claimed(claim) => claimed(state, claim, now),
        Event::ClaimFailed(message) => claim_failed(state, &message, now),
        Event::Attached { hydrates } => attached(state, hydrates),
        Event::AttachFailed(message) => {
            start_failed(state, Reason::AttachFailed, sentence(&message), now)
        }
        Event::Hydrated(version) => hydrated(state, version),
        Event::HydrateFailed(message) => {
            start_failed(state, Reason::HydrateFailed, sentence(&message), now)
        }
        Event::Synced(version) => synced(state, version),
        Event::CommandEnded {
            exit_code,
            signal,
            last_output,
        } => command_ended(state, exit_code, signal, last_output, now),
        Event::InstanceLost => lost(state, now),
        Event::BackendRestarted => backend_restarted(state),
        Event::StartAgain => start_again(state),
        Event::EnvironmentLost => start_failed(
            state,
            Reason::AttachFailed,
            "the environment of the request was lost in a restart; create it again".to_owned(),
            now,
        ),
        Event::Suspend(reason) => suspend(state, reason),
        Event::Resume(environment) => resume(state, &environment),
        Event::Extend(until) => extend(state, until),
        Event::Delete(reason) => delete(state, reason, now),
        Event::Ended {
            version,
            not_synced,
        } => ended(state, version, not_synced, now),
    }
}

type Step = Result<(State, Vec<Effect>), Refusal>;

fn unchanged(state: &State) -> Step {
    Ok((state.clone(), Vec::new()))
}

fn with(state: &State, phase: Phase, reason: Reason) -> State {
    State {
        phase,
        reason,
        message: String::new(),
        ..state.clone()
    }
}

fn synced(state: &State, version: VersionId) -> Step {
    if state.run.is_none() {
        return Err(Refusal::Late);
    }
    if state.workspace.as_ref() == Some(&version) {
        return unchanged(state);
    }
    let next = State {
        workspace: Some(version),
        ..state.clone()
    };
    Ok((next, vec![Effect::Write]))
}

fn extend(state: &State, until: Timestamp) -> Step {
    if state.expires_at == until && state.is_live() && state.phase != Phase::Deleting {
        return unchanged(state);
    }
    match state.phase {
        Phase::Claiming
        | Phase::Attaching
        | Phase::Hydrating
        | Phase::Ready
        | Phase::Suspending
        | Phase::Suspended => {
            let next = State {
                expires_at: until,
                ..state.clone()
            };
            Ok((next, vec![Effect::Write]))
        }
        Phase::Deleting => Err(Refusal::Ending),
        Phase::Deleted | Phase::Finished | Phase::Failed => Err(Refusal::Ended),
    }
}

#[cfg(test)]
mod tests;
