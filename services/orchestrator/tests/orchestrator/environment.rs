//! Environments: held for one start, never stored, brought again by whoever resumes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use sandgate_api::orchestrator::v1 as pb;
use tonic::{Code, Status};

use crate::harness::{Harness, Run, fields, of, reason};

fn variables(value: &str) -> HashMap<String, String> {
    HashMap::from([("KEY".to_owned(), value.to_owned())])
}

async fn resume(
    orchestrator: &Harness,
    request: pb::ResumeSandboxRequest,
) -> Result<pb::Sandbox, Status> {
    let request = orchestrator.request(request);
    let answer = orchestrator.sandboxes().resume_sandbox(request).await?;
    Ok(answer.into_inner().sandbox.expect("a sandbox"))
}

/// A suspended sandbox whose create had an environment.
async fn suspended(orchestrator: &Harness) -> String {
    let request = pb::CreateSandboxRequest {
        environment: variables("first"),
        ..of("demo")
    };
    let sandbox = orchestrator.created(request).await.sandbox_id;
    orchestrator.suspend(&sandbox).await.expect("suspended");
    sandbox
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_an_environment_is_resumed_with_one_or_not_at_all() {
    let orchestrator = Harness::start().await;
    let sandbox = suspended(&orchestrator).await;
    let without = pb::ResumeSandboxRequest {
        sandbox_id: sandbox.clone(),
        ..Default::default()
    };
    let refused = resume(&orchestrator, without.clone())
        .await
        .expect_err("no environment");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "ENVIRONMENT_MISSING")
    );
    assert!(refused.message().contains("`environment`"));
    let found = orchestrator.get(&sandbox).await.expect("there");
    assert_eq!(found.phase(), pb::Phase::Suspended);

    let with = pb::ResumeSandboxRequest {
        environment: variables("second"),
        ..without.clone()
    };
    let resumed = resume(&orchestrator, with).await.expect("resumed");
    assert_eq!(Run::of(&resumed).generation, 2);
    let attached = orchestrator.peers.script.attached.lock().clone();
    assert_eq!(attached[1].environment["KEY"], "second");
    // It is needed at every resume, not at the first alone.
    orchestrator.suspend(&sandbox).await.expect("suspended");
    let refused = resume(&orchestrator, without).await.expect_err("again");
    assert_eq!(reason(&refused), "ENVIRONMENT_MISSING");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_takes_no_other_environment_but_answers_the_request_that_brought_it() {
    let orchestrator = Harness::start().await;
    let sandbox = suspended(&orchestrator).await;
    let request = pb::ResumeSandboxRequest {
        sandbox_id: sandbox.clone(),
        environment: variables("second"),
        request_id: "r-1".into(),
        ..Default::default()
    };
    let resumed = resume(&orchestrator, request.clone())
        .await
        .expect("resumed");
    let again = resume(&orchestrator, request.clone())
        .await
        .expect("the same request");
    assert_eq!(Run::of(&again).generation, Run::of(&resumed).generation);
    let anothers = pb::ResumeSandboxRequest {
        request_id: String::new(),
        ..request.clone()
    };
    let refused = resume(&orchestrator, anothers)
        .await
        .expect_err("it runs with one");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "SANDBOX_DIFFERS")
    );
    assert!(refused.message().contains("environment"));
    let reused = pb::ResumeSandboxRequest {
        environment: HashMap::new(),
        ..request
    };
    let refused = resume(&orchestrator, reused)
        .await
        .expect_err("another request");
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, vec!["request_id".to_owned()])
    );
    assert_eq!(orchestrator.peers.script.attached.lock().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_found_it_running_begins_no_run_when_it_is_repeated_after_a_suspend() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let request = pb::ResumeSandboxRequest {
        sandbox_id: sandbox.sandbox_id.clone(),
        request_id: "r-1".into(),
        ..Default::default()
    };
    let found = resume(&orchestrator, request.clone())
        .await
        .expect("it runs already");
    assert_eq!(Run::of(&found).generation, 1);
    orchestrator
        .suspend(&sandbox.sandbox_id)
        .await
        .expect("suspended");
    let repeated = resume(&orchestrator, request)
        .await
        .expect("as it is by now");
    assert_eq!(repeated.phase(), pb::Phase::Suspended);
    assert_eq!(orchestrator.peers.script.attached.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_brought_what_a_start_has_begins_no_run_when_it_is_repeated_after_a_suspend()
{
    let orchestrator = Harness::start().await;
    let sandbox = suspended(&orchestrator).await;
    orchestrator.peers.hold("mint");
    let first = pb::ResumeSandboxRequest {
        sandbox_id: sandbox.clone(),
        environment: variables("second"),
        wait: pb::Wait::None.into(),
        ..Default::default()
    };
    resume(&orchestrator, first.clone())
        .await
        .expect("recorded");
    let second = pb::ResumeSandboxRequest {
        request_id: "r-2".into(),
        ..first
    };
    let found = resume(&orchestrator, second.clone()).await;
    found.expect("it starts with the same");
    orchestrator.peers.let_go("mint");
    orchestrator.until(&sandbox, pb::Phase::Ready).await;
    orchestrator.suspend(&sandbox).await.expect("suspended");
    let repeated = resume(&orchestrator, second)
        .await
        .expect("as it is by now");
    assert_eq!(repeated.phase(), pb::Phase::Suspended);
    assert_eq!(orchestrator.peers.script.attached.lock().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_a_crash_lost_is_brought_again_by_the_next_resume() {
    let orchestrator = Harness::start().await;
    let sandbox = suspended(&orchestrator).await;
    orchestrator.backend.survives.store(true, Ordering::SeqCst);
    let minted = orchestrator.peers.times("mint");
    orchestrator.peers.hold("mint");
    let request = pb::ResumeSandboxRequest {
        sandbox_id: sandbox,
        environment: variables("second"),
        wait: pb::Wait::None.into(),
        ..Default::default()
    };
    resume(&orchestrator, request.clone())
        .await
        .expect("recorded");
    orchestrator.peers.asked_times("mint", minted + 1).await;
    let orchestrator = orchestrator.restart().await;
    orchestrator.peers.let_go("mint");
    let retry = pb::ResumeSandboxRequest {
        wait: pb::Wait::Ready.into(),
        ..request
    };
    let resumed = resume(&orchestrator, retry).await.expect("resumed");
    assert_eq!(resumed.phase(), pb::Phase::Ready);
    let attached = orchestrator.peers.script.attached.lock().clone();
    assert_eq!(attached[1].environment["KEY"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_finds_a_sandbox_accepts_nothing_that_it_ignores() {
    let orchestrator = Harness::start().await;
    let sandbox = orchestrator.ready("demo").await;
    let differing = [
        (
            "ttl",
            pb::CreateSandboxRequest {
                ttl: Some(crate::harness::seconds(60)),
                ..of("demo")
            },
        ),
        (
            "labels",
            pb::CreateSandboxRequest {
                labels: [("team".to_owned(), "red".to_owned())].into(),
                ..of("demo")
            },
        ),
        (
            "environment",
            pb::CreateSandboxRequest {
                environment: variables("value"),
                ..of("demo")
            },
        ),
    ];
    for suspend in [false, true] {
        if suspend {
            let suspended = orchestrator.suspend(&sandbox.sandbox_id).await;
            suspended.expect("suspended");
        }
        let before = orchestrator.get(&sandbox.sandbox_id).await.expect("there");
        for (field, request) in &differing {
            let refused = orchestrator.create(request.clone()).await.expect_err(field);
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::AlreadyExists, "SANDBOX_DIFFERS")
            );
            assert_eq!(crate::harness::meta(&refused, "field"), *field);
        }
        let after = orchestrator.get(&sandbox.sandbox_id).await.expect("there");
        assert_eq!(before, after);
    }
    assert_eq!(orchestrator.peers.script.attached.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_names_what_the_live_sandbox_has_finds_it_extended_or_not() {
    let orchestrator = Harness::start().await;
    let request = pb::CreateSandboxRequest {
        ttl: Some(crate::harness::seconds(600)),
        labels: [("team".to_owned(), "red".to_owned())].into(),
        ..of("demo")
    };
    let sandbox = orchestrator.created(request.clone()).await.sandbox_id;
    let extended = orchestrator.extend(&sandbox, Some(7_000)).await;
    extended.expect("extended");
    let found = orchestrator.create(request).await.expect("found");
    assert!(!found.created);
    assert_eq!(found.sandbox.expect("a sandbox").sandbox_id, sandbox);
    // What is not named is not compared.
    let found = orchestrator.create(of("demo")).await.expect("found");
    assert!(!found.created);
}
