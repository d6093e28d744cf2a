//! Who may make a spare somebody's, and with what.

use std::time::Duration;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::attach_service_client::AttachServiceClient;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_types::{InstanceId, SandboxId, SessionId};
use tonic::Code;

use super::harness::{Sandbox, field, reason};

#[tokio::test]
async fn a_ticket_is_good_for_its_own_instance_and_session_once_and_while_it_is_fresh() {
    let sandbox = Sandbox::spare().await;
    let other = InstanceId::random(&mut rand::rng());
    let wrong = [
        pb::AttachRequest {
            ticket: sandbox.ticket(&other, Duration::ZERO),
            ..sandbox.attachment()
        },
        pb::AttachRequest {
            ticket: sandbox.ticket(&sandbox.instance, Duration::from_secs(120)),
            ..sandbox.attachment()
        },
        pb::AttachRequest {
            sandbox_id: SandboxId::random(&mut rand::rng()).as_str().to_owned(),
            ..sandbox.attachment()
        },
        pb::AttachRequest {
            session_id: SessionId::random(&mut rand::rng()).as_str().to_owned(),
            ..sandbox.attachment()
        },
        pb::AttachRequest {
            ticket: "nonsense".to_owned(),
            ..sandbox.attachment()
        },
        pb::AttachRequest {
            generation: 2,
            ..sandbox.attachment()
        },
    ];
    for request in wrong {
        let refused = sandbox.attach(request).await.expect_err("refused");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "TICKET_REFUSED")
        );
    }
    let good = sandbox.attachment();
    sandbox.attach(good.clone()).await.expect("attached");
    let replayed = sandbox.attach(good).await.expect_err("once");
    assert_eq!(reason(&replayed), "ATTACHED_BEFORE");
    let again = sandbox
        .attach(sandbox.attachment())
        .await
        .expect_err("once");
    assert_eq!(
        (again.code(), reason(&again).as_str()),
        (Code::FailedPrecondition, "ATTACHED_BEFORE")
    );
}

#[tokio::test]
async fn every_field_of_an_attach_is_checked() {
    let sandbox = Sandbox::spare().await;
    for (request, name) in [
        (
            pb::AttachRequest {
                chunking_seed: vec![1; 31],
                ..sandbox.attachment()
            },
            "chunking_seed",
        ),
        (
            pb::AttachRequest {
                ports: vec![0],
                ..sandbox.attachment()
            },
            "ports",
        ),
        (
            pb::AttachRequest {
                agent_token: "a\r\nb".to_owned(),
                ..sandbox.attachment()
            },
            "agent_token",
        ),
        (
            pb::AttachRequest {
                tokens_expire_at: None,
                ..sandbox.attachment()
            },
            "tokens_expire_at",
        ),
        (
            pb::AttachRequest {
                routes: vec!["..".to_owned()],
                ..sandbox.attachment()
            },
            "routes",
        ),
    ] {
        assert_eq!(
            field(&sandbox.attach(request).await.expect_err("refused")),
            name
        );
    }
}

#[tokio::test]
async fn only_the_orchestrator_attaches_and_only_callers_run_processes() {
    let sandbox = Sandbox::spare().await;
    let as_caller = AttachServiceClient::new(sandbox.client())
        .attach(sandbox.attachment())
        .await;
    assert_eq!(
        as_caller.expect_err("a caller").code(),
        Code::PermissionDenied
    );
    let as_nobody = AttachServiceClient::new(sandbox.gate())
        .attach(sandbox.attachment())
        .await;
    assert_eq!(
        as_nobody.expect_err("nobody").code(),
        Code::PermissionDenied
    );
    sandbox
        .attach(sandbox.attachment())
        .await
        .expect("attached");
    let as_service = ProcessServiceClient::new(sandbox.orchestrator())
        .run_process(sandbox.shell("true"))
        .await;
    assert_eq!(
        as_service.expect_err("a service").code(),
        Code::PermissionDenied
    );
}
