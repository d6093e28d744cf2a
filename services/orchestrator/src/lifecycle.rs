//! The life of a sandbox, as a pure function: `(state, event) -> (state, effects)`.
//!
//! It knows neither database nor peers. Whoever drives it writes the new state by compare-and-swap, and only
//! then carries the effects out; so after a crash the written intent says what was left to do. ATTACHING and
//! HYDRATING are progress of a start that lives in memory: after a crash a start begins again, with another
//! instance and a raised generation, since an instance that was ever claimed serves nobody else.

use sandgate_types::{InstanceId, SessionId, Timestamp, VersionId};

use crate::sandbox::{Bound, Ending, Intent, Phase, Reason, Run, State, sentence};

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
    /// The keeper reported the workspace complete.
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
    /// Resume.
    Resume,
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
        Event::Resume => resume(state),
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

fn claimed(state: &State, claim: Claim, now: Timestamp) -> Step {
    if !state.is_starting() || state.phase != Phase::Claiming {
        return Err(Refusal::Late);
    }
    let Claim {
        instance,
        session,
        cold,
        bounds,
    } = claim;
    let run = Run {
        instance,
        session,
        claimed_at: now,
        cold,
        complete: false,
        gone: false,
    };
    let next = State {
        run: Some(run),
        bounds,
        ..with(state, Phase::Attaching, Reason::None)
    };
    Ok((next, vec![Effect::Publish]))
}

fn claim_failed(state: &State, message: &str, now: Timestamp) -> Step {
    if !state.is_starting() {
        return Err(Refusal::Late);
    }
    start_failed(state, Reason::NoCapacity, sentence(message), now)
}

fn attached(state: &State, hydrates: bool) -> Step {
    match state.phase {
        Phase::Attaching if hydrates => Ok((
            with(state, Phase::Hydrating, Reason::None),
            vec![Effect::ForgetEnvironment],
        )),
        Phase::Attaching => Ok(ready(state, None)),
        // The keeper's report overtook Attach's answer.
        Phase::Ready => unchanged(state),
        Phase::Claiming
        | Phase::Hydrating
        | Phase::Suspending
        | Phase::Suspended
        | Phase::Deleting
        | Phase::Deleted
        | Phase::Finished
        | Phase::Failed => Err(Refusal::Late),
    }
}

fn ready(state: &State, version: Option<VersionId>) -> (State, Vec<Effect>) {
    let mut next = with(state, Phase::Ready, Reason::None);
    next.intent = None;
    next.awaits_environment = false;
    next.workspace = version.or(next.workspace);
    if let Some(run) = &mut next.run {
        run.complete = true;
    }
    (next, vec![Effect::Write, Effect::ForgetEnvironment])
}

fn hydrated(state: &State, version: Option<VersionId>) -> Step {
    match state.phase {
        Phase::Attaching | Phase::Hydrating => Ok(ready(state, version)),
        Phase::Ready => unchanged(state),
        Phase::Claiming
        | Phase::Suspending
        | Phase::Suspended
        | Phase::Deleting
        | Phase::Deleted
        | Phase::Finished
        | Phase::Failed => Err(Refusal::Late),
    }
}

