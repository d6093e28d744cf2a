//! What changes between the look at a sandbox and its turn.

use std::pin::pin;
use std::sync::Arc;

use futures_util::poll;
use sandgate_backend::{
    Backend, BackendError, Capabilities, ClaimRequest, Claimed, InstanceEvent, InstanceState,
    PoolState,
};
use sandgate_rpc::{Peer, Service, Shutdown, memory};
use sandgate_testkit::TestClock;
use sandgate_types::InstanceId;
use tokio::sync::broadcast;

use crate::life::{Life, Limits, Parts};
use crate::peers::Peers;
use crate::sandbox::{Phase, Sandbox};
use crate::store::tests::{at, created, lease, on_each, ready, row};
use crate::store::{Beside, Saved, Store};
use crate::template::Templates;

/// When the sandbox of [`ready`] is idle: half an hour after its claim.
const IDLE_AT: i64 = 1_805;

/// A backend that has nothing.
#[derive(Debug)]
struct Nothing;

#[async_trait::async_trait]
impl Backend for Nothing {
    async fn claim(&self, _: ClaimRequest) -> Result<Claimed, BackendError> {
        Err(BackendError::Unavailable)
    }

    async fn release(&self, _: &InstanceId) -> Result<(), BackendError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<InstanceState>, BackendError> {
        Ok(Vec::new())
    }

    async fn pools(&self) -> Vec<PoolState> {
        Vec::new()
    }

    fn watch(&self) -> broadcast::Receiver<InstanceEvent> {
        broadcast::Sender::new(1).subscribe()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            survives_restart: true,
        }
    }

    async fn stop(&self) {}
}

pub(crate) fn life(store: Store, clock: &TestClock) -> Arc<Life> {
    let (_, nobody) = memory();
    let nobody = nobody.target(Peer::Service(Service::Orchestrator));
    Life::new(Parts {
        templates: Templates::parse("{ version: 1, templates: [{ name: default }] }")
            .expect("templates"),
        limits: Limits::default(),
        store,
        backend: Arc::new(Nothing),
        peers: Peers::new(nobody.clone(), nobody.clone(), nobody),
        clock: clock.shared(),
        owner: "me".to_owned(),
        tasks: Shutdown::new(),
        halt: Shutdown::new(),
    })
}

/// A sandbox that is READY, and expires long after it is idle.
async fn ready_in(store: &Store) -> Arc<Sandbox> {
    let mut first = row(1, "ann", "demo");
    first.state.expires_at = at(100_000);
    let ready = ready(&created(store, &first).await);
    let saved = store.save(&ready, &lease("me", 1), Beside::default()).await;
    assert_eq!(saved.expect("save"), Saved::Written);
    Arc::new(ready)
}

/// The phase after a sweep that found the sandbox idle, and had to wait for its turn.
async fn swept(store: Store, used_meanwhile: bool) -> Phase {
    let clock = TestClock::new();
    let sandbox = ready_in(&store).await;
    let (id, run) = (&sandbox.facts.id, sandbox.state.run.as_ref());
    let life = life(store, &clock);
    let cell = life.hub.cell(id);
    cell.show(&sandbox);
    clock.set(at(IDLE_AT));

    let turn = cell.turn.acquire().await.expect("nobody else has it");
    let mut sweep = pin!(life.sweep());
    assert!(poll!(&mut sweep).is_pending(), "it waits for its turn");
    if used_meanwhile {
        life.active(id, &run.expect("it runs").instance, at(IDLE_AT));
    }
    drop(turn);
    sweep.await;
    cell.view().expect("known").state.phase
}

#[tokio::test]
async fn a_sandbox_that_is_used_while_its_suspend_waits_runs_on() {
    on_each(|store| async move {
        assert_eq!(swept(store, true).await, Phase::Ready);
    })
    .await;
}

#[tokio::test]
async fn a_sandbox_that_stays_idle_while_its_suspend_waits_is_suspended() {
    on_each(|store| async move {
        assert_eq!(swept(store, false).await, Phase::Suspending);
    })
    .await;
}
