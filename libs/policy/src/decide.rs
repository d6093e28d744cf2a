//! What the policy says to one request of one session. Pure: the same request, claims and policy give the
//! same verdict, and nothing is looked up on the way.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Uri};
use sandgate_rpc::is_websocket_version;
use sandgate_session::Claims;
use sandgate_types::RouteName;
use sandgate_types::path::{self, Unlisted};

use crate::body::Body;
use crate::clause::{Clause, Denial};
use crate::credential::CredentialSource;
use crate::fields::SERVED;
use crate::headers;
use crate::query;
use crate::route::{Forward, Matching, RouteSpec};
use crate::table::Policy;

/// What HTTP routes begin with.
const ROUTES: &str = "/r/";

/// The head of a request, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Whether it asks for a WebSocket, with GET for its method.
    pub websocket: bool,
}

/// What the policy says.
#[derive(Debug)]
pub enum Verdict<R> {
    /// Forward this.
    Allow(Box<Allowed<R>>),
    /// Refuse, for this.
    Refuse(Denial),
}

/// What is forwarded in the place of the request.
#[derive(Debug)]
pub struct Allowed<R> {
    /// The route.
    pub route: Arc<R>,
    /// Path and query toward the upstream.
    pub target: String,
    /// All headers toward the upstream; nothing else crosses.
    pub headers: HeaderMap,
    /// Whether it is a gRPC call.
    pub grpc: bool,
}

/// Decides.
pub fn decide<R: AsRef<RouteSpec>>(
    policy: &Policy<R>,
    asked: Asked<'_>,
    claims: &Claims,
) -> Verdict<R> {
    match allow(policy, asked, claims) {
        Ok(allowed) => Verdict::Allow(Box::new(allowed)),
        Err(denial) => Verdict::Refuse(denial),
    }
}

fn allow<R: AsRef<RouteSpec>>(
    policy: &Policy<R>,
    asked: Asked<'_>,
    claims: &Claims,
) -> Result<Allowed<R>, Denial> {
    let refuse = |clause| Denial {
        route: None,
        clause,
    };
    if !SERVED.contains(asked.method) {
        return Err(refuse(Clause::Protocol));
    }
    if asked.headers.contains_key(header::UPGRADE) || asked.headers.contains_key("http2-settings") {
        return Err(refuse(Clause::Upgrade));
    }
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::TE,
        header::SEC_WEBSOCKET_PROTOCOL,
    ] {
        if headers::only(asked.headers, name).is_err() {
            return Err(refuse(Clause::HeaderTwice));
        }
    }
    if headers::is_grpc_web(asked.headers) {
        return Err(refuse(Clause::GrpcWeb));
    }
    let path = path::canonical(asked.uri.path()).map_err(|odd| refuse(Clause::Path(odd)))?;
    let usable = |route: &&Arc<R>| {
        let spec = spec_of(*route);
        spec.is_open_to(&claims.tenant) && claims.may(&spec.operation)
    };
    if let Some(rest) = path.strip_prefix(ROUTES) {
        let (name, rest) = rest
            .split_once('/')
            .map_or((rest, ""), |(name, rest)| (name, rest));
        let route = RouteName::parse("route", name).ok();
        let route = route.and_then(|name| policy.route(&name)).filter(usable);
        let route = route.ok_or_else(|| refuse(Clause::Route))?;
        http(route, asked, claims, &format!("/{rest}"))
    } else {
        let route = policy.method(&path).filter(usable);
        let route = route.ok_or_else(|| refuse(Clause::Route))?;
        grpc(route, asked, claims, path)
    }
}

