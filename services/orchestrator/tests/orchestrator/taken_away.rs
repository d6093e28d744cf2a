//! No instance goes before nothing that was minted for it is accepted any more.

use std::sync::atomic::Ordering;

use sandgate_api::orchestrator::v1 as pb;

use crate::harness::{END, Harness, of};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_before_it_is_revoked_and_gone() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.fail("revoke-instance", 2);
    orchestrator.backend.stuck.store(2, Ordering::SeqCst);
    let sandbox = orchestrator.ready("demo").await;
    let deleted = orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("in the end");
    assert_eq!(deleted.phase(), pb::Phase::Deleted);
    let revoked = orchestrator
        .peers
        .calls()
        .iter()
        .filter(|call| *call == "revoke-instance")
        .count();
    assert_eq!(revoked, 3);
    assert!(orchestrator.backend.claimed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_instance_is_released_before_it_is_revoked() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let stranger = orchestrator.backend.stranger(&sandbox.sandbox_id);
    orchestrator.peers.fail("revoke-instance", usize::MAX);
    // By a comparison that finds it, which tries again at the next.
    let tried = orchestrator.peers.asked_times("revoke-instance", 3);
    tokio::time::timeout(END, tried).await.expect("tried again");
    assert!(orchestrator.backend.claimed().contains(&stranger));
    // By the end of its sandbox, with that of the run.
    let deleting = orchestrator.delete(&sandbox.sandbox_id);
    let meanwhile = async {
        orchestrator.peers.asked("sync").await;
        let tried = orchestrator.peers.times("revoke-instance");
        let tried = orchestrator.peers.asked_times("revoke-instance", tried + 6);
        tokio::time::timeout(END, tried).await.expect("tried again");
        assert_eq!(orchestrator.backend.claimed().len(), 2);
        orchestrator.peers.fail("revoke-instance", 0);
    };
    let (deleted, ()) = tokio::join!(deleting, meanwhile);
    deleted.expect("in the end");
    assert!(orchestrator.backend.claimed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_failure_could_not_be_written_is_gone_before_the_next_one_starts() {
    let orchestrator = Harness::start().await;
    orchestrator.refuse_failures().await;
    orchestrator.peers.fail("attach", 1);
    let request = pb::CreateSandboxRequest {
        wait: pb::Wait::None.into(),
        ..of("demo")
    };
    orchestrator.created(request).await;
    let again = orchestrator.peers.asked_times("attach", 2);
    tokio::time::timeout(END, again).await.expect("made again");
    assert_eq!(orchestrator.backend.claimed().len(), 1);
    assert_eq!(orchestrator.peers.times("revoke-instance"), 1);
}
