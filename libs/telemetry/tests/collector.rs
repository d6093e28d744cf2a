//! What leaves a process: spans and metrics over OTLP to a real collector's interface, logs to a writer.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use sandgate_telemetry::metric::{self, Label, Metric};
use sandgate_telemetry::{InitError, LogFormat, Settings, Telemetry, propagation};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// A collector that keeps what it is sent.
#[derive(Debug, Clone, Default)]
struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    #[expect(
        clippy::disallowed_methods,
        reason = "the collector ends with the test's runtime"
    )]
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (traces, metrics) = (
            TraceServiceServer::new(self.clone()),
            MetricsServiceServer::new(self.clone()),
        );
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(traces)
                .add_service(metrics)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.traces.lock();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| scope.spans.clone())
            .collect()
    }
}

/// A log that the test reads.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn writer(&self) -> BoxMakeWriter {
        let log = self.clone();
        BoxMakeWriter::new(move || log.clone())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("logs are text")
    }
}

fn settings(otlp: Option<String>) -> Settings {
    Settings {
        service: "sandgate-test",
        format: LogFormat::Json,
        filter: "info".to_owned(),
        otlp,
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn call_of_a_traced_caller() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        "traceparent",
        format!("00-{TRACE}-{CALLER}-01").parse().expect("a header"),
    );
    headers
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CANARY: &str = "canary-5f1c9e7a-do-not-tell";

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_on_here_and_in_our_calls_and_no_secret_leaves_with_it() {
    let collector = Collector::default();
    let log = Log::default();
    let (telemetry, subscriber) =
        Telemetry::with_writer(&settings(Some(collector.serve().await)), log.writer())
            .expect("telemetry");

    let mut incoming = call_of_a_traced_caller();
    // What a caller sends beside its trace: none of it is recorded, baggage included.
    for header in ["authorization", "cookie", "baggage", "x-api-key"] {
        incoming.insert(header, format!("key={CANARY}").parse().expect("a header"));
    }
    let mut outgoing = HeaderMap::new();
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!(target: "sandgate_test", "sandgate.token.v1.TokenService/Validate",
            rpc.method = "Validate"
        );
        propagation::set_parent(&span, &incoming);
        let _entered = span.enter();
        tracing::info!("validated");
        propagation::inject_current(&mut outgoing);
        assert_eq!(propagation::trace_id(&span).as_deref(), Some(TRACE));
    });
    telemetry.flush(Duration::from_secs(30)).await;

    let spans = collector.spans();
    let [span] = spans.as_slice() else {
        panic!("one span, got {spans:?}")
    };
    assert_eq!(span.name, "sandgate.token.v1.TokenService/Validate");
    assert_eq!(
        (hex(&span.trace_id), hex(&span.parent_span_id)),
        (TRACE.to_owned(), CALLER.to_owned())
    );
    let ours = outgoing
        .get("traceparent")
        .expect("our call is in the trace")
        .to_str()
        .expect("text");
    assert_eq!(ours, format!("00-{TRACE}-{}-01", hex(&span.span_id)));
    assert!(log.text().contains("validated"), "{}", log.text());

    for (what, text) in [
        ("spans", format!("{spans:?}")),
        ("logs", log.text()),
        ("calls", format!("{outgoing:?}")),
    ] {
        assert!(!text.contains(CANARY), "a secret is in our {what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_is_named_and_passed_on_by_other_ways_than_headers_while_it_is_on_its_way() {
    let collector = Collector::default();
    let settings = settings(Some(collector.serve().await));
    let (telemetry, subscriber) =
        Telemetry::with_writer(&settings, Log::default().writer()).expect("telemetry");
    let mut outgoing = HeaderMap::new();
    let mut given = None;
    tracing::subscriber::with_default(subscriber, || {
        assert_eq!(propagation::current_traceparent(), None);
        let span = tracing::info_span!(target: "sandgate_test", "not known yet");
        let _entered = span.enter();
        propagation::inject_current(&mut outgoing);
        given = propagation::current_traceparent();
        propagation::rename(&span, "known");
    });
    telemetry.flush(Duration::from_secs(30)).await;
    let spans = collector.spans();
    let [span] = spans.as_slice() else {
        panic!("one span, got {spans:?}")
    };
    assert_eq!(span.name, "known");
    let in_header = outgoing.get("traceparent").expect("in a trace");
    assert_eq!(given.as_deref(), in_header.to_str().ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_nobody_records_is_given_to_nobody_who_would_keep_it() {
    let (_telemetry, subscriber) =
        Telemetry::with_writer(&settings(None), Log::default().writer()).expect("telemetry");
    tracing::subscriber::with_default(subscriber, || {
        let own = tracing::info_span!(target: "sandgate_test", "work");
        assert_eq!(own.in_scope(propagation::current_traceparent), None);
        let span = tracing::info_span!(target: "sandgate_test", "work");
        propagation::set_parent(&span, &call_of_a_traced_caller());
        let given = span.in_scope(propagation::current_traceparent);
        assert!(given.is_some_and(|given| given.contains(TRACE)));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_sets_going_is_in_its_trace_and_does_not_hold_its_span_open() {
    let collector = Collector::default();
    let settings = settings(Some(collector.serve().await));
    let (telemetry, subscriber) =
        Telemetry::with_writer(&settings, Log::default().writer()).expect("telemetry");
    tracing::subscriber::with_default(subscriber, || {
        let call = tracing::info_span!(target: "sandgate_test", "call");
        let place = call.in_scope(propagation::current_place);
        drop(call);
        let work = tracing::info_span!(target: "sandgate_test", parent: None, "work");
        propagation::join(&work, place);
        // Outside of any trace there is none to join, and what is set going is a trace of its own.
        let alone = tracing::info_span!(target: "sandgate_test", parent: None, "alone");
        propagation::join(&alone, propagation::current_place());
    });
    telemetry.flush(Duration::from_secs(30)).await;
    let spans = collector.spans();
    let [call, alone, work] = spans.as_slice() else {
        panic!("three spans, the call's first, got {spans:?}")
    };
    assert_eq!((&*call.name, &*work.name), ("call", "work"));
    assert_eq!(
        (&work.trace_id, &work.parent_span_id),
        (&call.trace_id, &call.span_id)
    );
    assert_ne!(alone.trace_id, call.trace_id);
    assert!(alone.parent_span_id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_callers_trace_still_goes_on_in_our_calls() {
    let (telemetry, subscriber) =
        Telemetry::with_writer(&settings(None), Log::default().writer()).expect("telemetry");
    let mut outgoing = HeaderMap::new();
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!(target: "sandgate_test", "work");
        propagation::set_parent(&span, &call_of_a_traced_caller());
        propagation::inject(&span, &mut outgoing);
    });
    telemetry.flush(Duration::from_secs(30)).await;
    let ours = outgoing
        .get("traceparent")
        .expect("our call is in the trace")
        .to_str()
        .expect("text");
    assert!(ours.contains(TRACE) && !ours.contains(CALLER), "{ours}");
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_text_cannot_start_a_line_of_the_log() {
    let log = Log::default();
    for format in [LogFormat::Json, LogFormat::Text] {
        let settings = Settings {
            format,
            ..settings(None)
        };
        let (_telemetry, subscriber) =
            Telemetry::with_writer(&settings, log.writer()).expect("telemetry");
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(name = ?"a\nERROR forged \u{1b}[31m", "odd name");
        });
    }
    assert_eq!(log.text().lines().count(), 2, "{}", log.text());
    assert!(!log.text().contains('\u{1b}'));
}

#[tokio::test]
async fn a_collector_that_is_away_neither_stops_the_start_nor_holds_the_end() {
    // A port that was free a moment ago: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("its address");
    let (telemetry, subscriber) = Telemetry::with_writer(
        &settings(Some(format!("http://{port}"))),
        Log::default().writer(),
    )
    .expect("telemetry");
    tracing::subscriber::with_default(subscriber, || {
        drop(tracing::info_span!(target: "sandgate_test", "work").entered())
    });
    let ended = tokio::time::timeout(
        Duration::from_secs(60),
        telemetry.flush(Duration::from_secs(10)),
    )
    .await;
    ended.expect("flushing ends within its limit");
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let refused =
        |settings: &Settings| Telemetry::with_writer(settings, Log::default().writer()).err();
    let filter = Settings {
        filter: "sandgate=loud".to_owned(),
        ..settings(None)
    };
    assert!(matches!(refused(&filter), Some(InitError::Filter(_))));
    let scheme = settings(Some("https://collector:4317".to_owned()));
    assert!(matches!(refused(&scheme), Some(InitError::Scheme)));
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Right,
    Wrong,
}

impl Label for Answer {
    const KEY: &'static str = "answer";

    fn as_str(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_arrives_with_its_name_unit_help_and_labels() {
    let collector = Collector::default();
    let settings = settings(Some(collector.serve().await));
    let (telemetry, _subscriber) =
        Telemetry::with_writer(&settings, Log::default().writer()).expect("telemetry");
    let meters = telemetry.meters();
    let asked = Metric {
        name: "sandgate_test_answers_total",
        unit: "1",
        help: "answers given",
    };
    let answers = meters.counter::<(Answer,)>(asked);
    answers.add(2, (Answer::Right,));
    answers.add(1, (Answer::Wrong,));
    meters
        .durations::<()>(metric::RPC_DURATION)
        .record(Duration::from_millis(3), ());
    telemetry.flush(Duration::from_secs(30)).await;

    let sent = format!("{:?}", collector.metrics.lock());
    for part in [
        "sandgate_test_answers_total",
        "answers given",
        "right",
        "wrong",
        "sandgate_rpc_request_duration",
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
}
