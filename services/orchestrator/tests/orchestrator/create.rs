//! Create, resume, and what they refuse.

use std::sync::atomic::Ordering;

use sandgate_api::orchestrator::v1 as pb;
use tonic::Code;

use crate::harness::{Asker, Harness, Run, fields, of, reason, seconds, version};

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
    let running = orchestrator
        .create(request)
        .await
        .expect("created")
        .sandbox
        .expect("a sandbox");
    assert_eq!(running.phase(), pb::Phase::Hydrating);
    let hydrated = pb::report_instance_request::Event::Hydrated(pb::Hydrated {
        version: version(1),
    });
    orchestrator
        .report(&Run::of(&running), hydrated)
        .await
        .expect("heard");
    let ready = orchestrator.ready("demo").await;
    assert_eq!(ready.workspace_version, version(1));
    assert!(ready.revision > running.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_reaches_attach_and_nothing_else() {
    let orchestrator = Harness::start().await;
    let environment = [("GREETING".to_owned(), "canary-value".to_owned())].into();
    let request = pb::CreateSandboxRequest {
        environment,
        ..of("demo")
    };
    let answer = orchestrator.create(request).await.expect("created");
    assert!(!format!("{answer:?}").contains("canary"));
    let attached = orchestrator.peers.script.attached.lock()[0].clone();
    assert_eq!(attached.environment["GREETING"], "canary-value");
    assert_eq!(attached.chunking_seed.len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_create_finds_the_live_sandbox() {
    let orchestrator = Harness::start().await;
    let first = orchestrator.ready("demo").await;
    let second = orchestrator.create(of("demo")).await.expect("found");
    assert!(!second.created);
    assert_eq!(
        second.sandbox.expect("a sandbox").sandbox_id,
        first.sandbox_id
    );
    assert_eq!(orchestrator.backend.claims.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_creates_end_with_one_sandbox() {
    let orchestrator = Harness::start().await;
    let racing = (0..16).map(|_| orchestrator.create(of("demo")));
    let answers = futures_util::future::join_all(racing).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("one of them"))
        .collect();
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    let mut ids: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.sandbox.expect("a sandbox").sandbox_id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(orchestrator.backend.claims.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_sandbox_that_differs_is_refused_by_field() {
    let orchestrator = Harness::start().await;
    orchestrator.ready("demo").await;
    let other = pb::CreateSandboxRequest {
        template: "other".into(),
        ..of("demo")
    };
    let refused = orchestrator
        .create(other)
        .await
        .expect_err("another template");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "SANDBOX_DIFFERS")
    );
    assert!(refused.message().contains("template"));
    let other = pb::CreateSandboxRequest {
        idle_timeout: Some(seconds(7)),
        ..of("demo")
    };
    let refused = orchestrator
        .create(other)
        .await
        .expect_err("another timeout");
    assert!(refused.message().contains("idle_timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_conversation_is_refused_in_the_same_words_whatever_is_there() {
    let orchestrator = Harness::start().await;
    let bob = orchestrator.as_user("acme", "bob");
    let sandbox = orchestrator.ready("demo").await;
    let live = bob.create(of("demo")).await.expect_err("ann's");
    orchestrator
        .suspend(&sandbox.sandbox_id)
        .await
        .expect("suspended");
    let suspended = bob.create(of("demo")).await.expect_err("ann's");
    orchestrator
        .delete(&sandbox.sandbox_id)
        .await
        .expect("deleted");
    let deleted = bob.create(of("demo")).await.expect_err("ann's for ever");
    for refused in [&live, &suspended, &deleted] {
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(
            (refused.message(), refused.details()),
            (live.message(), live.details())
        );
    }
    // In another tenant it is another conversation.
    orchestrator.as_user("umbrella", "bob").ready("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_gets_the_first_answer_and_no_other_request() {
    let orchestrator = Harness::start().await;
    let request = pb::CreateSandboxRequest {
        request_id: "r-1".into(),
        ..of("demo")
    };
    let first = orchestrator.create(request.clone()).await.expect("created");
    let again = orchestrator
        .create(request.clone())
        .await
        .expect("the same");
    assert!(first.created && again.created);
    assert_eq!(
        first.sandbox.expect("one").sandbox_id,
        again.sandbox.expect("one").sandbox_id
    );
    let reused = pb::CreateSandboxRequest {
        conversation: "another".into(),
        ..request.clone()
    };
    let refused = orchestrator.create(reused).await.expect_err("reused");
    assert_eq!(fields(&refused), ["request_id"]);
    let listed = orchestrator
        .list(pb::ListSandboxesRequest::default())
        .await
        .expect("a list");
    assert_eq!(
        listed.sandboxes.len(),
        1,
        "a refused request changes nothing"
    );
    // Another principal's ids are their own.
    let other = pb::CreateSandboxRequest {
        conversation: "theirs".into(),
        ..request
    };
    orchestrator
        .as_user("acme", "robert")
        .create(other)
        .await
        .expect("theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_is_wrong_is_named_and_nothing_is_changed() {
    let orchestrator = Harness::start().await;
    let wrong = pb::CreateSandboxRequest {
        conversation: "../escape".into(),
        template: "No Template".into(),
        ttl: Some(seconds(0)),
        idle_timeout: Some(seconds(-1)),
        labels: [("Bad Key".to_owned(), "v".to_owned())].into(),
        environment: [("SANDGATE_X".to_owned(), "v".to_owned())].into(),
        wait: 99,
        request_id: "new\nline".into(),
        ..of("")
    };
    let refused = orchestrator.create(wrong).await.expect_err("all of it");
    let expected = [
        "conversation",
        "template",
        "ttl",
        "idle_timeout",
        "labels",
        "environment",
        "wait",
        "request_id",
    ];
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::InvalidArgument, expected.map(String::from).to_vec())
    );
    for conversation in [
        "",
        &"x".repeat(129),
        "a\u{7}b",
        "a/b",
        "..",
        "-flag",
        "a\0b",
    ] {
        let refused = orchestrator
            .create(of(conversation))
            .await
            .expect_err(conversation);
        assert_eq!(fields(&refused), ["conversation"]);
    }
    for ttl in [
        seconds(0),
        seconds(-5),
        seconds(2 * 3600 + 1),
        seconds(i64::MAX),
    ] {
        let request = pb::CreateSandboxRequest {
            ttl: Some(ttl),
            ..of("demo")
        };
        let refused = orchestrator
            .create(request)
            .await
            .expect_err("a bad lifetime");
        assert_eq!(fields(&refused), ["ttl"]);
    }
    let unknown = pb::CreateSandboxRequest {
        template: "nowhere".into(),
        ..of("demo")
    };
    assert_eq!(
        fields(
            &orchestrator
                .create(unknown)
                .await
                .expect_err("no such template")
        ),
        ["template"]
    );
    let listed = orchestrator
        .list(pb::ListSandboxesRequest::default())
        .await
        .expect("a list");
    assert!(listed.sandboxes.is_empty());
    assert_eq!(orchestrator.backend.claims.load(Ordering::SeqCst), 0);
    // The owner of a conversation is noted by its create alone.
    orchestrator.as_user("acme", "bob").ready("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_key_names_users_and_a_person_does_not() {
    let orchestrator = Harness::start().await;
    let named = pb::CreateSandboxRequest {
        user: "zoe".into(),
        ..of("demo")
    };
    let refused = orchestrator
        .create(named.clone())
        .await
        .expect_err("a person");
    assert_eq!(reason(&refused), "USER_NOT_NAMEABLE");
    let application = orchestrator.as_asker(Asker::application("acme"));
    let sandbox = application
        .create(named)
        .await
        .expect("named")
        .sandbox
        .expect("a sandbox");
    assert_eq!(sandbox.user, "zoe");
    let refused = application
        .create(of("other"))
        .await
        .expect_err("nobody named");
    assert_eq!(fields(&refused), ["user"]);
    application
        .get(&sandbox.sandbox_id)
        .await
        .expect("its tenant's");
    let refused = orchestrator
        .get(&sandbox.sandbox_id)
        .await
        .expect_err("another user's");
    assert_eq!(refused.code(), Code::NotFound);
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
    let request = pb::CreateSandboxRequest {
        wait: pb::Wait::None.into(),
        ..of("demo")
    };
    let sandbox = orchestrator
        .create(request)
        .await
        .expect("recorded")
        .sandbox
        .expect("a sandbox");
    let watch = pb::WatchSandboxRequest {
        sandbox_id: sandbox.sandbox_id.clone(),
    };
    let watch = orchestrator
        .sandboxes()
        .watch_sandbox(orchestrator.request(watch))
        .await;
    let mut states = watch.expect("a stream").into_inner();
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
            let hydrated = pb::report_instance_request::Event::Hydrated(pb::Hydrated {
                version: version(1),
            });
            orchestrator
                .report(&Run::of(&state), hydrated)
                .await
                .expect("heard");
        }
    }
    let tail = [pb::Phase::Attaching, pb::Phase::Hydrating, pb::Phase::Ready];
    assert!(phases.ends_with(&tail), "{phases:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_reason_for_which_ready_cannot_come() {
    let orchestrator = Harness::start().await;
    orchestrator.peers.fail("mint", usize::MAX);
    let request = pb::CreateSandboxRequest {
        wait: pb::Wait::None.into(),
        ..of("demo")
    };
    let sandbox = orchestrator
        .create(request)
        .await
        .expect("recorded")
        .sandbox
        .expect("a sandbox");
    let watch = pb::WatchSandboxRequest {
        sandbox_id: sandbox.sandbox_id,
    };
    let watch = orchestrator
        .sandboxes()
        .watch_sandbox(orchestrator.request(watch))
        .await;
    let mut states = watch.expect("a stream").into_inner();
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
