//! On the way to no instance: asked for, by itself, or by loss.

use sandgate_types::{Timestamp, VersionId};

use super::{Effect, Refusal, Step, unchanged, with};
use crate::sandbox::{Ending, Intent, Phase, Reason, Run, State, sentence};

pub(super) fn command_ended(
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

pub(super) fn lost(state: &State, now: Timestamp) -> Step {
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

pub(super) fn backend_restarted(state: &State) -> Step {
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

pub(super) fn suspend(state: &State, reason: Reason) -> Step {
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

pub(super) fn ending_effects() -> Vec<Effect> {
    vec![
        Effect::Write,
        Effect::Interrupt,
        Effect::Withdraw,
        Effect::Drive,
        Effect::ForgetEnvironment,
    ]
}

pub(super) fn delete(state: &State, reason: Reason, now: Timestamp) -> Step {
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

pub(super) fn ended(
    state: &State,
    version: Option<VersionId>,
    not_synced: String,
    now: Timestamp,
) -> Step {
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
