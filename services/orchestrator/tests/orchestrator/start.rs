//! From a create to READY, and what keeps a sandbox from it.

use std::sync::atomic::Ordering;

use sandgate_api::orchestrator::v1 as pb;
use tonic::Code;

use crate::harness::{Harness, of, reason, version};

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_without_files_is_ready_right_after_attach() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.spare();
    let created = orchestrator.create(of("demo")).await.expect("created");
    assert!(created.created);
    let sandbox = created.sandbox.expect("a sandbox");
    assert_eq!(
        (sandbox.phase(), sandbox.user.as_str()),
        (pb::Phase::Ready, "ann")
    );
    let instance = sandbox.instance.expect("it runs");
    assert_eq!((instance.generation, instance.cold), (1, false));
    assert_eq!(sandbox.bounds[0].mechanism, "rlimit-nproc");
    let mut calls = orchestrator.peers.calls();
    calls[..2].sort();
    assert_eq!(calls, ["head", "mint", "attach"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_with_files_is_ready_when_its_keeper_says_so() {
    let orchestrator = Harness::start().await;
    *orchestrator.peers.script.head.lock() = Some(version(1));
    let request = pb::CreateSandboxRequest {
        wait: pb::Wait::Running.into(),
        ..of("demo")
    };
    let running = orchestrator.created(request).await;
    assert_eq!(running.phase(), pb::Phase::Hydrating);
    orchestrator.hydrated(&running, version(1)).await;
    let ready = orchestrator.ready("demo").await;
    assert_eq!(ready.workspace_version, version(1));
    assert!(ready.revision > running.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_backend_says_so_and_leaves_nothing() {
    let orchestrator = Harness::start().await;
    orchestrator.backend.empty.store(true, Ordering::SeqCst);
    let refused = orchestrator
        .create(of("demo"))
        .await
        .expect_err("no instance");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "NO_CAPACITY")
    );
    orchestrator.backend.empty.store(false, Ordering::SeqCst);
    let failed = pb::ListSandboxesRequest {
        phases: vec![pb::Phase::Failed.into()],
        ..Default::default()
    };
    let failed = orchestrator.list(failed).await.expect("a list").sandboxes;
    assert_eq!(failed[0].reason(), pb::Reason::NoCapacity);
    let ended = async {
        // Its end is written a moment after its failure is told.
        loop {
            match orchestrator.create(of("demo")).await {
                Ok(created) => return created,
                Err(status) => assert_eq!(reason(&status), "SANDBOX_ENDING"),
            }
        }
    };
    assert!(ended.await.created);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_take_its_identity_is_revoked_and_destroyed() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.fail("attach", 1);
    let refused = orchestrator
        .create(of("demo"))
        .await
        .expect_err("not attached");
    assert_eq!(reason(&refused), "ATTACH_FAILED");
    orchestrator.peers.asked("revoke-instance").await;
    assert!(
        !orchestrator.peers.calls().contains(&"sync".to_owned()),
        "half a tree is no version"
    );
    let gone = async {
        while !orchestrator.backend.claimed().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    gone.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_neither_loses_nor_doubles_the_sandbox() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.hold("attach");
    let mut request = orchestrator.request(of("demo"));
    request.set_timeout(std::time::Duration::from_millis(300));
    let late = orchestrator
        .sandboxes()
        .create_sandbox(request)
        .await
        .expect_err("held");
    assert_eq!(late.code(), Code::DeadlineExceeded);
    orchestrator.peers.let_go("attach");
    let found = orchestrator.create(of("demo")).await.expect("it went on");
    assert!(!found.created);
    assert_eq!(orchestrator.backend.claims.load(Ordering::SeqCst), 1);
    assert_eq!(orchestrator.backend.claimed().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_phase_is_seen_by_whoever_watches_until_ready() {
    let orchestrator = Harness::start().await;
    *orchestrator.peers.script.head.lock() = Some(version(1));
    for step in ["mint", "attach"] {
        orchestrator.peers.hold(step);
    }
    let sandbox = orchestrator.begun("demo").await;
    let mut states = orchestrator
        .watch(&sandbox.sandbox_id)
        .await
        .expect("a stream");
    for step in ["mint", "attach"] {
        orchestrator.peers.let_go(step);
    }
    let mut phases = Vec::new();
    let mut revision = 0;
    while let Some(state) = states.message().await.expect("a state") {
        let state = state.sandbox.expect("a sandbox");
        assert!(state.revision > revision);
        revision = state.revision;
        phases.push(state.phase());
        if state.phase() == pb::Phase::Hydrating {
            orchestrator.hydrated(&state, version(1)).await;
        }
    }
    let tail = [pb::Phase::Attaching, pb::Phase::Hydrating, pb::Phase::Ready];
    assert!(phases.ends_with(&tail), "{phases:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_it_runs_is_told_before_it_is_on_record_as_ready_even_without_files() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.hold("attach");
    let sandbox = orchestrator.begun("demo").await;
    let mut states = orchestrator
        .watch(&sandbox.sandbox_id)
        .await
        .expect("a stream");
    orchestrator.peers.let_go("attach");
    let mut phases = Vec::new();
    while let Some(state) = states.message().await.expect("a state") {
        phases.push(state.sandbox.expect("a sandbox").phase());
    }
    let tail = [pb::Phase::Hydrating, pb::Phase::Ready];
    assert!(phases.ends_with(&tail), "{phases:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_reason_for_which_ready_cannot_come() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.fail("mint", usize::MAX);
    let sandbox = orchestrator.begun("demo").await;
    let mut states = orchestrator
        .watch(&sandbox.sandbox_id)
        .await
        .expect("a stream");
    let mut last = None;
    while let Some(state) = states.message().await.expect("a state") {
        last = state.sandbox;
    }
    let last = last.expect("a state");
    assert_eq!(
        (last.phase(), last.reason()),
        (pb::Phase::Failed, pb::Reason::AttachFailed)
    );
    assert!(last.message.contains("token"), "{}", last.message);
}