/// A start that cannot go on: whatever it has claimed is taken away again.
fn start_failed(state: &State, reason: Reason, message: String, now: Timestamp) -> Step {
    if !state.is_starting() {
        return Err(Refusal::Late);
    }
    let next = State {
        message,
        intent: Some(Intent::End),
        ending: Some(Ending::at(now)),
        ..with(state, Phase::Failed, reason)
    };
    let mut effects = vec![Effect::Write, Effect::Drive, Effect::ForgetEnvironment];
    if next.run.is_some() {
        effects.push(Effect::Withdraw);
    }
    Ok((next, effects))
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

fn command_ended(
    state: &State,
    exit_code: Option<i32>,
    signal: Option<i32>,
    last_output: Vec<u8>,
    now: Timestamp,
) -> Step {
    let ending = Ending {
        at: now,
        exit_code,
        signal,
        last_output,
        not_synced: String::new(),
    };
    match state.phase {
        Phase::Attaching | Phase::Hydrating | Phase::Ready => {
            let next = State {
                intent: Some(Intent::End),
                ending: Some(ending),
                ..with(state, Phase::Finished, Reason::CommandEnded)
            };
            let effects = vec![
                Effect::Write,
                Effect::Interrupt,
                Effect::Withdraw,
                Effect::Drive,
                Effect::ForgetEnvironment,
            ];
            Ok((next, effects))
        }
        // Drain stopped it; how it ended belongs on record all the same.
        Phase::Deleting if state.ending.is_none() => {
            let next = State {
                ending: Some(ending),
                ..state.clone()
            };
            Ok((next, vec![Effect::Write]))
        }
        Phase::Claiming
        | Phase::Suspending
        | Phase::Suspended
        | Phase::Deleting
        | Phase::Deleted
        | Phase::Finished
        | Phase::Failed => Err(Refusal::Late),
    }
}

fn lost(state: &State, now: Timestamp) -> Step {
    let Some(run) = &state.run else {
        return Err(Refusal::Late);
    };
    if run.gone {
        return unchanged(state);
    }
    let mut next = state.clone();
    next.run = Some(Run {
        gone: true,
        ..run.clone()
    });
    match state.phase {
        Phase::Attaching | Phase::Hydrating | Phase::Ready => {
            next.phase = Phase::Failed;
            next.reason = Reason::InstanceLost;
            next.message =
                "the instance ended unasked; create the conversation again, from its last version"
                    .to_owned();
            next.intent = Some(Intent::End);
            next.ending = Some(Ending::at(now));
            let effects = vec![
                Effect::Write,
                Effect::Interrupt,
                Effect::Withdraw,
                Effect::Drive,
                Effect::ForgetEnvironment,
            ];
            Ok((next, effects))
        }
        // It is being taken away anyway, and whoever does that asks the backend what is left.
        Phase::Suspending | Phase::Deleting | Phase::Finished | Phase::Failed => unchanged(state),
        Phase::Claiming | Phase::Suspended | Phase::Deleted => Err(Refusal::Late),
    }
}

fn backend_restarted(state: &State) -> Step {
    let Some(run) = &state.run else {
        return Err(Refusal::Late);
    };
    let gone = Some(Run {
        gone: true,
        ..run.clone()
    });
    if state.phase == Phase::Ready {
        let next = State {
            run: gone,
            intent: Some(Intent::End),
            message: "resume it; it goes on from the last synced version".to_owned(),
            ..with(state, Phase::Suspending, Reason::BackendRestarted)
        };
        return Ok((next, vec![Effect::Write, Effect::Withdraw, Effect::Drive]));
    }
    Err(Refusal::Late)
}

fn start_again(state: &State) -> Step {
    if !state.is_starting() {
        return Err(Refusal::Late);
    }
    let next = State {
        run: None,
        bounds: Vec::new(),
        generation: state.generation.next(),
        ..with(state, Phase::Claiming, Reason::None)
    };
    Ok((next, vec![Effect::Write, Effect::Drive]))
}

fn suspend(state: &State, reason: Reason) -> Step {
    match state.phase {
        Phase::Claiming | Phase::Attaching | Phase::Hydrating | Phase::Ready => {
            let next = State {
                intent: Some(Intent::End),
                ..with(state, Phase::Suspending, reason)
            };
            Ok((next, ending_effects()))
        }
        Phase::Suspending | Phase::Suspended => unchanged(state),
        Phase::Deleting => Err(Refusal::Ending),
        Phase::Deleted | Phase::Finished | Phase::Failed => Err(Refusal::Ended),
    }
}

fn ending_effects() -> Vec<Effect> {
    vec![
        Effect::Write,
        Effect::Interrupt,
        Effect::Withdraw,
        Effect::Drive,
        Effect::ForgetEnvironment,
    ]
}

fn resume(state: &State) -> Step {
    match state.phase {
        Phase::Suspended => {
            let next = State {
                run: None,
                bounds: Vec::new(),
                generation: state.generation.next(),
                intent: Some(Intent::Start),
                ending: None,
                awaits_environment: false,
                ..with(state, Phase::Claiming, Reason::None)
            };
            Ok((next, vec![Effect::Write, Effect::Drive]))
        }
        Phase::Claiming | Phase::Attaching | Phase::Hydrating | Phase::Ready => unchanged(state),
        Phase::Suspending | Phase::Deleting => Err(Refusal::Ending),
        Phase::Deleted | Phase::Finished | Phase::Failed => Err(Refusal::Ended),
    }
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

fn delete(state: &State, reason: Reason, now: Timestamp) -> Step {
    match state.phase {
        Phase::Deleting | Phase::Deleted => unchanged(state),
        // Nothing is left of it but its row; its conversation may have another sandbox by now.
        Phase::Finished | Phase::Failed if !state.is_live() => {
            let before = state.ending.clone().unwrap_or_else(|| Ending::at(now));
            let next = State {
                ending: Some(Ending { at: now, ..before }),
                ..with(state, Phase::Deleted, reason)
            };
            Ok((next, vec![Effect::Write]))
        }
        Phase::Claiming
        | Phase::Attaching
        | Phase::Hydrating
        | Phase::Ready
        | Phase::Suspending
        | Phase::Suspended
        | Phase::Finished
        | Phase::Failed => {
            let next = State {
                intent: Some(Intent::End),
                ..with(state, Phase::Deleting, reason)
            };
            Ok((next, ending_effects()))
        }
    }
}

fn ended(state: &State, version: Option<VersionId>, not_synced: String, now: Timestamp) -> Step {
    if state.intent != Some(Intent::End) {
        return Err(Refusal::Late);
    }
    let phase = match state.phase {
        Phase::Suspending => Phase::Suspended,
        Phase::Deleting => Phase::Deleted,
        Phase::Finished => Phase::Finished,
        Phase::Failed => Phase::Failed,
        Phase::Claiming
        | Phase::Attaching
        | Phase::Hydrating
        | Phase::Ready
        | Phase::Suspended
        | Phase::Deleted => return Err(Refusal::Late),
    };
    // A sandbox that failed before its delete keeps what is known of that end, but not its time: the
    // tombstone counts from the delete.
    let at = match (&state.ending, phase) {
        (Some(ending), Phase::Finished | Phase::Failed) => ending.at,
        (Some(_) | None, _) => now,
    };
    let before = state.ending.clone().unwrap_or_else(|| Ending::at(now));
    let not_synced = if not_synced.is_empty() {
        before.not_synced.clone()
    } else {
        sentence(&not_synced)
    };
    let next = State {
        phase,
        run: None,
        intent: None,
        workspace: version.or_else(|| state.workspace.clone()),
        ending: Some(Ending {
            at,
            not_synced,
            ..before
        }),
        ..state.clone()
    };
    Ok((next, vec![Effect::Write]))
}

#[cfg(test)]
mod tests;
