//! What agents call: routes of the policy, and their upstreams.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use sandgate_policy::{Allowed, Asked, Verdict, answer_headers, decide};
use sandgate_session::Claims;
use sandgate_types::RouteName;
use tokio::time::Instant;
use tonic::body::Body;
use tracing::Instrument as _;

use crate::error::Dialect;
use crate::gate::Gate;
use crate::guard::{self, Guarded, boxed};
use crate::observe;
use crate::policy::Route;
use crate::records::Who;
use crate::refusal::{Clause, Denial, Refusal};
use crate::streams::Open;
use crate::workers;

/// Decides by the policy, and passes on what it allows.
pub(super) async fn serve(
    gate: &Gate,
    request: Request<Incoming>,
    claims: &Claims,
    open: Arc<Open>,
    dialect: Dialect,
    who: &mut Who,
) -> Result<Response<Body>, Refusal> {
    gate.agent_rate
        .take(&claims.sandbox)
        .map_err(|wait| Refusal::RateLimited { route: None, wait })?;
    let policy = gate.policies.current();
    let asked = Asked {
        method: request.method(),
        uri: request.uri(),
        headers: request.headers(),
    };
    let allowed = match decide(&policy, asked, claims) {
        Verdict::Allow(allowed) => *allowed,
        Verdict::Refuse(denial) => {
            who.action = action_of(request.method(), denial.route.as_ref());
            return Err(Refusal::Denied(denial));
        }
    };
    let route = Arc::clone(&allowed.route);
    who.action = action_of(request.method(), Some(&route.spec.name));
    if let Some(limiter) = &route.limiter {
        let taken = limiter.take(&claims.sandbox);
        taken.map_err(|wait| Refusal::RateLimited {
            route: Some(route.spec.name.clone()),
            wait,
        })?;
    }
    open.rests_on(&route);
    // Asked again: a policy that changed before the request rested on its route would not have cut it.
    let current = gate.policies.current();
    let same = current.route(&route.spec.name);
    if !same.is_some_and(|same| Arc::ptr_eq(same, &route)) {
        return Err(Refusal::Denied(Denial {
            route: None,
            clause: Clause::Route,
        }));
    }
    gate.records.allowed(who)?;
    gate.activity
        .note(&claims.instance, &claims.sandbox, gate.clock.now());
    to_upstream(request, allowed, open, dialect).await
}

/// What the audit log says of a request to a route; the path may hold anything and is not repeated.
fn action_of(method: &http::Method, route: Option<&RouteName>) -> String {
    match route {
        Some(route) => format!("{route} {method}"),
        None => "unknown".to_owned(),
    }
}

async fn to_upstream(
    request: Request<Incoming>,
    allowed: Allowed<Route>,
    open: Arc<Open>,
    dialect: Dialect,
) -> Result<Response<Body>, Refusal> {
    let Allowed {
        route,
        target,
        headers: mut crossing,
        grpc,
    } = allowed;
    let spec = &route.spec;
    let deadline = Instant::now() + spec.limits.timeout;
    let (head, body) = request.into_parts();
    let verdict = guard::Verdict::default();
    let body = Guarded::new(body, open.cut())
        .at_most(
            spec.limits.request_bytes.bytes(),
            Refusal::RequestTooLarge(spec.name.clone()),
        )
        .until(Some(deadline))
        .trailers(|_| http::HeaderMap::new())
        .holds(&open)
        .tells(&verdict);
    let span = observe::asking(&spec.name, &head.method);
    sandgate_telemetry::propagation::inject(&span, &mut crossing);
    // Where in a trace it is asked is ours to say; this is whatever the sandbox wrote.
    crossing.remove("tracestate");
    let mut outgoing = Request::new(boxed(body));
    *outgoing.method_mut() = head.method;
    *outgoing.headers_mut() = crossing;
    let sent = tokio::select! {
        reason = open.cut().happened() => return Err(Refusal::Cut(reason)),
        () = tokio::time::sleep_until(deadline) => return Err(Refusal::DeadlineExceeded),
        sent = route.upstream.send(workers::number(), outgoing, &target).instrument(span.clone()) => sent,
    };
    observe::asked(&span, sent.as_ref().map(Response::status).ok());
    // A body of ours that ended early is the cause of whatever the connection says.
    let response = sent.map_err(|failure| {
        verdict.get().unwrap_or_else(|| Refusal::Upstream {
            route: spec.name.clone(),
            failure,
        })
    })?;
    let (head, body) = response.into_parts();
    let mut response_headers = answer_headers(&head.headers, &spec.forward, grpc);
    if declared_length(&head.headers) > Some(spec.limits.response_bytes.bytes()) {
        return Err(Refusal::ResponseTooLarge(spec.name.clone()));
    }
    if grpc {
        response_headers.remove(http::header::CONTENT_LENGTH);
    }
    let cut = open.cut().clone();
    let for_trailers = Arc::clone(&route);
    let guarded = Guarded::new(body, &cut)
        .at_most(
            spec.limits.response_bytes.bytes(),
            Refusal::ResponseTooLarge(spec.name.clone()),
        )
        .until(Some(deadline))
        .trailers(move |trailers| answer_headers(&trailers, &for_trailers.spec.forward, grpc))
        .answers(dialect, open);
    let mut response = Response::new(boxed(guarded));
    *response.status_mut() = head.status;
    *response.headers_mut() = response_headers;
    Ok(response)
}

fn declared_length(headers: &http::HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}
