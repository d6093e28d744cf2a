//! Traces go from a channel to the handler that it reaches.
//!
//! Alone in its file: what a span is worth is decided once per process, by the first who makes one.

mod wire;

use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_api::orchestrator::v1::ReportActivityRequest;
use sandgate_rpc::{Shutdown, memory};
use sandgate_telemetry::{LogFormat, Settings, Telemetry, propagation};
use tracing::{Instrument as _, Span};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use wire::{Handler, client, gate};

#[tokio::test]
async fn a_handler_is_in_the_trace_of_its_caller_and_begins_none_that_nobody_collects() {
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
    let mut client = client(pipe.target(gate()), false);
    client
        .report_activity(ReportActivityRequest::default())
        .instrument(span)
        .await
        .expect("an answer");
    let trace = seen.lock().take();
    assert_eq!(trace.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));

    client
        .report_activity(ReportActivityRequest::default())
        .await
        .expect("an answer");
    assert_eq!(*seen.lock(), None);
}
