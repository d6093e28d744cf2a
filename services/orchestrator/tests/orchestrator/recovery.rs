//! What a restart finds, and makes of it.

use std::sync::atomic::Ordering;

use sandgate_api::orchestrator::v1 as pb;

use crate::harness::{Harness, Run, of, version};

/// A create that does not wait, of a sandbox whose environment is kept nowhere.
fn with_environment() -> pb::CreateSandboxRequest {
    pb::CreateSandboxRequest {
        request_id: "r-1".into(),
        environment: [("KEY".to_owned(), "value".to_owned())].into(),
        wait: pb::Wait::None.into(),
        ..of("demo")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_suspends_what_runs_with_its_last_sync() {
    let orchestrator = Harness::start().await;
    *orchestrator.peers.script.synced.lock() = version(5);
    let sandbox = orchestrator.ready("demo").await;
    let orchestrator = orchestrator.restart().await;
    let found = orchestrator.get(&sandbox.sandbox_id).await.expect("kept");
    assert_eq!(
        (found.phase(), found.workspace_version),
        (pb::Phase::Suspended, version(5))
    );
    assert_eq!(found.ending.expect("its run ended").not_synced, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_survive_are_adopted_and_strangers_are_destroyed() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    let sandbox = orchestrator.ready("demo").await;
    let run = Run::of(&sandbox);
    let nobodys = format!("s{}", "x".repeat(25));
    let stranger = orchestrator.backend.stranger(&nobodys);
    let orchestrator = orchestrator.restart().await;
    let found = orchestrator.get(&sandbox.sandbox_id).await.expect("kept");
    assert_eq!(
        (found.phase(), Run::of(&found).instance),
        (pb::Phase::Ready, run.instance)
    );
    assert!(
        !orchestrator
            .backend
            .instances
            .lock()
            .contains_key(&stranger)
    );
    // It serves on: it can be ended, and reports are heard.
    orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_instances_died_with_the_process_are_suspended_and_resume() {
    let orchestrator = Harness::start().await;
    // It says that instances survive, so that the end leaves them; then they are gone all the same.
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    let sandbox = orchestrator.ready("demo").await;
    let first = Run::of(&sandbox);
    let orchestrator = orchestrator
        .restart_after(|backend| {
            backend.instances.lock().clear();
            backend.survives.store(false, Ordering::SeqCst);
        })
        .await;
    let found = orchestrator
        .until(&sandbox.sandbox_id, pb::Phase::Suspended)
        .await;
    assert_eq!(found.reason(), pb::Reason::BackendRestarted);
    let resumed = orchestrator
        .resume(&sandbox.sandbox_id)
        .await
        .expect("resumed");
    assert!(Run::of(&resumed).generation > first.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_a_crash_cut_is_made_again_and_the_clients_retry_gets_one_sandbox() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    orchestrator.peers.hold("attach");
    let request = pb::CreateSandboxRequest {
        request_id: "r-1".into(),
        wait: pb::Wait::None.into(),
        ..of("demo")
    };
    let sandbox = orchestrator
        .create(request.clone())
        .await
        .expect("recorded")
        .sandbox
        .expect("a sandbox");
    orchestrator.peers.asked("attach").await;
    let claimed = orchestrator.backend.claimed();
    let orchestrator = orchestrator.restart().await;
    orchestrator.peers.let_go("attach");
    let retry = pb::CreateSandboxRequest {
        wait: pb::Wait::Ready.into(),
        ..request
    };
    let retried = orchestrator.create(retry).await.expect("ready");
    let found = retried.sandbox.expect("a sandbox");
    assert_eq!(found.sandbox_id, sandbox.sandbox_id);
    assert_eq!(Run::of(&found).generation, 2);
    let now = orchestrator.backend.claimed();
    assert_eq!(now.len(), 1);
    assert_ne!(
        now, claimed,
        "an instance that was ever claimed is not used again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_a_crash_lost_is_brought_again_by_the_retry() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    orchestrator.peers.hold("mint");
    let request = with_environment();
    orchestrator
        .create(request.clone())
        .await
        .expect("recorded");
    orchestrator.peers.asked("mint").await;
    let orchestrator = orchestrator.restart().await;
    orchestrator.peers.let_go("mint");
    let retry = pb::CreateSandboxRequest {
        wait: pb::Wait::Ready.into(),
        ..request
    };
    orchestrator.create(retry).await.expect("ready");
    let attached = orchestrator.peers.script.attached.lock().clone();
    assert_eq!(attached.len(), 1);
    assert_eq!(attached[0].environment["KEY"], "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_began_before_a_start_was_woken_leaves_it_alone() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    let beside = orchestrator.ready("beside").await;
    orchestrator.peers.hold("mint");
    let request = with_environment();
    orchestrator
        .create(request.clone())
        .await
        .expect("recorded");
    orchestrator.peers.asked_times("mint", 2).await;
    // The start waits for its environment from now on.
    let orchestrator = orchestrator.restart().await;
    orchestrator.peers.let_go("mint");
    let attached = orchestrator.peers.times("attach");
    let revoked = orchestrator.peers.times("revoke-instance");

    // The comparison has planned, start included, when it stops at an instance that it takes away first.
    orchestrator.peers.hold("revoke-instance");
    let beside = Run::of(&beside);
    let stranger = orchestrator.backend.stranger(&beside.sandbox);
    orchestrator
        .peers
        .asked_times("revoke-instance", revoked + 1)
        .await;
    orchestrator.peers.hold("attach");
    orchestrator
        .create(request.clone())
        .await
        .expect("brought again");
    orchestrator.peers.asked_times("attach", attached + 1).await;
    orchestrator.peers.let_go("revoke-instance");
    orchestrator.backend.gone(&stranger).await;
    // The next comparison is at its first step, so the one before is done.
    orchestrator.peers.hold("revoke-instance");
    orchestrator.backend.stranger(&beside.sandbox);
    orchestrator
        .peers
        .asked_times("revoke-instance", revoked + 2)
        .await;
    orchestrator.peers.let_go("revoke-instance");
    orchestrator.peers.let_go("attach");

    let retry = pb::CreateSandboxRequest {
        wait: pb::Wait::Ready.into(),
        ..request
    };
    let ready = orchestrator.create(retry).await.expect("ready");
    let run = Run::of(&ready.sandbox.expect("a sandbox"));
    assert_eq!(orchestrator.peers.times("attach"), attached + 1);
    let identities = orchestrator.peers.script.attached.lock().clone();
    let last = identities.last().expect("attached");
    assert_eq!(last.generation, run.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_became_ready_while_instances_were_listed_is_not_taken_for_lost() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.answers_lists(false);
    orchestrator.backend.listed(1).await;
    let sandbox = orchestrator.ready("demo").await;
    orchestrator.backend.answers_lists(true);
    // The one that was kept, and a whole comparison after it.
    orchestrator.backend.listed(4).await;
    let found = orchestrator.get(&sandbox.sandbox_id).await.expect("there");
    assert_eq!(found.phase(), pb::Phase::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_orchestrator_is_at_is_left_to_it() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    orchestrator.peers.hold("attach");
    let sandbox = orchestrator.begun("demo").await.sandbox_id;
    orchestrator.peers.asked("attach").await;
    let claimed = orchestrator.backend.claimed();

    // Its first comparison, and some more of both.
    let other = orchestrator.beside().await;
    orchestrator.backend.listed(12).await;
    assert_eq!(orchestrator.backend.claimed(), claimed);
    assert_eq!(orchestrator.peers.times("revoke-instance"), 0);
    orchestrator.peers.let_go("attach");
    let ready = orchestrator.until(&sandbox, pb::Phase::Ready).await;
    assert_eq!(Run::of(&ready).generation, 1);
    assert_eq!(orchestrator.peers.times("attach"), 1);
    // What nobody is at, either may change.
    let deleted = other.delete(&sandbox).await.expect("deleted");
    assert_eq!(deleted.phase(), pb::Phase::Deleted);
    assert!(orchestrator.backend.claimed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_a_crash_cut_is_finished() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    let sandbox = orchestrator.ready("demo").await;
    orchestrator.peers.hold("sync");
    let mut request = orchestrator.request(pb::DeleteSandboxRequest {
        sandbox_id: sandbox.sandbox_id.clone(),
    });
    request.set_timeout(std::time::Duration::from_millis(300));
    orchestrator
        .sandboxes()
        .delete_sandbox(request)
        .await
        .expect_err("held");
    orchestrator.peers.asked("sync").await;
    let peers = orchestrator.peers.clone();
    let restarting = orchestrator.restart();
    peers.let_go("sync");
    let orchestrator = restarting.await;
    orchestrator
        .until(&sandbox.sandbox_id, pb::Phase::Deleted)
        .await;
    assert!(orchestrator.backend.claimed().is_empty());
    orchestrator.ready("demo").await;
}
