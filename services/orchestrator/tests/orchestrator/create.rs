//! Create: one sandbox for each conversation, and what is refused.

use std::sync::atomic::Ordering;

use sandgate_api::orchestrator::v1 as pb;
use tonic::Code;

use crate::harness::{Asker, Harness, fields, of, reason, seconds};

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
    let sandbox = application.created(named).await;
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
