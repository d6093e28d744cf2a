//! From spare to end.

use std::time::Duration;

use sandgate_api::orchestrator::v1::report_instance_request::Event;
use sandgate_api::sandbox::v1 as pb;
use sandgate_session::control::FromKeeper;
use tonic::Code;

use super::harness::{NEVER, Sandbox, next, reason};

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
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "ENDING")
    );
    let stat = sandbox
        .files()
        .stat_file(pb::StatFileRequest::default())
        .await;
    assert_eq!(reason(&stat.expect_err("ending")), "ENDING");
    let port = pb::OpenPortRequest {
        part: Some(pb::open_port_request::Part::Port(1)),
    };
    let port = sandbox.ports().open_port(tokio_stream::iter([port])).await;
    assert_eq!(reason(&port.expect_err("ending")), "ENDING");
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
