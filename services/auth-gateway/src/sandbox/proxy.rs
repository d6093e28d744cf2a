//! An allowed request on its way to the upstream of its route, and the answer on its way back.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use sandgate_policy::{self as policy, Allowed, answer_headers};
use sandgate_session::Claims;
use tokio::time::Instant;
use tonic::body::Body;
use tracing::Instrument as _;

use crate::body::{self, Rewriting};
use crate::error::Dialect;
use crate::gate::Gate;
use crate::guard::{Guarded, Verdict, boxed};
use crate::observe;
use crate::policy::Route;
use crate::records::Who;
use crate::refusal::Refusal;
use crate::sandbox::credential::Carries;
use crate::streams::Open;
use crate::workers;

/// Who asks, and by what that is held.
pub(super) struct Asking<'a> {
    pub(super) gate: &'a Arc<Gate>,
    pub(super) who: &'a Who,
    pub(super) claims: &'a Arc<Claims>,
    pub(super) open: Arc<Open>,
    pub(super) dialect: Dialect,
}

/// Sends a request on and answers what comes back, under the limits of its route. It is on record as allowed right
/// before the upstream hears of it: until then, what it carries may still refuse it.
pub(super) async fn to_upstream(
    request: Request<Incoming>,
    allowed: Allowed<Route>,
    asking: Asking<'_>,
) -> Result<Response<Body>, Refusal> {
    let Asking {
        gate,
        who,
        claims,
        open,
        dialect,
    } = asking;
    let Allowed {
        route,
        mut target,
        headers: mut crossing,
        grpc,
    } = allowed;
    let spec = &route.spec;
    let deadline = Instant::now() + spec.limits.timeout;
    let (head, incoming) = request.into_parts();
    let verdict = Verdict::default();
    let most = match &spec.body {
        policy::Body::Json(_) => spec.limits.request_bytes.bytes().min(body::JSON_MAX_BYTES),
        policy::Body::AsIs | policy::Body::Messages(_) => spec.limits.request_bytes.bytes(),
    };
    let guarded = Guarded::new(incoming, open.cut())
        .at_most(most, Refusal::RequestTooLarge(spec.name.clone()))
        .until(Some(deadline))
        .trailers(|_| HeaderMap::new())
        .holds(&open)
        .tells(&verdict);
    let held = || gate.buffers.hold(&claims.sandbox);
    let body = match &spec.body {
        policy::Body::AsIs => boxed(guarded),
        policy::Body::Json(json) => {
            let to = (&spec.name, &head.method);
            let whole = body::json(guarded, &verdict, json, to, claims, held()).await?;
            Body::new(whole)
        }
        policy::Body::Messages(_) => {
            let (of, claims) = (Arc::clone(&route), Arc::clone(claims));
            Body::new(Rewriting::new(
                guarded,
                of,
                &target,
                claims,
                &verdict,
                held(),
            ))
        }
    };
    let credential = Carries::by(&route, &head.method, deadline, &open).await?;
    credential.write(&mut crossing, &mut target);
    gate.records.allowed(who)?;
    gate.activity
        .note(&claims.instance, &claims.sandbox, gate.clock.now());
    let span = observe::asking(&spec.name, &head.method);
    // Where in a trace it is asked is ours to say, and nothing of what the sandbox wrote about it has crossed.
    if !span.is_disabled() {
        sandgate_telemetry::propagation::inject(&span, &mut crossing);
        crossing.remove("tracestate");
    }
    let mut outgoing = Request::new(body);
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
    credential.answered(head.status);
    let mut response_headers = answer_headers(&head.headers, &spec.forward, grpc);
    credential.check(&response_headers)?;
    if declared_length(&head.headers) > Some(spec.limits.response_bytes.bytes()) {
        return Err(Refusal::ResponseTooLarge(spec.name.clone()));
    }
    if grpc {
        response_headers.remove(CONTENT_LENGTH);
    }
    let cut = open.cut().clone();
    let for_trailers = Arc::clone(&route);
    let (records, who) = (gate.records.clone(), who.clone());
    let body = credential.scan(body, &head.headers, grpc, &verdict);
    let guarded = Guarded::new(body, &cut)
        .at_most(
            spec.limits.response_bytes.bytes(),
            Refusal::ResponseTooLarge(spec.name.clone()),
        )
        .until(Some(deadline))
        .trailers(move |trailers| {
            let trailers = answer_headers(&trailers, &for_trailers.spec.forward, grpc);
            credential.taken_from(trailers)
        })
        .answers(dialect, open)
        // What is sent behind the head of the answer may still be refused, a message in the middle of a stream.
        .follows(&verdict, move |refusal| {
            if !refusal.is_an_end() {
                records.refused_meanwhile(&who, refusal);
            }
        });
    let mut response = Response::new(boxed(guarded));
    *response.status_mut() = head.status;
    *response.headers_mut() = response_headers;
    Ok(response)
}

fn declared_length(headers: &http::HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}
