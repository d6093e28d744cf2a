//! How answers and servers end: in time, with a status, and without anything left behind.

mod wire;

use std::sync::Arc;
use std::time::Duration;

use sandgate_api::orchestrator::v1::{
    ReportActivityRequest, WatchEndpointsRequest, WatchEndpointsResponse,
};
use sandgate_rpc::{
    Listen, Readiness, ServeError, Server, ServerOptions, Shutdown, Target, memory,
};
use tokio::sync::Notify;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use wire::{Handler, client, gate};

const SOON: Duration = Duration::from_secs(5);

/// Says that it was dropped.
struct Held(Arc<Notify>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_call_that_outlives_the_grace_is_cut_and_its_handler_dropped() {
    let (listen, pipe) = memory();
    let shutdown = Shutdown::new();
    let (started, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (starts, drops) = (Arc::clone(&started), Arc::clone(&dropped));
    let handler = Handler::reporting(move || {
        let held = Held(Arc::clone(&drops));
        let starts = Arc::clone(&starts);
        async move {
            let _held = held;
            starts.notify_one();
            std::future::pending().await
        }
    });
    let options = ServerOptions {
        grace: Duration::from_millis(10),
        ..ServerOptions::new(Readiness::new())
    };
    handler.serve_with(options, listen, &shutdown);
    let mut endpoints = client(pipe.target(gate()), false);
    let call = endpoints.report_activity(ReportActivityRequest::default());
    let ending = async {
        started.notified().await;
        shutdown.begin();
        assert!(shutdown.join(SOON).await, "the server waits for nobody");
    };
    let (answer, ()) = tokio::join!(call, ending);
    let code = answer.expect_err("cut").code();
    assert_ne!(
        code,
        Code::DeadlineExceeded,
        "it is not the deadline that ended it"
    );
    tokio::time::timeout(SOON, dropped.notified())
        .await
        .expect("nothing of the call is left");
}

#[tokio::test]
async fn a_call_within_the_grace_is_answered() {
    let (listen, pipe) = memory();
    let shutdown = Shutdown::new();
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (starts, goes_on) = (Arc::clone(&started), Arc::clone(&go_on));
    let handler = Handler::reporting(move || {
        let (starts, goes_on) = (Arc::clone(&starts), Arc::clone(&goes_on));
        async move {
            starts.notify_one();
            goes_on.notified().await;
            Ok(())
        }
    });
    handler.serve(listen, &shutdown);
    let mut endpoints = client(pipe.target(gate()), false);
    let call = endpoints.report_activity(ReportActivityRequest::default());
    let ending = async {
        started.notified().await;
        shutdown.begin();
        go_on.notify_one();
    };
    let (answer, ()) = tokio::join!(call, ending);
    answer.expect("it was on its way");
    assert!(shutdown.join(SOON).await);
}

#[tokio::test]
async fn a_stream_that_panics_ends_as_internal_and_its_connection_lives() {
    let (listen, pipe) = memory();
    let shutdown = Shutdown::new();
    let handler = Handler::watching(|| {
        Box::pin(tokio_stream::once(()).map(|()| -> Result<_, Status> { panic!("secret") }))
    });
    handler.serve(listen, &shutdown);
    let mut endpoints = client(pipe.target(gate()), false);
    for _ in 0..2 {
        let watch = endpoints.watch_endpoints(WatchEndpointsRequest {}).await;
        let mut changes = watch.expect("a stream").into_inner();
        let status = changes.message().await.expect_err("the panic");
        assert_eq!(
            (status.code(), status.message()),
            (Code::Internal, "internal")
        );
    }
}

#[tokio::test]
async fn what_a_stream_has_to_say_is_said_before_its_server_ends() {
    let (listen, pipe) = memory();
    let shutdown = Shutdown::new();
    let (sender, receiver) = tokio::sync::watch::channel(false);
    let handler = Handler::watching(move || {
        let mut begun = receiver.clone();
        let said = async move {
            begun
                .wait_for(|begun| *begun)
                .await
                .expect("the test lives");
            Ok(WatchEndpointsResponse::default())
        };
        let said: wire::Watched = Box::pin(futures_util::stream::once(said));
        Box::pin(said.chain(tokio_stream::pending()))
    });
    handler.serve(listen, &shutdown);
    let mut endpoints = client(pipe.target(gate()), false);
    let watch = endpoints.watch_endpoints(WatchEndpointsRequest {}).await;
    let mut changes = watch.expect("a stream").into_inner();
    sender.send(true).expect("the handler listens");
    shutdown.begin();
    assert!(changes.message().await.expect("said").is_some());
    let status = changes.message().await.expect_err("then it ends");
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_is_a_deadline_and_is_not_called_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let mut request = tonic::Request::new(ReportActivityRequest::default());
    request.set_timeout(Duration::from_millis(200));
    let status = client(Target::tcp(&address, None), true)
        .report_activity(request)
        .await
        .expect_err("silence");
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_service_without_a_rule_is_not_served() {
    let (listen, _pipe) = memory();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let result = Server::new(ServerOptions::new(Readiness::new()))
        .service(health)
        .serve(vec![listen], &Shutdown::new())
        .await;
    assert!(matches!(result, Err(ServeError::UnknownService(_))));
}

#[tokio::test]
async fn a_listener_binds_before_anything_is_served() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let first = Listen::tcp(any, None).await.expect("a port");
    let taken = first.local_addr().expect("its address");
    let error = Listen::tcp(taken, None).await.expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
