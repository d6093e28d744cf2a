//! W3C trace context on HTTP headers: `traceparent` and `tracestate`, and nothing else.
//!
//! Baggage is left out on purpose: it would carry whatever a caller writes into every later call. A header
//! that is malformed, doubled or over its bound counts as absent; a request is never refused for it.

use http::{HeaderMap, HeaderName, HeaderValue};
pub use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What W3C asks everyone to pass on at least; we pass on no more, since it is a stranger's text.
const TRACESTATE_MAX_BYTES: usize = 512;
const TRACEPARENT: &str = "traceparent";

/// The target of a span whose request came without a trace: where nobody collects, none begins with it. It is
/// under the name of the crate that makes such spans, so that log filters take it for that.
pub const ROOT: &str = "sandgate_rpc::root";

/// The trace that the sender of these headers was in; an empty context when it was in none.
pub fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming(headers))
}

/// Writes the trace of `span` into the headers of a call that is made under it, over what was there.
///
/// Without a trace, nothing is written and nothing of an earlier one is left.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    headers.remove(TRACEPARENT);
    headers.remove("tracestate");
    TraceContextPropagator::new().inject_context(&span.context(), &mut Outgoing(headers));
}

/// Writes the trace of the current span into the headers of a call.
pub fn inject_current(headers: &mut HeaderMap) {
    inject(&Span::current(), headers);
}

/// Whether the sender of these headers names a trace, well or badly.
pub fn has_trace(headers: &HeaderMap) -> bool {
    headers.contains_key(TRACEPARENT)
}

/// Makes a span the child of the sender's. Call it before the span is entered: its trace is fixed then.
pub fn set_parent(span: &Span, headers: &HeaderMap) {
    if !has_trace(headers) {
        return;
    }
    join(span, extract(headers));
}

/// Where in its trace the current span is, without the span: for what it sets going and does not wait for.
pub fn current_place() -> Context {
    let context = Span::current().context();
    Context::new().with_remote_span_context(context.span().span_context().clone())
}

/// Makes a span the child of what was the current one at `place`. Call it before the span is entered.
pub fn join(span: &Span, place: Context) {
    // A span that is filtered out, or a process without telemetry, has no trace to join.
    if place.span().span_context().is_valid() && span.set_parent(place).is_err() {
        tracing::trace!("the span takes no remote parent");
    }
}

/// Names a span that is on its way already.
///
/// Its name in `otel.name` counts until its trace is first passed on; what is recorded there later is lost.
pub fn rename(span: &Span, name: &str) {
    span.context().span().update_name(name.to_owned());
}

/// Whether somebody records the trace that the span is in.
pub fn is_sampled(span: &Span) -> bool {
    span.context().span().span_context().is_sampled()
}

/// The trace of the current span as the value of `traceparent`, where somebody records it.
///
/// For what takes a trace by other ways than headers, such as a process by its environment.
pub fn current_traceparent() -> Option<String> {
    let span = Span::current();
    if !is_sampled(&span) {
        return None;
    }
    let mut headers = HeaderMap::new();
    inject(&span, &mut headers);
    let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
    Some(parent.to_owned())
}

/// The id of the span's trace in lower-case hex, for messages that a person searches by.
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let id = context.span().span_context().trace_id();
    (id != opentelemetry::TraceId::INVALID).then(|| id.to_string())
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value
                .to_str()
                .ok()
                .filter(|text| text.len() <= TRACESTATE_MAX_BYTES),
            (Some(_) | None, Some(_) | None) => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate says nothing, and some peers count its bytes.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header"));
        }
        headers
    }

    fn is_in_a_trace(pairs: &[(&'static str, &str)]) -> bool {
        extract(&headers(pairs)).span().span_context().is_valid()
    }

    #[test]
    fn a_senders_trace_is_read_from_its_headers() {
        let context = extract(&headers(&[("traceparent", PARENT), ("tracestate", "a=1")]));
        let span = context.span();
        assert_eq!(
            span.span_context().trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(span.span_context().trace_state().header(), "a=1");
        assert!(span.span_context().is_remote());
    }

    #[test]
    fn malformed_and_doubled_headers_count_as_absent() {
        assert!(is_in_a_trace(&[("traceparent", PARENT)]));
        assert!(!is_in_a_trace(&[]));
        assert!(!is_in_a_trace(&[(
            "traceparent",
            "00-zz-b7ad6b7169203331-01"
        )]));
        assert!(!is_in_a_trace(&[
            ("traceparent", PARENT),
            ("traceparent", PARENT)
        ]));
    }

    #[test]
    fn a_tracestate_over_its_bound_is_dropped_and_the_trace_kept() {
        let long = format!("a={}", "x".repeat(TRACESTATE_MAX_BYTES));
        let context = extract(&headers(&[("traceparent", PARENT), ("tracestate", &long)]));
        assert!(context.span().span_context().is_valid());
        assert_eq!(context.span().span_context().trace_state().header(), "");
    }

    #[test]
    fn a_call_outside_any_trace_leaves_no_trace_of_an_earlier_one() {
        let mut outgoing = headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("te", "trailers"),
        ]);
        inject_current(&mut outgoing);
        assert_eq!(outgoing.len(), 1, "{outgoing:?}");
    }
}
