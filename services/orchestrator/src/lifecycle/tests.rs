//! The rules of a sandbox's life, one by one and in any order.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_types::Generation;

use super::*;
use crate::sandbox::Intent;

const NOW: Timestamp = Timestamp::EPOCH;

fn claiming() -> State {
    State {
        phase: Phase::Claiming,
        reason: Reason::None,
        message: String::new(),
        generation: Generation::FIRST,
        run: None,
        expires_at: Timestamp::from_seconds(3600),
        workspace: None,
        ending: None,
        bounds: Vec::new(),
        intent: Some(Intent::Start),
        awaits_environment: false,
        has_environment: false,
    }
}

fn claim(seed: u64) -> Event {
    let mut rng = StdRng::seed_from_u64(seed);
    Event::Claimed(Claim {
        instance: InstanceId::random(&mut rng),
        session: SessionId::random(&mut rng),
        cold: false,
        bounds: Vec::new(),
    })
}

fn version(seed: u64) -> VersionId {
    VersionId::random(&mut StdRng::seed_from_u64(seed))
}

fn after(events: impl IntoIterator<Item = Event>) -> State {
    events.into_iter().fold(claiming(), |state, event| {
        step(&state, event.clone(), NOW)
            .unwrap_or_else(|refusal| panic!("{event:?} in {:?}: {refusal}", state.phase))
            .0
    })
}

fn ready_state() -> State {
    after([
        claim(1),
        Event::Attached { hydrates: false },
        Event::Hydrated(None),
    ])
}

fn environment() -> Environment {
    Environment::new([("KEY".to_owned(), "value".to_owned())].into())
}

/// Suspended, after a run that had an environment.
fn suspended_with_environment() -> State {
    let begun = State {
        has_environment: true,
        ..ready_state()
    };
    let ended = Event::Ended {
        version: None,
        not_synced: String::new(),
    };
    [Event::Suspend(Reason::Requested), ended]
        .into_iter()
        .fold(begun, |state, event| {
            step(&state, event, NOW).expect("it ends").0
        })
}

#[test]
fn what_had_an_environment_is_not_resumed_without_one() {
    let suspended = suspended_with_environment();
    let without = step(&suspended, Event::Resume(Environment::default()), NOW);
    assert_eq!(without, Err(Refusal::EnvironmentMissing));
    let (state, effects) = step(&suspended, Event::Resume(environment()), NOW).expect("resumed");
    assert!(state.awaits_environment && state.has_environment);
    assert_eq!(effects, [Effect::Write, Effect::Drive]);
}

#[test]
fn what_runs_takes_no_environment() {
    let refused = step(&ready_state(), Event::Resume(environment()), NOW);
    assert_eq!(refused, Err(Refusal::Runs));
}

#[test]
fn what_is_attached_runs_before_that_is_written() {
    let attaching = after([claim(1)]);
    for hydrates in [false, true] {
        let (running, effects) =
            step(&attaching, Event::Attached { hydrates }, NOW).expect("it is attached");
        assert_eq!(
            (running.phase, effects),
            (Phase::Hydrating, vec![Effect::Show])
        );
        let complete = running.run.is_some_and(|run| run.complete);
        assert_eq!(complete, !hydrates, "without a version all files are there");
    }
}

#[test]
fn a_workspace_without_versions_is_ready_right_after_attach() {
    let state = ready_state();
    assert_eq!((state.phase, state.intent), (Phase::Ready, None));
}

#[test]
fn a_workspace_with_a_version_is_ready_once_it_is_there() {
    let hydrating = after([claim(1), Event::Attached { hydrates: true }]);
    assert_eq!(hydrating.phase, Phase::Hydrating);
    let (ready, effects) =
        step(&hydrating, Event::Hydrated(Some(version(1))), NOW).expect("it is there");
    assert_eq!(
        (ready.phase, ready.workspace),
        (Phase::Ready, Some(version(1)))
    );
    assert!(effects.contains(&Effect::Write));
}

#[test]
fn a_report_that_overtakes_the_answer_of_attach_counts() {
    let state = after([
        claim(1),
        Event::Hydrated(None),
        Event::Attached { hydrates: true },
    ]);
    assert_eq!(state.phase, Phase::Ready);
}

#[test]
fn a_start_that_fails_after_its_claim_takes_the_instance_away_before_it_is_over() {
    let state = after([claim(1), Event::AttachFailed("no".into())]);
    assert_eq!(
        (state.phase, state.reason),
        (Phase::Failed, Reason::AttachFailed)
    );
    assert!(state.is_live() && state.run.is_some());
    let (over, _) = step(
        &state,
        Event::Ended {
            version: None,
            not_synced: String::new(),
        },
        NOW,
    )
    .expect("gone");
    assert!(!over.is_live() && over.run.is_none());
}

#[test]
fn suspending_twice_and_deleting_twice_change_nothing_more() {
    let suspending = after([
        claim(1),
        Event::Attached { hydrates: false },
        Event::Suspend(Reason::Idle),
    ]);
    let (same, effects) = step(&suspending, Event::Suspend(Reason::Requested), NOW).expect("again");
    assert_eq!((same, effects), (suspending, vec![]));
    let deleting = after([Event::Delete(Reason::Requested)]);
    let (same, effects) = step(&deleting, Event::Delete(Reason::Expired), NOW).expect("again");
    assert_eq!((same, effects), (deleting, vec![]));
}

#[test]
fn a_delete_overtakes_a_suspend_that_is_under_way() {
    let state = after([
        claim(1),
        Event::Attached { hydrates: false },
        Event::Suspend(Reason::Requested),
        Event::Delete(Reason::Requested),
        Event::Ended {
            version: Some(version(2)),
            not_synced: String::new(),
        },
    ]);
    assert!(!state.is_live());
    assert_eq!(
        (state.phase, state.workspace),
        (Phase::Deleted, Some(version(2)))
    );
}

