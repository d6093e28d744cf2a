//! What ends without being asked to: idle, expired, at its maximum, finished, lost.

use std::time::Duration;

use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::timestamp_to;
use sandgate_types::Clock as _;

use crate::harness::{END, Harness, Run, of, seconds, version};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_sandbox_is_suspended_and_a_used_one_is_not() {
    let orchestrator = Harness::start().await;
    let used = orchestrator.ready("used").await;
    let idle = orchestrator.ready("idle").await;
    orchestrator.clock.advance(Duration::from_secs(29 * 60));
    let activity = pb::Activity {
        sandbox_id: used.sandbox_id.clone(),
        instance_id: Run::of(&used).instance,
        last_active_at: Some(timestamp_to(orchestrator.clock.now())),
    };
    let request = pb::ReportActivityRequest {
        activities: vec![activity],
    };
    orchestrator
        .endpoints()
        .report_activity(request)
        .await
        .expect("heard");
    orchestrator.clock.advance(Duration::from_secs(2 * 60));
    let suspended = orchestrator
        .until(&idle.sandbox_id, pb::Phase::Suspended)
        .await;
    assert_eq!(suspended.reason(), pb::Reason::Idle);
    assert_eq!(
        orchestrator
            .get(&used.sandbox_id)
            .await
            .expect("there")
            .phase(),
        pb::Phase::Ready
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_whose_clock_runs_ahead_keeps_no_sandbox_from_being_idle() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let ahead = orchestrator.clock.now().plus(Duration::from_secs(3600));
    let activity = pb::Activity {
        sandbox_id: sandbox.sandbox_id.clone(),
        instance_id: Run::of(&sandbox).instance,
        last_active_at: Some(timestamp_to(ahead)),
    };
    let request = pb::ReportActivityRequest {
        activities: vec![activity],
    };
    let heard = orchestrator.endpoints().report_activity(request).await;
    heard.expect("heard");
    orchestrator.clock.advance(Duration::from_secs(31 * 60));
    let suspended = orchestrator
        .until(&sandbox.sandbox_id, pb::Phase::Suspended)
        .await;
    assert_eq!(suspended.reason(), pb::Reason::Idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_time_is_up_is_deleted_with_its_last_sync() {
    let orchestrator = Harness::start().await;
    *orchestrator.peers.script.synced.lock() = version(9);
    let request = pb::CreateSandboxRequest {
        ttl: Some(seconds(60)),
        ..of("demo")
    };
    let sandbox = orchestrator.created(request).await;
    orchestrator.clock.advance(Duration::from_secs(61));
    let ended = orchestrator
        .until(&sandbox.sandbox_id, pb::Phase::Deleted)
        .await;
    assert_eq!(
        (ended.reason(), ended.workspace_version),
        (pb::Reason::Expired, version(9))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_its_maximum_is_suspended() {
    let orchestrator = Harness::start().await;
    let request = pb::CreateSandboxRequest {
        template: "other".into(),
        ttl: Some(seconds(24 * 3600)),
        idle_timeout: Some(seconds(0)),
        ..of("demo")
    };
    let sandbox = orchestrator.created(request).await;
    orchestrator.clock.advance(Duration::from_secs(1));
    let extended = orchestrator.extend(&sandbox.sandbox_id, Some(24 * 3600));
    extended.await.expect("extended");
    orchestrator
        .clock
        .advance(Duration::from_secs(24 * 3600 - 1));
    let suspended = orchestrator
        .until(&sandbox.sandbox_id, pb::Phase::Suspended)
        .await;
    assert_eq!(suspended.reason(), pb::Reason::SessionMax);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ends_is_finished_and_stays_readable() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let ended = pb::report_instance_request::Event::CommandEnded(pb::CommandEnded {
        exit_code: Some(3),
        signal: None,
        last_output: b"bye\n".to_vec(),
    });
    orchestrator
        .report(&Run::of(&sandbox), ended)
        .await
        .expect("heard");
    orchestrator.peers.asked("revoke-instance").await;
    let finished = orchestrator
        .until(&sandbox.sandbox_id, pb::Phase::Finished)
        .await;
    let ending = finished.ending.expect("it ended");
    assert_eq!(
        (ending.exit_code, ending.last_output.as_slice()),
        (Some(3), &b"bye\n"[..])
    );
    assert!(orchestrator.peers.calls().contains(&"sync".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_lost_fails_its_sandbox_and_is_revoked() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    orchestrator.backend.lose(&Run::of(&sandbox).instance());
    let failed = orchestrator
        .until(&sandbox.sandbox_id, pb::Phase::Failed)
        .await;
    assert_eq!(failed.reason(), pb::Reason::InstanceLost);
    orchestrator.peers.asked("revoke-instance").await;
    assert!(
        !orchestrator.peers.calls().contains(&"sync".to_owned()),
        "there is nobody to sync"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_cannot_be_taken_away_keeps_no_time_from_being_up() {
    let orchestrator = Harness::start().await;
    let idle = orchestrator.ready("idle").await;
    orchestrator.peers.hold("revoke-instance");
    orchestrator.backend.stranger(&idle.sandbox_id);
    let held = orchestrator.peers.asked("revoke-instance");
    tokio::time::timeout(END, held)
        .await
        .expect("it is compared");
    orchestrator.clock.advance(Duration::from_secs(31 * 60));
    orchestrator
        .until(&idle.sandbox_id, pb::Phase::Suspending)
        .await;
    orchestrator.peers.let_go("revoke-instance");
}
