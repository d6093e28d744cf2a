//! The sandbox listener: the call side of each instance's link.
//!
//! The link says which instance calls; the token must be of that instance, for the audience of what is asked,
//! unexpired, unrevoked, and the feed must say that the instance may call. All of it on every request, whether
//! the signature was verified before or not.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sandgate_rpc::{Caller, HEADER_LIST_MAX_BYTES, Principal, Role, SessionCaller, Shutdown};
use sandgate_session::lease::Moment;
use sandgate_session::{Audience, Claims, SESSION_TOKEN_METADATA, TokenRefusal, Verified};
use sandgate_types::{InstanceId, RouteName};
use tokio::time::Instant;
use tonic::body::Body;
use tower_service::Service as _;
use tracing::Instrument as _;

use crate::decide::{Allowed, Asked, Verdict, answer_headers, decide};
use crate::error::{self, Dialect};
use crate::forward;
use crate::gate::{Gate, audience_of};
use crate::guard::{self, Guarded, boxed};
use crate::headers;
use crate::links::Taken;
use crate::observe::{self, Listener};
use crate::records::Who;
use crate::refusal::{Clause, Denial, Missing, Refusal};
use crate::streams::{Open, Subject};

/// The most requests of a sandbox on their way; one more waits in the sandbox.
const STREAMS_MAX: u32 = 1_024;
/// What a sandbox may send ahead of being read: on one stream, and together.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The one method that gets the token itself.
const RENEW: &str = "/sandgate.token.v1.TokenService/RenewSession";

