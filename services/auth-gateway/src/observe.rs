//! What is told of each request: a span that continues the caller's trace, and counts by listener and outcome.

use http::request::Parts;
use http::{Method, StatusCode};
use sandgate_telemetry::metric::{Counter, Durations, Label, Meters, Metric};
use sandgate_telemetry::{propagation, semconv};
use sandgate_types::RouteName;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::records::Who;
use crate::refusal::Refusal;

/// Requests that the gate decided.
const REQUESTS: Metric = Metric {
    name: "sandgate_gate_requests_total",
    unit: "1",
    help: "requests decided, by listener and outcome",
};
/// How long the head of an answer took.
const DURATION: Metric = Metric {
    name: "sandgate_gate_request_duration_seconds",
    unit: "s",
    help: "time from a request's head to the head of its answer, by listener",
};

/// What went over WebSockets.
const WEBSOCKET_BYTES: Metric = Metric {
    name: "sandgate_gate_websocket_bytes_total",
    unit: "By",
    help: "bytes over WebSockets of sandboxes that have ended, by direction",
};

/// Which way bytes go.
#[derive(Debug, Clone, Copy)]
enum Direction {
    /// From a sandbox.
    Up,
    /// To a sandbox.
    Down,
}

impl Label for Direction {
    const KEY: &'static str = "direction";

    fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Where a request came in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listener {
    /// From a client.
    Client,
    /// From a sandbox.
    Sandbox,
}

impl Label for Listener {
    const KEY: &'static str = "listener";

    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Sandbox => "sandbox",
        }
    }
}

/// `ALLOWED`, or one of the constants of [`Refusal::reason`].
#[derive(Debug, Clone, Copy)]
struct Outcome(&'static str);

impl Label for Outcome {
    const KEY: &'static str = "outcome";

    fn as_str(self) -> &'static str {
        self.0
    }
}

/// The gate's instruments.
#[derive(Debug)]
pub(crate) struct Instruments {
    requests: Counter<(Listener, Outcome)>,
    durations: Durations<(Listener,)>,
    websocket_bytes: Counter<(Direction,)>,
}

/// A request that is being decided.
#[derive(Debug)]
pub(crate) struct Observed {
    listener: Listener,
    began: Instant,
    /// Its span; enter it for what is done about it.
    pub(crate) span: Span,
}

impl Instruments {
    /// Instruments of this process.
    pub(crate) fn new(meters: &Meters) -> Self {
        Self {
            requests: meters.counter(REQUESTS),
            durations: meters.durations(DURATION),
            websocket_bytes: meters.counter(WEBSOCKET_BYTES),
        }
    }

    /// Counts what went over a WebSocket.
    pub(crate) fn carried(&self, up: u64, down: u64) {
        self.websocket_bytes.add(up, (Direction::Up,));
        self.websocket_bytes.add(down, (Direction::Down,));
    }

    /// Notes what became of a request.
    pub(crate) fn decided(&self, observed: &Observed, who: &Who, refusal: Option<&Refusal>) {
        let outcome = Outcome(refusal.map_or("ALLOWED", Refusal::reason));
        self.requests.add(1, (observed.listener, outcome));
        self.durations
            .record(observed.began.elapsed(), (observed.listener,));
        let span = &observed.span;
        if span.is_disabled() {
            return;
        }
        span.record(semconv::OTEL_NAME, who.action.as_str());
        propagation::rename(span, &who.action);
        span.record(semconv::TENANT, who.tenant.as_str());
        span.record(semconv::SANDBOX, who.sandbox.as_str());
        span.record(semconv::VERDICT, outcome.0);
    }
}

/// The span of the request to an upstream, in which that may go on; that of the sandbox's request, where nobody
/// records the trace.
pub(crate) fn asking(route: &RouteName, method: &Method) -> Span {
    let current = Span::current();
    if !propagation::is_sampled(&current) {
        return current;
    }
    tracing::info_span!(
        "upstream",
        { semconv::OTEL_NAME } = route.as_str(),
        { semconv::OTEL_KIND } = semconv::KIND_CLIENT,
        { semconv::ROUTE } = route.as_str(),
        { semconv::HTTP_REQUEST_METHOD } = method.as_str(),
        { semconv::HTTP_RESPONSE_STATUS_CODE } = Empty,
        { semconv::OTEL_STATUS_CODE } = Empty,
    )
}

/// Notes what an upstream answered; `None` when it did not.
pub(crate) fn asked(span: &Span, status: Option<StatusCode>) {
    match status {
        Some(status) => {
            span.record(semconv::HTTP_RESPONSE_STATUS_CODE, status.as_u16());
        }
        None => {
            span.record(semconv::OTEL_STATUS_CODE, "ERROR");
        }
    }
}

macro_rules! request_span {
    ($level:expr, $target:expr, $head:expr, $request:expr) => {
        tracing::span!(
            target: $target,
            $level,
            "gate",
            { semconv::OTEL_NAME } = Empty,
            { semconv::OTEL_KIND } = semconv::KIND_SERVER,
            { semconv::HTTP_REQUEST_METHOD } = $head.method.as_str(),
            { semconv::REQUEST_ID } = $request,
            { semconv::TENANT } = Empty,
            { semconv::SANDBOX } = Empty,
            { semconv::VERDICT } = Empty,
        )
    };
}

/// Begins a request: its span continues the trace of whoever sent it.
pub(crate) fn begin(listener: Listener, head: &Parts, request: &str) -> Observed {
    let span = match listener {
        // Nothing is logged of an agent's request but for debugging: where nobody collects traces either, there is
        // no span, which would cost as much as all that is decided.
        Listener::Sandbox if !propagation::has_trace(&head.headers) => {
            request_span!(Level::DEBUG, propagation::ROOT, head, request)
        }
        Listener::Sandbox | Listener::Client => {
            let span = request_span!(Level::INFO, module_path!(), head, request);
            propagation::set_parent(&span, &head.headers);
            span
        }
    };
    Observed {
        listener,
        began: Instant::now(),
        span,
    }
}
