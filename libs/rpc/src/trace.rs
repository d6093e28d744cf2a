//! One span and one observation for each call that is served, whatever became of it: answered, refused, cut or
//! cancelled; and one span for each call that is made.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use sandgate_api::Method;
use sandgate_telemetry::metric::{Counter, Durations, Label, Meters, RPC_DURATION, RPC_REQUESTS};
use sandgate_telemetry::{propagation, semconv};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::Span;
use tracing::field::Empty;

use crate::{RequestName, code_name};

const GRPC_STATUS: &str = "grpc-status";

/// How a call ended, as a label.
#[derive(Debug, Clone, Copy)]
struct Ended(Code);

impl Label for Ended {
    const KEY: &'static str = "status";

    fn as_str(self) -> &'static str {
        code_name(self.0)
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
    requests: Counter<(MethodPath, Ended)>,
    durations: Durations<(MethodPath, Ended)>,
}

impl Instruments {
    pub(crate) fn new(meters: &Meters) -> Self {
        Self {
            requests: meters.counter(RPC_REQUESTS),
            durations: meters.durations(RPC_DURATION),
        }
    }
}

/// The span of a call that is served. What only a trace shows is recorded where there is one.
macro_rules! server_span {
    (target: $target:expr, $known:expr, $name:expr) => {
        tracing::info_span!(
            target: $target,
            "rpc",
            { semconv::OTEL_NAME } = $known.trim_start_matches('/'),
            { semconv::OTEL_KIND } = semconv::KIND_SERVER,
            { semconv::RPC_SYSTEM } = Empty,
            { semconv::RPC_SERVICE } = Empty,
            { semconv::RPC_METHOD } = Empty,
            { semconv::RPC_GRPC_STATUS_CODE } = Empty,
            { semconv::OTEL_STATUS_CODE } = Empty,
            { semconv::TENANT } = Empty,
            { semconv::REQUEST_ID } = $name.as_str(),
        )
    };
}

/// A call on its way; what is known when it is dropped is recorded.
#[derive(Debug)]
pub(crate) struct Recorder {
    instruments: Arc<Instruments>,
    span: Span,
    /// Whether somebody records the trace that the span is in; the logs alone need less.
    is_recorded: bool,
    name: RequestName,
    method: MethodPath,
    began: Instant,
    code: Option<Code>,
}

impl Recorder {
    /// Begins a call: its span continues the sender's trace.
    pub(crate) fn begin(
        instruments: &Arc<Instruments>,
        head: &Parts,
        method: Option<&'static Method>,
    ) -> Self {
        let known = path_of(method);
        let name = RequestName::of(&head.headers);
        let span = if propagation::has_trace(&head.headers) {
            let span = server_span!(target: module_path!(), known, name);
            propagation::set_parent(&span, &head.headers);
            span
        } else {
            server_span!(target: propagation::ROOT, known, name)
        };
        let is_recorded = propagation::is_sampled(&span);
        if is_recorded {
            let (service, method) = parts(known);
            span.record(semconv::RPC_SYSTEM, semconv::RPC_SYSTEM_GRPC);
            span.record(semconv::RPC_SERVICE, service);
            span.record(semconv::RPC_METHOD, method);
        }
        Self {
            instruments: Arc::clone(instruments),
            span,
            is_recorded,
            name,
            method: MethodPath(known),
            began: Instant::now(),
            code: None,
        }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn name(&self) -> &RequestName {
        &self.name
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
        if self.is_recorded {
            note(&self.span, code);
        }
        let labels = (self.method, Ended(code));
        self.instruments.requests.add(1, labels);
        self.instruments.durations.record(took, labels);
        tracing::debug!(parent: &self.span, ?code, took_ms = took.as_millis(), "answered");
    }
}

/// A call that we make: its span, where the trace is recorded, in which the peer's goes on.
#[derive(Debug)]
pub struct Outgoing {
    span: Span,
    /// Whether the span is the call's own, or that of whatever makes it.
    is_own: bool,
}

impl Outgoing {
    /// Begins a call to `path`: its headers carry the trace, and the name of the request that it is made for.
    ///
    /// Outside of any recorded trace there is no span of its own: nobody would see it.
    pub fn begin(path: &str, headers: &mut HeaderMap) -> Self {
        let current = Span::current();
        let is_own = propagation::is_sampled(&current);
        let span = if is_own { client_span(path) } else { current };
        propagation::inject(&span, headers);
        if let Some(name) = RequestName::current() {
            name.pass_on(headers);
        }
        Self { span, is_own }
    }

    /// The span in which the call is made.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Notes how the call ended, as far as the head of its answer says.
    pub fn ended(&self, answered: Result<&HeaderMap, &Status>) {
        let code = match answered {
            Ok(headers) => headers
                .get(GRPC_STATUS)
                .map(|status| Code::from_bytes(status.as_bytes())),
            Err(status) => Some(status.code()),
        };
        if let Some(code) = code.filter(|_| self.is_own) {
            note(&self.span, code);
        }
    }
}

fn client_span(path: &str) -> Span {
    let known = known(path);
    let (service, method) = parts(known);
    tracing::info_span!(
        "call",
        { semconv::OTEL_NAME } = known.trim_start_matches('/'),
        { semconv::OTEL_KIND } = semconv::KIND_CLIENT,
        { semconv::RPC_SYSTEM } = semconv::RPC_SYSTEM_GRPC,
        { semconv::RPC_SERVICE } = service,
        { semconv::RPC_METHOD } = method,
        { semconv::RPC_GRPC_STATUS_CODE } = Empty,
        { semconv::OTEL_STATUS_CODE } = Empty,
    )
}

/// The path of a method of ours; whatever else was asked for is not repeated.
fn known(path: &str) -> &'static str {
    path_of(sandgate_api::find(path))
}

fn path_of(method: Option<&'static Method>) -> &'static str {
    method.map_or("other", |method| method.path)
}

fn parts(known: &'static str) -> (&'static str, &'static str) {
    let parts = known.trim_start_matches('/').split_once('/');
    parts.unwrap_or(("other", "other"))
}

fn note(span: &Span, code: Code) {
    span.record(semconv::RPC_GRPC_STATUS_CODE, i32::from(code));
    if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) {
        span.record(semconv::OTEL_STATUS_CODE, "ERROR");
    }
}
