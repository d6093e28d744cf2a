//! What an end says of files that it could not store, and the suspend that is refused for them.

use sandgate_api::orchestrator::v1 as pb;
use tonic::Code;

use crate::harness::{Harness, reason};

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_synced_is_said_and_the_end_comes_all_the_same() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.fail("drain", usize::MAX);
    orchestrator.peers.fail("revoke-agent", usize::MAX);
    orchestrator.peers.fail("sync", usize::MAX);
    let sandbox = orchestrator.ready("demo").await;
    let deleted = orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
    let said = deleted.ending.expect("it ended").not_synced;
    assert!(said.contains("since the last version"), "{said}");
    assert!(orchestrator.backend.claimed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspend_whose_files_can_never_be_stored_is_refused_and_the_sandbox_runs_on() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    orchestrator.peers.fail("sync", usize::MAX);
    let refused = orchestrator
        .suspend(&sandbox.sandbox_id)
        .await
        .expect_err("its files would be lost");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "FILES_NOT_STORED")
    );
    assert!(refused.message().contains("sync fails as told"));
    let found = orchestrator.get(&sandbox.sandbox_id).await.expect("there");
    assert_eq!(found.phase(), pb::Phase::Ready);
    assert_eq!(orchestrator.peers.times("drain"), 0, "nothing was stopped");
    // What has ended must end, whatever becomes of its files.
    orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_a_version_leaves_out_are_said_by_each_end() {
    let orchestrator = Harness::start().await;
    *orchestrator.peers.script.skipped.lock() = 3;
    let sandbox = orchestrator.ready("demo").await;
    let suspended = orchestrator
        .suspend(&sandbox.sandbox_id)
        .await
        .expect("suspended");
    let found = orchestrator.get(&sandbox.sandbox_id).await.expect("there");
    for told in [suspended, found] {
        let said = told.ending.expect("it ended").not_synced;
        assert_eq!(said, "3 entries were not stored");
    }
}
