//! From spare to end.

use std::time::Duration;

use sandgate_api::orchestrator::v1::report_instance_request::Event;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::attach_service_client::AttachServiceClient;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_session::control::FromKeeper;
use sandgate_types::{Clock as _, InstanceId, SystemClock};
use tonic::Code;

use super::harness::{NEVER, Sandbox, field, next, reason};

#[tokio::test]
async fn a_sandbox_with_a_way_out_is_refused_before_anything_runs() {
    let (_sandbox, told) = Sandbox::start(vec!["there is a route to 1.1.1.1:53".to_owned()]).await;
    match told {
        FromKeeper::Failed { message } => assert!(message.contains("1.1.1.1:53"), "{message}"),
        FromKeeper::Ready => panic!("an open sandbox is never ready"),
    }
}

#[tokio::test]
async fn a_spare_starts_nothing_and_shows_nothing() {
    let sandbox = Sandbox::spare().await;
    let refused = sandbox
        .run(sandbox.shell("true"))
        .await
        .expect_err("nobody's");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NOT_ATTACHED")
    );
    let refused = sandbox
        .files()
        .stat_file(pb::StatFileRequest::default())
        .await
        .expect_err("nobody's");
    assert_eq!(reason(&refused), "NOT_ATTACHED");
    let refused = sandbox
        .files()
        .sync_files(pb::SyncFilesRequest {})
        .await
        .expect_err("nobody's");
    assert_eq!(reason(&refused), "NOT_ATTACHED");
}

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
    sandbox
        .attach(sandbox.attachment())
        .await
        .expect("attached");
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

#[tokio::test]
async fn draining_ends_what_ignores_sigterm_and_refuses_everything_new() {
    let sandbox = Sandbox::attached().await;
    let line = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let mut stream = sandbox
        .processes()
        .run_process(sandbox.shell(line))
        .await
        .expect("runs")
        .into_inner();
    next(&mut stream).await;
    next(&mut stream).await;
    sandbox
        .drain(Duration::from_millis(100))
        .await
        .expect("drained");
    assert_eq!(super::harness::finish(stream).await.signal(), Some(9));
    let refused = sandbox
        .run(sandbox.shell("true"))
        .await
        .expect_err("ending");
    assert_eq!(reason(&refused), "ENDING");
    sandbox.drain(Duration::ZERO).await.expect("again");
    sandbox
        .files()
        .sync_files(pb::SyncFilesRequest {})
        .await
        .expect("the last sync comes after the drain");
}

#[tokio::test]
async fn the_templates_command_runs_after_attach_and_its_end_is_reported() {
    let sandbox = Sandbox::spare().await;
    let command = ["sh", "-c", "echo from the command; exit 3"]
        .map(str::to_owned)
        .to_vec();
    // The workspace of a test is elsewhere; the command needs a folder that exists.
    let refused = pb::AttachRequest {
        command,
        ..sandbox.attachment()
    };
    sandbox.attach(refused).await.expect("attached");
    let ended = sandbox.mesh.reported(|event| match event {
        Event::CommandEnded(ended) => Some(ended.clone()),
        Event::Hydrated(_) | Event::HydrateFailed(_) | Event::Synced(_) => None,
    });
    let ended = ended.await;
    if std::path::Path::new("/workspace").is_dir() {
        assert_eq!(
            (ended.exit_code, ended.last_output.as_slice()),
            (Some(3), &b"from the command\n"[..])
        );
    } else {
        assert_eq!(
            ended.exit_code,
            Some(127),
            "what cannot be started ends as a shell would say it"
        );
    }
}

#[tokio::test]
async fn both_tokens_are_renewed_before_they_expire() {
    let sandbox = Sandbox::spare().await;
    let soon = SystemClock.now().plus(Duration::from_millis(600));
    let request = pb::AttachRequest {
        tokens_expire_at: Some(sandgate_api::timestamp_to(soon)),
        ..sandbox.attachment()
    };
    sandbox.attach(request).await.expect("attached");
    let renewed = async {
        while sandbox.mesh.renewals() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(NEVER, renewed).await.expect("renewed");
    sandbox
        .files()
        .write_file(super::files::upload("a", b"1"))
        .await
        .expect("written");
    sandbox
        .files()
        .sync_files(pb::SyncFilesRequest {})
        .await
        .expect("synced");
    let used = sandbox.mesh.authorizations();
    assert!(
        used.contains(&"Bearer daemon-renewed-1".to_owned()),
        "{used:?}"
    );
    assert!(
        used.iter().all(|value| value.contains("daemon")),
        "the agent's token is never used for our own calls"
    );
}

#[tokio::test]
async fn the_keeper_ends_with_the_backend_and_what_ran_with_it() {
    let sandbox = Sandbox::attached().await;
    sandbox.backend_ends().await.expect("in order");
}

#[tokio::test]
async fn a_new_link_takes_the_place_of_the_one_before() {
    let mut sandbox = Sandbox::attached().await;
    let finished = sandbox.run(sandbox.shell("echo one")).await.expect("runs");
    let before = sandbox.processes();
    sandbox.relink().await;
    let listed = sandbox
        .processes()
        .list_processes(pb::ListProcessesRequest::default())
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(
        listed
            .processes
            .first()
            .map(|process| process.process_id.as_str()),
        Some(finished.id.as_str())
    );
    let cut = async {
        let mut before = before;
        while before
            .list_processes(pb::ListProcessesRequest::default())
            .await
            .is_ok()
        {}
    };
    tokio::time::timeout(NEVER, cut)
        .await
        .expect("the former link is closed");
    sandbox
        .files()
        .write_file(super::files::upload("a", b"1"))
        .await
        .expect("written");
    sandbox
        .files()
        .sync_files(pb::SyncFilesRequest {})
        .await
        .expect("calls of the keeper use the new link");
}