/// Serves the call side of a link until it ends, another takes its place, or the gate ends.
pub(crate) async fn serve(taken: Taken, gate: Arc<Gate>, shutdown: Shutdown) {
    let Taken { call, hold } = taken;
    let service = service_fn({
        let (gate, instance) = (Arc::clone(&gate), hold.instance.clone());
        move |request| {
            let (gate, instance) = (Arc::clone(&gate), instance.clone());
            async move { Ok::<_, Infallible>(answer(&gate, &instance, request).await) }
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_LIST_MAX_BYTES)
        .serve_connection(TokioIo::new(call), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = hold.ending.cancelled() => Ok(()),
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a call link ended");
    }
    gate.links.ended(&hold);
}

async fn answer(gate: &Gate, instance: &InstanceId, request: Request<Incoming>) -> Response<Body> {
    let dialect = if headers::is_grpc(request.headers()) {
        Dialect::Grpc
    } else {
        Dialect::Http
    };
    let (head, body) = request.into_parts();
    let mut who = Who {
        action: "unknown".to_owned(),
        principal: instance.as_str().to_owned(),
        request: gate.next_request(),
        ..Who::default()
    };
    let observed = observe::begin(Listener::Sandbox, &head, &who.request);
    let request = Request::from_parts(head, body);
    let served = serve_request(gate, instance, request, dialect, &mut who)
        .instrument(observed.span.clone())
        .await;
    match served {
        Ok(response) => {
            gate.instruments.decided(&observed, &who, None);
            response
        }
        Err(refusal) => {
            let refusal = gate.records.refused(&who, refusal).await;
            gate.instruments.decided(&observed, &who, Some(&refusal));
            let mut refused = error::answer(&refusal, dialect);
            who.name(refused.headers_mut());
            refused
        }
    }
}

async fn serve_request(
    gate: &Gate,
    instance: &InstanceId,
    request: Request<Incoming>,
    dialect: Dialect,
    who: &mut Who,
) -> Result<Response<Body>, Refusal> {
    let now = Moment::now();
    gate.check_lease(now)?;
    gate.check_endpoints(now)?;
    let audience = audience_of(request.uri().path());
    let token = headers::bearer(request.headers()).ok_or(Refusal::TokenMissing)?;
    let verified = verify(gate, token, audience)?;
    let claims = &verified.claims;
    claims
        .check_instance(instance, claims.generation)
        .map_err(Refusal::Token)?;
    who.tenant = claims.tenant.as_str().to_owned();
    who.principal = claims.session.as_str().to_owned();
    who.sandbox = claims.sandbox.as_str().to_owned();
    if !claims.policy_revision.is_known() {
        return Err(Refusal::PolicyRevisionUnknown);
    }
    let claims = Arc::new(claims.clone());
    let subject = Subject::Session {
        claims: Arc::clone(&claims),
        route: None,
    };
    let open = gate.streams.open(&claims.tenant, subject)?;
    check_current(gate, &claims)?;
    match audience {
        Audience::Daemon => daemon(gate, request, &claims, open, who).await,
        Audience::Agent => agent(gate, request, &claims, open, dialect, who).await,
    }
}

/// Verifies a token, or finds that its signature was verified before. Everything else is checked either way.
fn verify(gate: &Gate, token: &str, audience: Audience) -> Result<Arc<Verified>, Refusal> {
    let verifier = gate
        .trust
        .verifier()
        .ok_or(Refusal::NotReady(Missing::Keys))?;
    let now = gate.clock.now();
    let digest = gate.tokens.digest(token);
    if let Some(known) = gate.tokens.get(&digest) {
        let checked = known.check(verifier.keys(), audience, now);
        return checked.map(|()| known).map_err(Refusal::Token);
    }
    match verifier.verify(token, audience, now) {
        Ok(verified) => {
            gate.trust.note_session(&verified.claims);
            let verified = Arc::new(verified);
            gate.tokens.insert(digest, Arc::clone(&verified));
            Ok(verified)
        }
        Err(refusal) => {
            if refusal == TokenRefusal::KeyUnknown {
                gate.trust.want_keys();
            }
            Err(Refusal::Token(refusal))
        }
    }
}

/// What feeds say. Asked after the request was entered, so that whatever changes from here on cuts it.
fn check_current(gate: &Gate, claims: &Claims) -> Result<(), Refusal> {
    let now = Moment::now();
    gate.check_lease(now)?;
    gate.check_endpoints(now)?;
    if gate.trust.is_revoked(claims) {
        return Err(Refusal::Token(TokenRefusal::Revoked));
    }
    if gate.is_current(claims) {
        return Ok(());
    }
    let endpoint = gate.endpoints.get(&claims.instance);
    let serving = endpoint.as_ref().and_then(|endpoint| endpoint.serving());
    if serving.is_some_and(|serving| serving.generation != claims.generation) {
        return Err(Refusal::Token(TokenRefusal::GenerationStale));
    }
    Err(Refusal::InstanceNotLive)
}

async fn daemon(
    gate: &Gate,
    request: Request<Incoming>,
    claims: &Claims,
    open: Open,
    who: &mut Who,
) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path().to_owned();
    who.action = path.trim_start_matches('/').to_owned();
    gate.daemon_rate
        .take(&claims.sandbox)
        .map_err(|wait| Refusal::RateLimited { route: None, wait })?;
    if !headers::is_grpc(request.headers()) {
        return Err(Refusal::NotGrpc);
    }
    let service = gate.services.of(&path).ok_or(Refusal::MethodUnknown)?;
    gate.records.allowed(who)?;
    let token = (path == RENEW)
        .then(|| headers::bearer(request.headers()))
        .flatten()
        .and_then(|token| HeaderValue::from_str(token).ok());
    let mut call = forward::call_of(request, &caller_of(claims).to_bytes(), &who.request, &open);
    if let Some(mut token) = token {
        token.set_sensitive(true);
        let name = HeaderName::from_static(SESSION_TOKEN_METADATA);
        call.headers_mut().insert(name, token);
    }
    let answer = service.clone().call(call);
    forward::answer_of(answer, forward::head_limit(&path), open).await
}

/// The daemon, as services are told.
fn caller_of(claims: &Claims) -> Caller {
    Caller {
        tenant: Some(claims.tenant.clone()),
        user: Some(claims.user.clone()),
        may_name_users: false,
        roles: vec![Role::Daemon],
        principal: Principal::Session(SessionCaller {
            session: claims.session.clone(),
            sandbox: claims.sandbox.clone(),
            instance: claims.instance.clone(),
            generation: claims.generation,
            conversation: claims.conversation.clone(),
            token: claims.token.clone(),
        }),
    }
}

async fn agent(
    gate: &Gate,
    request: Request<Incoming>,
    claims: &Claims,
    open: Open,
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
    allowed: Allowed,
    open: Open,
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
        .tells(&verdict);
    let span = observe::asking(&spec.name, &head.method);
    sandgate_telemetry::propagation::inject(&span, &mut crossing);
    let mut outgoing = Request::new(boxed(body));
    *outgoing.method_mut() = head.method;
    *outgoing.headers_mut() = crossing;
    let sent = tokio::select! {
        reason = open.cut().happened() => return Err(Refusal::Cut(reason)),
        () = tokio::time::sleep_until(deadline) => return Err(Refusal::DeadlineExceeded),
        sent = route.upstream.send(outgoing, &target).instrument(span.clone()) => sent,
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
        .answers(dialect, Arc::new(open));
    let mut response = Response::new(boxed(guarded));
    *response.status_mut() = head.status;
    *response.headers_mut() = response_headers;
    Ok(response)
}

fn declared_length(headers: &http::HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}
