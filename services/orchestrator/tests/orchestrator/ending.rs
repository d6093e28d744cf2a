//! Suspend, resume, extend and delete.

use std::time::Duration;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::timestamp_to;
use sandgate_types::Clock as _;
use tonic::Code;

use crate::harness::{Harness, Run, fields, of, reason, version};

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_goes_through_every_step_in_order_and_answers_the_last_version() {
    let orchestrator = Harness::start().await;
    *orchestrator.peers.script.synced.lock() = version(2);
    let sandbox = orchestrator.ready("demo").await;
    let deleted = orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
    assert_eq!(
        (deleted.phase(), deleted.reason()),
        (pb::Phase::Deleted, pb::Reason::Requested)
    );
    assert_eq!(deleted.workspace_version, version(2));
    assert_eq!(deleted.ending.expect("it ended").not_synced, "");
    assert!(deleted.instance.is_none());
    let calls = orchestrator.peers.calls();
    assert_eq!(
        calls[3..],
        ["drain", "revoke-agent", "sync", "revoke-instance"]
    );
    assert!(orchestrator.backend.claimed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_twice_is_the_same_until_the_tombstone_goes() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let first = orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
    let second = orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("the same");
    assert_eq!(first, second);
    orchestrator.clock.advance(Duration::from_secs(25 * 3600));
    let gone = async {
        while let Ok(sandbox) = orchestrator.get(&sandbox.sandbox_id).await {
            assert_eq!(sandbox.phase(), pb::Phase::Deleted);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("forgotten");
    let refused = orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect_err("nobody knows it");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::NotFound, "SANDBOX_UNKNOWN")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_conversation_is_deleted_a_create_is_asked_to_come_back() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    orchestrator.peers.hold("sync");
    let deleting = orchestrator.delete(&sandbox.sandbox_id);
    let meanwhile = async {
        orchestrator.peers.asked("sync").await;
        let refused = orchestrator
            .create(of("demo"))
            .await
            .expect_err("it is being deleted");
        use tonic_types::StatusExt as _;
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.get_details_retry_info().is_some());
        orchestrator.peers.let_go("sync");
    };
    let (deleted, ()) = tokio::join!(deleting, meanwhile);
    deleted.expect("deleted");
    let next = orchestrator.ready("demo").await;
    assert_ne!(next.sandbox_id, sandbox.sandbox_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_stops_a_start_that_hangs() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.hold("attach");
    let sandbox = orchestrator.begun("demo").await;
    orchestrator.peers.asked("attach").await;
    let deleted = orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
    assert_eq!(deleted.phase(), pb::Phase::Deleted);
    assert!(orchestrator.backend.claimed().is_empty());
    assert!(!orchestrator.peers.calls().contains(&"sync".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_sandbox_is_another_run_with_the_same_identity() {
    let orchestrator = Harness::start().await;
    *orchestrator.peers.script.synced.lock() = version(3);
    let first = orchestrator.ready("demo").await;
    let suspended = orchestrator
        .suspend(&first.sandbox_id)
        .await
        .expect("suspended");
    assert_eq!(
        (suspended.phase(), suspended.workspace_version),
        (pb::Phase::Suspended, version(3))
    );
    let again = orchestrator
        .suspend(&first.sandbox_id)
        .await
        .expect("it is");
    assert_eq!(again.phase(), pb::Phase::Suspended);
    // What a create finds is the suspended one, and it does not wait for a READY that nobody asked for.
    let found = orchestrator
        .create(of("demo"))
        .await
        .expect("found")
        .sandbox
        .expect("a sandbox");
    assert_eq!(found.phase(), pb::Phase::Suspended);
    let resuming = orchestrator.resume(&first.sandbox_id);
    let reporting = async {
        let hydrating = orchestrator
            .until(&first.sandbox_id, pb::Phase::Hydrating)
            .await;
        orchestrator.hydrated(&hydrating, version(3)).await;
    };
    let (resumed, ()) = tokio::join!(resuming, reporting);
    let resumed = resumed.expect("resumed");
    assert_eq!(resumed.sandbox_id, first.sandbox_id);
    let (before, after) = (Run::of(&first), Run::of(&resumed));
    assert_eq!(after.generation, before.generation + 1);
    assert_ne!(after.instance, before.instance);
    let same = orchestrator
        .resume(&first.sandbox_id)
        .await
        .expect("it runs");
    assert_eq!(Run::of(&same).instance, after.instance);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_an_earlier_run_is_refused() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let run = Run::of(&sandbox);
    let synced = |seed| {
        pb::report_instance_request::Event::Synced(pb::Synced {
            version: version(seed),
        })
    };
    orchestrator
        .report(&run, synced(4))
        .await
        .expect("its own run");
    assert_eq!(
        orchestrator
            .get(&sandbox.sandbox_id)
            .await
            .expect("there")
            .workspace_version,
        version(4)
    );
    let later = Run {
        generation: 2,
        ..run.clone()
    };
    let elsewhere = Run {
        instance: orchestrator.backend.spare().as_str().to_owned(),
        ..run.clone()
    };
    for other in [later, elsewhere] {
        let refused = orchestrator
            .report(&other, synced(5))
            .await
            .expect_err("another run");
        assert_eq!(reason(&refused), "INSTANCE_NOT_CURRENT");
    }
    orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
    let refused = orchestrator
        .report(&run, synced(6))
        .await
        .expect_err("it ended");
    assert_eq!(reason(&refused), "INSTANCE_NOT_CURRENT");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_moved_within_the_templates_maximum() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let extend = |ttl| orchestrator.extend(&sandbox.sandbox_id, ttl);
    let extended = extend(Some(7200)).await.expect("within");
    let until = orchestrator.clock.now().plus(Duration::from_secs(7200));
    assert_eq!(extended.expires_at, Some(timestamp_to(until)));
    for ttl in [None, Some(0), Some(-1), Some(7201)] {
        let refused = extend(ttl).await.expect_err("out of bounds");
        assert_eq!(fields(&refused), ["ttl"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_not_moved_without_the_template_that_bounds_it() {
    let orchestrator = Harness::start().await;
    let request = pb::CreateSandboxRequest {
        template: "other".into(),
        ..of("demo")
    };
    let sandbox = orchestrator.created(request).await;
    let without = "{ version: 1, templates: [{ name: default }] }";
    let orchestrator = orchestrator.restart_with(without).await;
    let extended = orchestrator.extend(&sandbox.sandbox_id, Some(60));
    let refused = extended.await.expect_err("nobody knows its maximum");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "TEMPLATE_UNKNOWN")
    );
    assert!(refused.message().contains("template other is not"));
}

#[tokio::test(flavor = "multi_thread")]
async fn others_sandboxes_do_not_exist() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    for other in [
        orchestrator.as_user("acme", "bob"),
        orchestrator.as_user("umbrella", "ann"),
    ] {
        for refused in [
            other
                .get(&sandbox.sandbox_id)
                .await
                .expect_err("not theirs"),
            other
                .suspend(&sandbox.sandbox_id)
                .await
                .expect_err("not theirs"),
            other
                .resume(&sandbox.sandbox_id)
                .await
                .expect_err("not theirs"),
            other
                .delete(&sandbox.sandbox_id)
                .await
                .expect_err("not theirs"),
        ] {
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::NotFound, "SANDBOX_UNKNOWN")
            );
        }
    }
    let refused = orchestrator.get("nonsense").await.expect_err("no id");
    assert_eq!(fields(&refused), ["sandbox_id"]);
    assert_eq!(
        orchestrator
            .get(&sandbox.sandbox_id)
            .await
            .expect("there")
            .phase(),
        pb::Phase::Ready
    );
}
