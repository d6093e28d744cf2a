//! Whose an intent is, and how often a generation is claimed for.

use std::sync::Arc;
use std::time::Duration;

use sandgate_testkit::TestClock;

use crate::life::Life;
use crate::sandbox::{Phase, Sandbox};
use crate::store::tests::{at, lease, on_each, row};
use crate::store::{Creation, Store};
use crate::sweep::tests::life;

/// More than a task takes that has nothing to do.
const LIMIT: Duration = Duration::from_secs(10);

/// A sandbox that is to start, and whose lease is this owner's at first.
async fn starting(store: &Store, owner: &str) -> Sandbox {
    let mut first = row(1, "ann", "demo");
    first.state.awaits_environment = false;
    let entry = sandgate_audit::Entry::of_call("create", &sandgate_rpc::Peer::Local, None);
    match store.create(&first, &lease(owner, 1), None, entry).await {
        Ok(Creation::Created(created)) => created,
        other => panic!("not created: {other:?}"),
    }
}

fn life_at(store: &Store, seconds: i64) -> Arc<Life> {
    let clock = TestClock::new();
    clock.set(at(seconds));
    life(store.clone(), &clock)
}

#[tokio::test]
async fn an_intent_is_left_to_the_orchestrator_whose_lease_is_not_over() {
    on_each(|store| async move {
        let sandbox = starting(&store, "another").await;
        let life = life_at(&store, 2);
        let id = &sandbox.facts.id;
        life.drive(&life.hub.cell(id), id);
        life.tasks.begin();
        assert!(life.tasks.join(LIMIT).await, "it goes on driving");
        let kept = store.get(id).await.expect("read").expect("there");
        assert_eq!(kept.state.phase, Phase::Claiming);
    })
    .await;
}

#[tokio::test]
async fn a_generation_that_was_claimed_for_is_raised_before_the_next_claim() {
    on_each(|store| async move {
        let sandbox = starting(&store, "me").await;
        let life = life_at(&store, 2);
        let id = &sandbox.facts.id;
        let cell = life.hub.cell(id);
        assert!(cell.claims_first(sandbox.state.generation));
        life.drive(&cell, id);
        let mut views = cell.follow();
        // The backend of these tests refuses each claim.
        let failed = views.wait_for(|view| {
            view.as_ref()
                .is_some_and(|sandbox| sandbox.state.phase == Phase::Failed)
        });
        let failed = tokio::time::timeout(LIMIT, failed).await.expect("in time");
        let failed = failed.expect("the cell is there").clone().expect("known");
        assert_eq!(failed.state.generation, sandbox.state.generation.next());
    })
    .await;
}
