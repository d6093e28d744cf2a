//! Rules of a route that no field of it breaks alone.

use sandgate_egress::Scheme;
use sandgate_types::{Malformed, Violations};

use super::credential;
use crate::body::Body;
use crate::credential::Credential;
use crate::route::{Lower, Matching, RouteSpec};

/// Adds what is wrong with a route whose fields are right, each by itself.
pub(super) fn check(path: &str, spec: &RouteSpec, violations: &mut Violations) {
    let at = |key: &str| format!("{path}.{key}");
    let written = spec.identity.headers.iter().map(|(name, _)| name);
    let written: Vec<_> = written
        .chain(spec.credential.iter().filter_map(Credential::header))
        .collect();
    for name in &written {
        if spec.forward.request_headers.contains(name.as_str()) {
            let rule = format!("must not list {name}, which the gate writes itself");
            violations.push(Malformed::new(at("forward.request_headers"), rule));
        }
        if crate::headers::REQUEST_ALWAYS.contains(&name.as_str()) {
            let rule = format!("must not write {name}, which belongs to the request");
            violations.push(Malformed::new(at("identity"), rule));
        }
    }
    for (name, _) in &spec.identity.query {
        let same = |listed: &&String| listed.eq_ignore_ascii_case(name);
        if let Some(listed) = spec.forward.query.iter().find(same) {
            let rule = format!("must not list {listed}, which the gate writes itself");
            violations.push(Malformed::new(at("forward.query"), rule));
        }
    }
    check_credential(spec, &at, violations);
    check_websocket(spec, &at, violations);
    if matches!(spec.matching, Matching::Grpc { .. }) {
        if !spec.identity.query.is_empty() {
            let rule = "must not be on a gRPC route, whose calls have no query";
            violations.push(Malformed::new(at("identity.query"), rule));
        }
        if !spec.forward.query.is_empty() {
            let rule = "must be empty on a gRPC route, whose calls have no query";
            violations.push(Malformed::new(at("forward.query"), rule));
        }
        if !spec.upstream.base_path.is_empty() {
            let rule = "must not have a path on a gRPC route, whose path is the method";
            violations.push(Malformed::new(at("upstream.url"), rule));
        }
    }
}

/// Rules of a credential beside the rest of its route.
fn check_credential(spec: &RouteSpec, at: &impl Fn(&str) -> String, violations: &mut Violations) {
    let Some(credential) = &spec.credential else {
        return;
    };
    if spec
        .identity
        .headers
        .iter()
        .any(|(name, _)| Some(name) == credential.header())
    {
        let rule = "must be another header than those of identity";
        violations.push(Malformed::new(at("credential.header"), rule));
    }
    let callers = |name: &&Lower| credential::is_callers_header(name.as_str());
    if let Some(name) = spec.forward.request_headers.iter().find(callers) {
        let rule = format!(
            "must not list {}, by which callers show keys of their own, beside a credential",
            name.as_str()
        );
        violations.push(Malformed::new(at("forward.request_headers"), rule));
    }
    let identity = &spec.identity.query;
    if let Some(parameter) = credential.query()
        && identity
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(parameter))
    {
        let rule = "must be another parameter than those of identity";
        violations.push(Malformed::new(at("credential.query"), rule));
    }
    let callers = |name: &&String| {
        credential::is_callers_query(name) || credential.query() == Some(name.as_str())
    };
    if let Some(name) = spec.forward.query.iter().find(callers) {
        let rule = format!("must not list {name} beside a credential");
        violations.push(Malformed::new(at("forward.query"), rule));
    }
    if credential.query().is_some() && matches!(spec.matching, Matching::Grpc { .. }) {
        let rule = "must not be a query parameter on a gRPC route, whose calls have no query";
        violations.push(Malformed::new(at("credential.query"), rule));
    }
    if spec.tenants.is_none() {
        let rule = "must name the tenants that may use the route's credential";
        violations.push(Malformed::new(at("tenants"), rule));
    }
    if spec.upstream.scheme == Scheme::Http && !spec.upstream.is_literal_loopback() {
        let rule = "must not go to an http:// upstream, except on a literal loopback address";
        violations.push(Malformed::new(at("credential"), rule));
    }
}

/// Rules of routes with WebSockets, and of headers that belong to those alone.
fn check_websocket(spec: &RouteSpec, at: &impl Fn(&str) -> String, violations: &mut Violations) {
    const PROTOCOL: &str = "sec-websocket-protocol";
    let websocket = matches!(
        spec.matching,
        Matching::Http {
            websocket: true,
            ..
        }
    );
    if websocket && matches!(spec.body, Body::Json(_)) {
        let rule = "must not be on a route with identity.json: what goes over a WebSocket is not taken apart";
        violations.push(Malformed::new(at("http.websocket"), rule));
    }
    if !websocket && spec.forward.request_headers.contains(PROTOCOL) {
        let rule = "must not list sec-websocket-protocol on a route without http.websocket";
        violations.push(Malformed::new(at("forward.request_headers"), rule));
    }
    if spec.forward.response_headers.contains(PROTOCOL) {
        let rule = "must not list sec-websocket-protocol, which answers that of the request";
        violations.push(Malformed::new(at("forward.response_headers"), rule));
    }
}
