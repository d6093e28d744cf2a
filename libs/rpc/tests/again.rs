//! How a channel calls: again when it may help, and over a new connection when the old one broke.

mod wire;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sandgate_api::orchestrator::v1::ReportActivityRequest;
use sandgate_rpc::{Fault, Listen, Memory, Reason, Shutdown, Target, memory};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use wire::{Handler, client, gate};

/// Fails so often, and then answers; counts.
fn failing(
    times: u32,
    status: impl Fn() -> Status + Send + Sync + 'static,
) -> (Memory, Arc<AtomicU32>) {
    let (listen, pipe) = memory();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let handler = Handler::reporting(move || {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        let answer = if call < times { Err(status()) } else { Ok(()) };
        async move { answer }
    });
    handler.serve(listen, &Shutdown::new());
    (pipe, calls)
}

fn busy() -> Status {
    Fault::unavailable(Reason::new("test", "BUSY"), "busy").into()
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_call_is_made_again_until_the_peer_is_there() {
    let (pipe, calls) = failing(2, busy);
    client(pipe.target(gate()), true)
        .report_activity(ReportActivityRequest::default())
        .await
        .expect("the third time");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_made_again_for_ever_nor_without_leave() {
    let (pipe, calls) = failing(u32::MAX, busy);
    for (retries, expected) in [(true, 4), (false, 1)] {
        calls.store(0, Ordering::SeqCst);
        let status = client(pipe.target(gate()), retries)
            .report_activity(ReportActivityRequest::default())
            .await
            .expect_err("always busy");
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(calls.load(Ordering::SeqCst), expected, "retries: {retries}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_not_tried_again() {
    let (pipe, calls) = failing(1, || Status::internal("ours"));
    let status = client(pipe.target(gate()), true)
        .report_activity(ReportActivityRequest::default())
        .await
        .expect_err("a bug");
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_when_to_come_back_is_obeyed() {
    const WAIT: Duration = Duration::from_secs(3);
    let told = || {
        let fault = Fault::unavailable(Reason::new("test", "BUSY"), "busy");
        Status::from(fault.retry_after(WAIT))
    };
    let (pipe, _calls) = failing(1, told);
    let began = Instant::now();
    client(pipe.target(gate()), true)
        .report_activity(ReportActivityRequest::default())
        .await
        .expect("the second time");
    assert!(began.elapsed() >= WAIT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable_and_says_when_to_come_back() {
    let (listen, pipe) = memory();
    drop(listen);
    let status = client(pipe.target(gate()), false)
        .report_activity(ReportActivityRequest::default())
        .await
        .expect_err("nobody");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (Code::Unavailable, "PEER_UNREACHABLE")
    );
    assert!(status.get_details_retry_info().is_some());
}

#[tokio::test]
async fn a_channel_comes_back_when_its_peer_does() {
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .expect("a folder");
    let path = folder.path().join("socket");
    let mut endpoints = client(Target::unix(path.clone()), true);
    for _ in 0..2 {
        let shutdown = Shutdown::new();
        let listen = Listen::unix(&path).expect("a socket");
        Handler::reporting(|| async { Ok(()) }).serve(listen, &shutdown);
        let status = endpoints
            .report_activity(ReportActivityRequest::default())
            .await
            .expect_err("a process of ours is no service");
        assert_eq!(status.code(), Code::PermissionDenied);
        shutdown.begin();
        assert!(shutdown.join(Duration::from_secs(15)).await);
    }
}