fn http<R: AsRef<RouteSpec>>(
    route: &Arc<R>,
    asked: Asked<'_>,
    claims: &Claims,
    rest: &str,
) -> Result<Allowed<R>, Denial> {
    let spec = spec_of(route);
    let refuse = |clause| Denial {
        route: Some(spec.name.clone()),
        clause,
    };
    let Matching::Http {
        path_prefix,
        methods,
        websocket,
    } = &spec.matching
    else {
        // gRPC routes are reached by their methods, and have no name here.
        return Err(Denial {
            route: None,
            clause: Clause::Route,
        });
    };
    if headers::is_grpc(asked.headers) {
        return Err(refuse(Clause::GrpcOnHttp));
    }
    if !methods.contains(asked.method) {
        return Err(refuse(Clause::Methods));
    }
    if !is_beneath(path_prefix, rest) {
        return Err(refuse(Clause::PathPrefix));
    }
    if asked.websocket {
        if !websocket {
            return Err(refuse(Clause::WebSocket));
        }
        if !is_websocket_version(asked.headers)
            || asked.headers.contains_key(header::CONTENT_LENGTH)
        {
            return Err(refuse(Clause::Handshake));
        }
    }
    let mut target = format!("{}{rest}", spec.upstream.base_path);
    if let Some(query) = asked.uri.query().filter(|query| !query.is_empty()) {
        let query = path::canonical_query(query, &spec.forward.query);
        let query = query.map_err(|unlisted| match unlisted {
            Unlisted::Odd(odd) => refuse(Clause::Query(odd)),
            Unlisted::Parameter => refuse(Clause::QueryUnlisted),
        })?;
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
    }
    let declared = asked.headers.get(header::CONTENT_LENGTH);
    let declared = declared.map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    match declared {
        None => {}
        Some(Some(bytes)) => {
            let bytes: u64 = bytes;
            if bytes > spec.limits.request_bytes.bytes() {
                return Err(refuse(Clause::RequestBytes));
            }
        }
        // A length that is no number is read by nobody twice in the same way.
        Some(None) => return Err(refuse(Clause::HeaderTwice)),
    }
    let mut crossing = headers::http_request(asked.headers, &spec.forward);
    if asked.websocket {
        // A handshake has no body, whatever its headers say of one.
        crossing.remove(header::CONTENT_TYPE);
        crossing.remove(header::CONTENT_ENCODING);
    }
    if let Body::Json(_) = &spec.body {
        if !headers::is_plain_json(asked.headers) {
            return Err(refuse(Clause::BodyType));
        }
        // What goes on is written anew.
        crossing.remove(header::CONTENT_LENGTH);
        crossing.remove(header::CONTENT_ENCODING);
        if crossing.contains_key(header::CONTENT_TYPE) {
            let json = HeaderValue::from_static("application/json");
            crossing.insert(header::CONTENT_TYPE, json);
        }
    }
    let headers = written(crossing, &mut target, spec, asked.method, claims);
    Ok(Allowed {
        route: Arc::clone(route),
        target,
        headers,
        grpc: false,
    })
}

fn grpc<R: AsRef<RouteSpec>>(
    route: &Arc<R>,
    asked: Asked<'_>,
    claims: &Claims,
    path: String,
) -> Result<Allowed<R>, Denial> {
    let spec = spec_of(route);
    let refuse = |clause| Denial {
        route: Some(spec.name.clone()),
        clause,
    };
    if !headers::is_grpc(asked.headers) || *asked.method != Method::POST || asked.websocket {
        return Err(refuse(Clause::HttpOnGrpc));
    }
    if asked.uri.query().is_some() {
        return Err(refuse(Clause::QueryUnlisted));
    }
    let mut crossing = headers::grpc_request(asked.headers, &spec.forward);
    crossing.insert(header::TE, HeaderValue::from_static("trailers"));
    let mut target = path;
    let headers = written(crossing, &mut target, spec, asked.method, claims);
    Ok(Allowed {
        route: Arc::clone(route),
        target,
        headers,
        grpc: true,
    })
}

fn spec_of<R: AsRef<RouteSpec>>(route: &Arc<R>) -> &RouteSpec {
    R::as_ref(route)
}

/// Whether `rest` is at or below `prefix`, by whole segments.
fn is_beneath(prefix: &str, rest: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    rest.strip_prefix(prefix)
        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Writes identity, and the credential that the policy knows, over whatever crossed.
fn written(
    mut crossing: HeaderMap,
    target: &mut String,
    spec: &RouteSpec,
    method: &Method,
    claims: &Claims,
) -> HeaderMap {
    for (name, claim) in &spec.identity.headers {
        crossing.remove(name);
        // Ids and names are of an alphabet that headers take.
        if let Ok(value) = HeaderValue::from_str(claim.of(claims)) {
            crossing.insert(name.clone(), value);
        }
    }
    for (name, claim) in &spec.identity.query {
        query::append(target, name, claim.of(claims));
    }
    if let Some(credential) = &spec.credential {
        if let Some(name) = credential.header() {
            crossing.remove(name);
        }
        if let CredentialSource::Known(value) = &credential.source
            && takes_credential(method)
        {
            value.write(&mut crossing, target);
        }
    }
    crossing
}

/// Whether requests by a method carry a credential: not where an upstream only says what it serves, since servers and
/// caches in between answer that without asking who wants to know.
pub fn takes_credential(method: &Method) -> bool {
    *method != Method::OPTIONS
}

/// What of an answer crosses back.
pub fn answer_headers(answer: &HeaderMap, forward: &Forward, grpc: bool) -> HeaderMap {
    if grpc {
        headers::grpc_response(answer, forward)
    } else {
        headers::http_response(answer, forward)
    }
}

#[cfg(test)]
mod tests;
