//! One span and one observation for each call, whatever became of it: answered, refused, cut or cancelled.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_telemetry::metric::{Counter, Durations, Label, Meters, RPC_DURATION, RPC_REQUESTS};
use sandgate_telemetry::{propagation, semconv};
use sandgate_types::LinkId;
use tokio::time::Instant;
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

const GRPC_STATUS: &str = "grpc-status";
/// The header in which a request's id comes from the gate, and under which it is in our logs.
pub(crate) const REQUEST_ID: &str = "sandgate-request-id";

/// How a call ended, as a label.
#[derive(Debug, Clone, Copy)]
struct Status(Code);

impl Label for Status {
    const KEY: &'static str = "status";

    fn as_str(self) -> &'static str {
        match self.0 {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// The method, as a label: one of ours, or none.
#[derive(Debug, Clone, Copy)]
struct MethodPath(&'static str);

impl Label for MethodPath {
    const KEY: &'static str = "method";

    fn as_str(self) -> &'static str {
        self.0
    }
}

/// The instruments of a server.
#[derive(Debug, Clone)]
pub(crate) struct Instruments {
    requests: Counter<(MethodPath, Status)>,
    durations: Durations<(MethodPath, Status)>,
}

impl Instruments {
    pub(crate) fn new(meters: &Meters) -> Self {
        Self {
            requests: meters.counter(RPC_REQUESTS),
            durations: meters.durations(RPC_DURATION),
        }
    }
}

/// A call on its way; what is known when it is dropped is recorded.
#[derive(Debug)]
pub(crate) struct Recorder {
    instruments: Arc<Instruments>,
    span: Span,
    method: MethodPath,
    began: Instant,
    code: Option<Code>,
}

impl Recorder {
    /// Begins a call: its span continues the sender's trace.
    pub(crate) fn begin(instruments: &Arc<Instruments>, head: &Parts) -> Self {
        let path = head.uri.path();
        let known = sandgate_api::find(path).map_or("other", |method| method.path);
        let (service, name) = known
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or(("other", "other"));
        let span = tracing::info_span!(
            "rpc",
            { semconv::OTEL_NAME } = known.trim_start_matches('/'),
            { semconv::OTEL_KIND } = semconv::KIND_SERVER,
            { semconv::RPC_SYSTEM } = semconv::RPC_SYSTEM_GRPC,
            { semconv::RPC_SERVICE } = service,
            { semconv::RPC_METHOD } = name,
            { semconv::RPC_GRPC_STATUS_CODE } = Empty,
            { semconv::OTEL_STATUS_CODE } = Empty,
            { semconv::TENANT } = Empty,
            { semconv::REQUEST_ID } = request_id(&head.headers),
        );
        propagation::set_parent(&span, &head.headers);
        Self {
            instruments: Arc::clone(instruments),
            span,
            method: MethodPath(known),
            began: Instant::now(),
            code: None,
        }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Notes the status where headers or trailers have one.
    pub(crate) fn see(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(GRPC_STATUS) {
            self.code = Some(Code::from_bytes(status.as_bytes()));
        }
    }

    pub(crate) fn end(&mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Dropped without a status: the peer went away.
        let code = self.code.unwrap_or(Code::Cancelled);
        let took: Duration = self.began.elapsed();
        self.span
            .record(semconv::RPC_GRPC_STATUS_CODE, i32::from(code));
        if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) {
            self.span.record(semconv::OTEL_STATUS_CODE, "ERROR");
        }
        let labels = (self.method, Status(code));
        self.instruments.requests.add(1, labels);
        self.instruments.durations.record(took, labels);
        self.span
            .in_scope(|| tracing::debug!(?code, took_ms = took.as_millis(), "answered"));
    }
}

/// The id that the gate gave the request, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| LinkId::parse(REQUEST_ID, text).ok())
        .unwrap_or_else(|| LinkId::random(&mut StdRng::from_os_rng()))
        .as_str()
        .to_owned()
}
