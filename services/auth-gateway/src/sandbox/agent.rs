//! What agents call: routes of the policy, and their upstreams.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use sandgate_policy::{Asked, Verdict, decide};
use sandgate_session::Claims;
use sandgate_types::RouteName;
use tonic::body::Body;

use crate::error::Dialect;
use crate::gate::Gate;
use crate::records::Who;
use crate::refusal::{Clause, Denial, Refusal};
use crate::sandbox::proxy::{Asking, to_upstream};
use crate::streams::Open;

/// Decides by the policy, and passes on what it allows.
pub(super) async fn serve(
    gate: &Gate,
    request: Request<Incoming>,
    claims: &Arc<Claims>,
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
    let asking = Asking {
        gate,
        who,
        claims,
        open,
        dialect,
    };
    to_upstream(request, allowed, asking).await
}

/// What the audit log says of a request to a route; the path may hold anything and is not repeated.
fn action_of(method: &http::Method, route: Option<&RouteName>) -> String {
    match route {
        Some(route) => format!("{route} {method}"),
        None => "unknown".to_owned(),
    }
}
