//! When a channel makes a call again, and that it says whose trace the call is in.

mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_api::orchestrator::v1::ReportActivityRequest;
use sandgate_rpc::{Fault, Memory, Reason, Shutdown, memory};
use sandgate_telemetry::{LogFormat, Settings, Telemetry, propagation};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
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
async fn a_handler_is_in_the_trace_of_its_caller() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let settings = Settings {
        service: "sandgate-test",
        format: LogFormat::Text,
        filter: "off".to_owned(),
        otlp: None,
    };
    let nowhere = BoxMakeWriter::new(std::io::sink);
    let (_telemetry, subscriber) = Telemetry::with_writer(&settings, nowhere).expect("telemetry");
    let _set = tracing::subscriber::set_default(subscriber);

    let (listen, pipe) = memory();
    let seen = Arc::new(Mutex::new(None));
    let sees = Arc::clone(&seen);
    let handler = Handler::reporting(move || {
        *sees.lock() = propagation::trace_id(&Span::current());
        async { Ok(()) }
    });
    handler.serve(listen, &Shutdown::new());

    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", PARENT.parse().expect("a value"));
    let span = tracing::info_span!(target: "sandgate_test", "caller");
    propagation::set_parent(&span, &headers);
    client(pipe.target(gate()), false)
        .report_activity(ReportActivityRequest::default())
        .instrument(span)
        .await
        .expect("an answer");
    let trace = seen.lock().clone();
    assert_eq!(trace.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
}
