//! What agents call: routes of the policy, and their upstreams.

use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use sandgate_policy::{Asked, Verdict, decide};
use sandgate_rpc::{Shutdown, WEBSOCKET};
use sandgate_session::Claims;
use sandgate_types::RouteName;
use tonic::body::Body;

use crate::error::Dialect;
use crate::gate::Gate;
use crate::records::Who;
use crate::refusal::{Clause, Denial, Refusal};
use crate::sandbox::proxy::{Asking, to_upstream};
use crate::sandbox::websocket;
use crate::streams::Open;

/// Decides by the policy, and passes on what it allows; what lives longer than its answer ends with `ending`.
pub(super) async fn serve(
    gate: &Arc<Gate>,
    request: Request<Incoming>,
    claims: &Arc<Claims>,
    open: Arc<Open>,
    dialect: Dialect,
    who: &mut Who,
    ending: &Shutdown,
) -> Result<Response<Body>, Refusal> {
    gate.agent_rate
        .take(&claims.sandbox)
        .map_err(|wait| Refusal::RateLimited { route: None, wait })?;
    let policy = gate.policies.current();
    let websocket = asks_for_websocket(&request);
    let method = if websocket {
        Method::GET
    } else {
        request.method().clone()
    };
    let asked = Asked {
        method: &method,
        uri: request.uri(),
        headers: request.headers(),
        websocket,
    };
    let allowed = match decide(&policy, asked, claims) {
        Verdict::Allow(allowed) => *allowed,
        Verdict::Refuse(denial) => {
            who.action = action_of(&request, denial.route.as_ref());
            return Err(Refusal::Denied(denial));
        }
    };
    let route = Arc::clone(&allowed.route);
    who.action = action_of(&request, Some(&route.spec.name));
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
    let asking = Asking {
        gate,
        who,
        claims,
        open,
        dialect,
    };
    if websocket {
        return websocket::to_upstream(request, allowed, asking, ending).await;
    }
    to_upstream(request, allowed, asking).await
}

/// Whether a request is an extended CONNECT for a WebSocket (RFC 8441), as the keeper asks for what its listener was
/// asked for over HTTP/1.1.
fn asks_for_websocket(request: &Request<Incoming>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    *request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == WEBSOCKET)
}

/// What the audit log says of a request to a route; the path may hold anything and is not repeated.
fn action_of(request: &Request<Incoming>, route: Option<&RouteName>) -> String {
    match route {
        Some(route) if asks_for_websocket(request) => format!("{route} WEBSOCKET"),
        Some(route) => format!("{route} {}", request.method()),
        None => "unknown".to_owned(),
    }
}
