//! On the way to READY, and what keeps a sandbox from it.

use sandgate_types::{Timestamp, VersionId};

use super::{Claim, Effect, Refusal, Step, unchanged, with};
use crate::environment::Environment;
use crate::sandbox::{Ending, Intent, Phase, Reason, Run, State, sentence};

pub(super) fn claimed(state: &State, claim: Claim, now: Timestamp) -> Step {
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

pub(super) fn claim_failed(state: &State, message: &str, now: Timestamp) -> Step {
    if !state.is_starting() {
        return Err(Refusal::Late);
    }
    start_failed(state, Reason::NoCapacity, sentence(message), now)
}

pub(super) fn attached(state: &State, hydrates: bool) -> Step {
    match state.phase {
        Phase::Attaching => {
            let mut next = with(state, Phase::Hydrating, Reason::None);
            if let Some(run) = &mut next.run {
                run.complete = !hydrates;
            }
            Ok((next, vec![Effect::Show]))
        }
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

pub(super) fn ready(state: &State, version: Option<VersionId>) -> (State, Vec<Effect>) {
    let mut next = with(state, Phase::Ready, Reason::None);
    next.intent = None;
    next.awaits_environment = false;
    next.workspace = version.or(next.workspace);
    if let Some(run) = &mut next.run {
        run.complete = true;
    }
    (next, vec![Effect::Write, Effect::ForgetEnvironment])
}

pub(super) fn hydrated(state: &State, version: Option<VersionId>) -> Step {
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
pub(super) fn start_failed(state: &State, reason: Reason, message: String, now: Timestamp) -> Step {
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

pub(super) fn start_again(state: &State) -> Step {
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

pub(super) fn resume(state: &State, environment: &Environment) -> Step {
    match state.phase {
        // Running without what it was created with would look the same and be another thing.
        Phase::Suspended if state.has_environment && environment.is_empty() => {
            Err(Refusal::EnvironmentMissing)
        }
        Phase::Suspended => {
            let next = State {
                run: None,
                bounds: Vec::new(),
                generation: state.generation.next(),
                intent: Some(Intent::Start),
                ending: None,
                awaits_environment: !environment.is_empty(),
                has_environment: !environment.is_empty(),
                ..with(state, Phase::Claiming, Reason::None)
            };
            Ok((next, vec![Effect::Write, Effect::Drive]))
        }
        Phase::Claiming | Phase::Attaching | Phase::Hydrating | Phase::Ready => {
            if environment.is_empty() {
                unchanged(state)
            } else {
                Err(Refusal::Runs)
            }
        }
        Phase::Suspending | Phase::Deleting => Err(Refusal::Ending),
        Phase::Deleted | Phase::Finished | Phase::Failed => Err(Refusal::Ended),
    }
}
