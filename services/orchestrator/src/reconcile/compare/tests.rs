//! What a crash leaves, case by case.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_types::{
    ConversationId, Labels, SessionId, TemplateName, TenantId, Timestamp, UserId,
};

use super::*;
use crate::sandbox::{Facts, Reason, Run, State};

const START: When = When {
    at_start: true,
    instances_survive: false,
};
const LATER: When = When {
    at_start: false,
    instances_survive: false,
};

/// A comparison during which the backend's list stayed the same.
fn plan(rows: &[Known], instances: &[Listed], when: When) -> Vec<Action> {
    let there = instances.iter().map(|listed| listed.instance.clone());
    super::plan(rows, instances, &there.collect(), when)
}

fn instance(seed: u64) -> InstanceId {
    InstanceId::random(&mut StdRng::seed_from_u64(seed))
}

fn row(phase: Phase, intent: Option<Intent>, runs_in: Option<InstanceId>) -> Known {
    let mut rng = StdRng::seed_from_u64(99);
    let run = runs_in.map(|instance| Run {
        instance,
        session: SessionId::random(&mut rng),
        claimed_at: Timestamp::EPOCH,
        cold: false,
        complete: true,
        gone: false,
    });
    let facts = Facts {
        id: SandboxId::random(&mut rng),
        tenant: TenantId::parse("tenant", "a").expect("valid"),
        user: UserId::parse("user", "u").expect("valid"),
        conversation: ConversationId::parse("conversation", "c").expect("valid"),
        template: TemplateName::parse("template", "default").expect("valid"),
        labels: Labels::new(),
        created_at: Timestamp::EPOCH,
        ttl: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        memory: 0,
        operations: None,
    };
    let state = State {
        phase,
        reason: Reason::None,
        message: String::new(),
        generation: Generation::FIRST,
        run,
        expires_at: Timestamp::EPOCH,
        workspace: None,
        ending: None,
        bounds: Vec::new(),
        intent,
        awaits_environment: false,
        has_environment: false,
    };
    Known {
        sandbox: Arc::new(Sandbox {
            facts,
            state,
            version: 1,
        }),
        driven: false,
        elsewhere: false,
    }
}

fn claimed(seed: u64, row: &Known) -> Listed {
    Listed {
        instance: instance(seed),
        claim: Some((row.sandbox.facts.id.clone(), Some(Generation::FIRST))),
    }
}

#[test]
fn an_instance_without_a_row_is_destroyed_and_a_spare_is_not() {
    let gone = row(Phase::Ready, None, None);
    let id = gone.sandbox.facts.id.clone();
    let spare = Listed {
        instance: instance(2),
        claim: None,
    };
    assert_eq!(
        plan(&[], &[claimed(1, &gone), spare], LATER),
        [Action::Destroy(instance(1), id)]
    );
}

#[test]
fn a_start_begins_again_without_the_instance_that_it_had_claimed() {
    let row = row(Phase::Claiming, Some(Intent::Start), None);
    let id = row.sandbox.facts.id.clone();
    let listed = claimed(1, &row);
    assert_eq!(
        plan(&[row], &[listed], START),
        [
            Action::Destroy(instance(1), id.clone()),
            Action::Tell(id, Event::StartAgain)
        ]
    );
}

#[test]
fn an_end_goes_on_and_keeps_its_instance_until_it_has_synced() {
    let row = row(Phase::Deleting, Some(Intent::End), Some(instance(1)));
    let id = row.sandbox.facts.id.clone();
    let listed = claimed(1, &row);
    assert_eq!(plan(&[row], &[listed], START), [Action::Drive(id)]);
}

#[test]
fn a_row_whose_instance_died_with_the_backend_is_told_so_and_a_later_loss_is_another() {
    let row = row(Phase::Ready, None, Some(instance(1)));
    let id = row.sandbox.facts.id.clone();
    let rows = [row];
    assert_eq!(
        plan(&rows, &[], START),
        [Action::Tell(id.clone(), Event::BackendRestarted)]
    );
    let survives = When {
        instances_survive: true,
        ..START
    };
    assert_eq!(
        plan(&rows, &[], survives),
        [Action::Tell(id.clone(), Event::InstanceLost)]
    );
    assert_eq!(
        plan(&rows, &[], LATER),
        [Action::Tell(id, Event::InstanceLost)]
    );
}

#[test]
fn a_row_that_became_ready_after_the_first_list_is_not_lost() {
    let row = row(Phase::Ready, None, Some(instance(1)));
    let there = HashSet::from([instance(1)]);
    assert_eq!(super::plan(&[row], &[], &there, LATER), []);
}

#[test]
fn what_a_task_is_at_is_left_to_it() {
    let mut row = row(Phase::Claiming, Some(Intent::Start), None);
    row.driven = true;
    let listed = claimed(1, &row);
    assert_eq!(plan(&[row], &[listed], LATER), []);
}

#[test]
fn what_another_orchestrator_is_at_is_left_to_it() {
    for intent in [Intent::Start, Intent::End] {
        let mut row = row(Phase::Claiming, Some(intent), None);
        row.elsewhere = true;
        let listed = claimed(1, &row);
        assert_eq!(plan(&[row], &[listed], LATER), []);
    }
}

#[test]
fn an_instance_of_another_generation_or_beside_the_rows_own_is_destroyed() {
    let row = row(Phase::Ready, None, Some(instance(1)));
    let id = row.sandbox.facts.id.clone();
    let old = Listed {
        instance: instance(2),
        claim: Some((id.clone(), Some(Generation::FIRST.next()))),
    };
    let beside = claimed(3, &row);
    let own = claimed(1, &row);
    assert_eq!(
        plan(&[row], &[own, old, beside], START),
        [
            Action::Destroy(instance(2), id.clone()),
            Action::Destroy(instance(3), id.clone()),
            Action::Adopt(id)
        ]
    );
}

#[test]
fn a_suspended_sandbox_needs_nothing() {
    assert_eq!(plan(&[row(Phase::Suspended, None, None)], &[], START), []);
}
