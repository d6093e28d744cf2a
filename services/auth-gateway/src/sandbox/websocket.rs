//! A WebSocket of the agent's on its way to the upstream of its route.
//!
//! The upstream is asked by a handshake of ours over HTTP/1.1, and the sandbox hears of it only when its answer is
//! right. From then on the bytes go on as they are, under the limits of the route.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sandgate_policy::{Allowed, answer_headers};
use sandgate_rpc::{Shutdown, WebSocketKey, is_offered};
use tokio::time::Instant;
use tonic::body::Body;
use tracing::Instrument as _;

use crate::gate::Gate;
use crate::observe;
use crate::policy::Route;
use crate::records::Who;
use crate::refusal::{Failure, Refusal};
use crate::sandbox::credential::Carries;
use crate::sandbox::proxy::Asking;
use crate::streams::Open;
use crate::tunnel::{self, Carried, Most};
use crate::workers;

/// Asks the upstream for a WebSocket, and answers whether it took it; what goes over it then is carried until it ends,
/// or `ending` begins. It is on record as allowed before the upstream hears of it.
pub(super) async fn to_upstream(
    mut request: Request<Incoming>,
    mut allowed: Allowed<Route>,
    asking: Asking<'_>,
    ending: &Shutdown,
) -> Result<Response<Body>, Refusal> {
    let Asking {
        gate,
        who,
        claims,
        open,
        dialect: _,
    } = asking;
    let route = Arc::clone(&allowed.route);
    let deadline = Instant::now() + route.spec.limits.timeout;
    let credential = Carries::by(&route, &Method::GET, deadline, &open).await?;
    credential.write(&mut allowed.headers, &mut allowed.target);
    gate.records.allowed(who)?;
    gate.activity
        .note(&claims.instance, &claims.sandbox, gate.clock.now());
    let offered = allowed.headers.get(header::SEC_WEBSOCKET_PROTOCOL).cloned();
    let key = WebSocketKey::random(&mut rand::rng());
    let sent = tokio::select! {
        reason = open.cut().happened() => return Err(Refusal::Cut(reason)),
        () = tokio::time::sleep_until(deadline) => return Err(Refusal::DeadlineExceeded),
        sent = ask(allowed, &key) => sent,
    };
    let refuse = |failure| Refusal::Upstream {
        route: route.spec.name.clone(),
        failure,
    };
    let mut answer = sent.map_err(refuse)?;
    credential.answered(answer.status());
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let response = not_taken(&answer, &route).ok_or_else(|| refuse(Failure::NotSwitched))?;
        credential.check(response.headers())?;
        return Ok(response);
    }
    if !key.is_taken(answer.headers()) || !is_offered(offered.as_ref(), answer.headers()) {
        return Err(refuse(Failure::Switched));
    }
    let taken = taken(answer.headers(), &route);
    credential.check(taken.headers())?;
    let (near, far) = (
        hyper::upgrade::on(&mut request),
        hyper::upgrade::on(&mut answer),
    );
    let limits = route.spec.limits;
    let socket = Socket {
        gate: Arc::clone(gate),
        who: who.clone(),
        open,
        up: Most {
            bytes: limits.request_bytes.bytes(),
            refusal: Refusal::RequestTooLarge(route.spec.name.clone()),
        },
        down: Most {
            bytes: limits.response_bytes.bytes(),
            refusal: Refusal::ResponseTooLarge(route.spec.name.clone()),
        },
        deadline,
    };
    let over = ending.clone();
    ending.spawn("websocket", async move {
        // The near end is there once the answer was sent; without either there is nothing to carry.
        match tokio::try_join!(near, far) {
            Ok((near, far)) => socket.carry(near, far, over).await,
            Err(error) => tracing::debug!(%error, "a WebSocket ended before it began"),
        }
    });
    Ok(taken)
}

async fn ask(allowed: Allowed<Route>, key: &WebSocketKey) -> Result<Response<Incoming>, Failure> {
    let Allowed {
        route,
        target,
        headers: mut crossing,
        grpc: _,
    } = allowed;
    let span = observe::asking(&route.spec.name, &Method::GET);
    // As for every request: where in a trace it is asked is ours to say.
    if !span.is_disabled() {
        sandgate_telemetry::propagation::inject(&span, &mut crossing);
        crossing.remove("tracestate");
    }
    key.ask(&mut crossing);
    let mut outgoing = Request::new(Body::empty());
    *outgoing.headers_mut() = crossing;
    let sent = route.upstream.switch(workers::number(), outgoing, &target);
    let sent = sent.instrument(span.clone()).await;
    observe::asked(&span, sent.as_ref().map(Response::status).ok());
    sent
}

/// What the keeper reads for a WebSocket that was taken; toward the agent it writes the rest of the handshake.
fn taken(answer: &HeaderMap, route: &Route) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = crossing(answer, route);
    if let Some(chosen) = answer.get(header::SEC_WEBSOCKET_PROTOCOL) {
        let headers = response.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::clone(chosen));
    }
    response
}

/// What the agent reads where the upstream says why it takes none: status and headers, no body. `None` where it says
/// that all is well, which would be taken for a WebSocket.
fn not_taken(answer: &Response<Incoming>, route: &Route) -> Option<Response<Body>> {
    let status = answer.status();
    if !(status.is_redirection() || status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = crossing(answer.headers(), route);
    Some(response)
}

fn crossing(answer: &HeaderMap, route: &Route) -> HeaderMap {
    let mut headers = answer_headers(answer, &route.spec.forward, false);
    for of_a_body in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
    ] {
        headers.remove(of_a_body);
    }
    headers
}

/// A WebSocket that was taken.
struct Socket {
    gate: Arc<Gate>,
    who: Who,
    open: Arc<Open>,
    up: Most,
    down: Most,
    deadline: Instant,
}

impl Socket {
    async fn carry(
        self,
        near: hyper::upgrade::Upgraded,
        far: hyper::upgrade::Upgraded,
        ending: Shutdown,
    ) {
        let (near, far) = (TokioIo::new(near), TokioIo::new(far));
        let cut = self.open.cut();
        let most = (self.up, self.down);
        let carrying = tunnel::carry(near, far, most, self.deadline, cut);
        let carried = tunnel::or_ending(ending.cancelled(), cut, carrying).await;
        let Carried { up, down, refusal } = carried;
        self.gate.instruments.carried(up, down);
        if let Some(refusal) = refusal {
            tracing::debug!(reason = refusal.reason(), "a WebSocket was ended");
            self.gate.records.refused_meanwhile(&self.who, &refusal);
        }
    }
}