#[test]
fn resume_is_another_generation_without_anything_of_the_last_run() {
    let suspended = after([
        claim(1),
        Event::Attached { hydrates: false },
        Event::Suspend(Reason::Requested),
        Event::Ended {
            version: None,
            not_synced: "all".into(),
        },
    ]);
    let (state, _) =
        step(&suspended, Event::Resume(Environment::default()), NOW).expect("suspended");
    assert_eq!(state.generation, Generation::FIRST.next());
    assert_eq!(
        (state.run, state.ending, state.phase),
        (None, None, Phase::Claiming)
    );
}

#[test]
fn what_ended_is_neither_resumed_nor_suspended_nor_extended() {
    let deleted = after([
        Event::Delete(Reason::Requested),
        Event::Ended {
            version: None,
            not_synced: String::new(),
        },
    ]);
    for event in [
        Event::Resume(Environment::default()),
        Event::Suspend(Reason::Requested),
        Event::Extend(NOW),
    ] {
        assert_eq!(step(&deleted, event, NOW), Err(Refusal::Ended));
    }
}

#[test]
fn an_instance_that_is_lost_fails_and_one_that_died_with_its_backend_can_be_resumed() {
    let (failed, _) = step(&ready_state(), Event::InstanceLost, NOW).expect("lost");
    assert_eq!(
        (failed.phase, failed.reason),
        (Phase::Failed, Reason::InstanceLost)
    );
    let (suspending, _) = step(&ready_state(), Event::BackendRestarted, NOW).expect("restarted");
    let (suspended, _) = step(
        &suspending,
        Event::Ended {
            version: None,
            not_synced: String::new(),
        },
        NOW,
    )
    .expect("over");
    assert_eq!(
        (suspended.phase, suspended.reason),
        (Phase::Suspended, Reason::BackendRestarted)
    );
}

#[test]
fn a_command_that_ends_finishes_its_sandbox_with_its_exit_code() {
    let ended = Event::CommandEnded {
        exit_code: Some(3),
        signal: None,
        last_output: b"bye".to_vec(),
    };
    let state = after([
        claim(1),
        Event::Attached { hydrates: false },
        ended,
        Event::Ended {
            version: None,
            not_synced: String::new(),
        },
    ]);
    assert_eq!(state.phase, Phase::Finished);
    let ending = state.ending.expect("it ended");
    assert_eq!(
        (ending.exit_code, ending.last_output.as_slice()),
        (Some(3), &b"bye"[..])
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<u64>().prop_map(claim),
        Just(Event::ClaimFailed("none".into())),
        any::<bool>().prop_map(|hydrates| Event::Attached { hydrates }),
        Just(Event::AttachFailed("no".into())),
        any::<u64>().prop_map(|seed| Event::Hydrated(Some(version(seed)))),
        Just(Event::HydrateFailed("no".into())),
        any::<u64>().prop_map(|seed| Event::Synced(version(seed))),
        Just(Event::CommandEnded {
            exit_code: Some(0),
            signal: None,
            last_output: Vec::new()
        }),
        Just(Event::InstanceLost),
        Just(Event::BackendRestarted),
        Just(Event::StartAgain),
        Just(Event::EnvironmentLost),
        Just(Event::Suspend(Reason::Idle)),
        Just(Event::Resume(Environment::default())),
        Just(Event::Extend(Timestamp::from_seconds(9))),
        Just(Event::Delete(Reason::Requested)),
        Just(Event::Ended {
            version: None,
            not_synced: String::new()
        }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no instance is forgotten, generations only rise, what ended stays
    /// ended, and what needs doing is written before it is done.
    #[test]
    fn in_any_order_no_instance_is_forgotten(events in prop::collection::vec(any_event(), 0..40)) {
        let mut state = claiming();
        for event in events {
            let Ok((next, effects)) = step(&state, event.clone(), NOW) else { continue };
            prop_assert!(next.generation >= state.generation);
            if !state.is_live() {
                prop_assert!(!next.is_live(), "{:?} revived {:?}", event, state.phase);
            }
            // An instance leaves the row only when it is known to be gone, or with a raised generation.
            let forgotten = state.run.is_some() && next.run.is_none();
            let verified = matches!(event, Event::Ended { .. }) || next.generation > state.generation;
            prop_assert!(!forgotten || verified, "{event:?} forgot an instance");
            prop_assert!(next.run.is_none() || next.is_live(), "{event:?} left an instance behind");
            if next.intent != state.intent || next.phase == Phase::Ready && state.phase != Phase::Ready {
                prop_assert!(effects.contains(&Effect::Write), "{event:?} was not written");
            }
            if next.intent.is_some() && next.intent != state.intent {
                prop_assert!(effects.contains(&Effect::Drive), "{event:?} is never carried out");
            }
            if next == state {
                prop_assert!(effects.is_empty());
            }
            state = next;
        }
    }

    /// From any state that can be reached, a delete and what follows from it leave nothing.
    #[test]
    fn a_delete_always_ends_with_nothing(events in prop::collection::vec(any_event(), 0..40)) {
        let mut state = claiming();
        for event in events {
            if let Ok((next, _)) = step(&state, event, NOW) {
                state = next;
            }
        }
        let (deleting, _) = step(&state, Event::Delete(Reason::Requested), NOW).expect("always possible");
        let over = match step(&deleting, Event::Ended { version: None, not_synced: String::new() }, NOW) {
            Ok((over, _)) => over,
            Err(_) => deleting,
        };
        prop_assert_eq!(over.phase, Phase::Deleted);
        prop_assert!(!over.is_live() && over.run.is_none());
    }
}
