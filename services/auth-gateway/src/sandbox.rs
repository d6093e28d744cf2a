//! The sandbox listener: the call side of each instance's link.
//!
//! The link says which instance calls; the token must be of that instance, for the audience of what is asked,
//! unexpired, unrevoked, and the feed must say that the instance may call. All of it on every request, whether
//! the signature was verified before or not.

mod agent;
mod credential;
mod proxy;
mod websocket;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sandgate_policy::is_grpc;
use sandgate_rpc::{Caller, HEADER_LIST_MAX_BYTES, Principal, Role, SessionCaller, Shutdown};
use sandgate_session::lease::Moment;
use sandgate_session::{Audience, Claims, SESSION_TOKEN_METADATA, TokenRefusal, Verified};
use sandgate_types::InstanceId;
use tonic::body::Body;
use tower_service::Service as _;
use tracing::Instrument as _;

use crate::error::{self, Dialect};
use crate::forward;
use crate::gate::{Gate, audience_of};
use crate::headers;
use crate::links::Taken;
use crate::observe::{self, Listener};
use crate::records::Who;
use crate::refusal::{Missing, Refusal};
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
        let ending = hold.ending.clone();
        move |request| {
            let (gate, instance) = (Arc::clone(&gate), instance.clone());
            let ending = ending.clone();
            // Boxed: it is a few thousand bytes, which would move with each step of the stream that awaits it.
            let answered =
                Box::pin(async move { answer(&gate, &instance, request, &ending).await });
            async move { Ok::<_, Infallible>(answered.await) }
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_LIST_MAX_BYTES)
        .enable_connect_protocol()
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

async fn answer(
    gate: &Arc<Gate>,
    instance: &InstanceId,
    request: Request<Incoming>,
    ending: &Shutdown,
) -> Response<Body> {
    let dialect = if is_grpc(request.headers()) {
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
    let served = serve_request(gate, instance, request, dialect, &mut who, ending)
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
    gate: &Arc<Gate>,
    instance: &InstanceId,
    request: Request<Incoming>,
    dialect: Dialect,
    who: &mut Who,
    ending: &Shutdown,
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
    let claims = Arc::clone(claims);
    let subject = Subject::Session {
        claims: Arc::clone(&claims),
        route: None,
    };
    let open = Arc::new(gate.streams.open(&claims.tenant, subject)?);
    check_current(gate, &claims)?;
    match audience {
        Audience::Daemon => daemon(gate, request, &claims, open, who).await,
        Audience::Agent => agent::serve(gate, request, &claims, open, dialect, who, ending).await,
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
    open: Arc<Open>,
    who: &mut Who,
) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path().to_owned();
    who.action = path.trim_start_matches('/').to_owned();
    gate.daemon_rate
        .take(&claims.sandbox)
        .map_err(|wait| Refusal::RateLimited { route: None, wait })?;
    if !is_grpc(request.headers()) || *request.method() != Method::POST {
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
