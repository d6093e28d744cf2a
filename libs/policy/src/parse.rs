//! From the text of a policy to a policy, or to everything that is wrong with it.

mod body;
mod credential;
mod parts;

use std::collections::BTreeMap;
use std::path::Path;

use sandgate_egress::Scheme;
use sandgate_types::{Malformed, PolicyRevision, RouteName, Violations};
use serde_yaml_ng::Value;

use crate::body::Body;
use crate::credential::Credential;
use crate::document::Section;
use crate::fields;
use crate::place::with_lines;
use crate::route::{Lower, Matching, RouteSpec};

/// What the tables of a gate are sized for.
const ROUTES_MAX: usize = 10_000;

/// Keys of a whole policy that are planned.
const UNBUILT_TOP: &[&str] = &["budgets", "rates", "classes", "schemas"];
/// Keys of a route that are planned.
const UNBUILT_ROUTE: &[&str] = &[
    "host",
    "schema",
    "request_schema",
    "response_schema",
    "audit",
    "audit_level",
    "budget",
    "budgets",
    "rate_class",
    "stream",
    "preset",
];

/// What a policy is read against.
#[derive(Debug, Clone, Copy)]
struct PolicyContext<'a> {
    /// Relative paths of credentials start here: the folder of the policy.
    folder: &'a Path,
    /// Whether there are roots by which an upstream's certificate could be verified.
    has_roots: bool,
}

/// Reads and validates a policy.
///
/// # Errors
/// Everything that is wrong with it, each by its path in the document, and by its line.
pub fn parse(text: &str, folder: &Path, has_roots: bool) -> Result<Vec<RouteSpec>, Violations> {
    read(text, folder, has_roots).map_err(|violations| with_lines(&violations, text))
}

fn read(text: &str, folder: &Path, has_roots: bool) -> Result<Vec<RouteSpec>, Violations> {
    let context = PolicyContext { folder, has_roots };
    let mut violations = Violations::new();
    let value: Value = serde_yaml_ng::from_str(text).map_err(|error| {
        // The position helps; the parser's own words may repeat the text.
        let place = error.location().map_or_else(String::new, |location| {
            format!(" (line {}, column {})", location.line(), location.column())
        });
        Violations::from(Malformed::new(
            "policy",
            format!("must be YAML without repeated keys{place}"),
        ))
    })?;
    let Some(mut document) = Section::open("", value, &mut violations) else {
        let rule = "must be a mapping with version and routes";
        return Err(Malformed::new("policy", rule).into());
    };
    // Sessions carry the revision of these rules: a gate serves those whose rules it knows.
    let version = document.take("version").and_then(|value| value.as_i64());
    if version != Some(PolicyRevision::CURRENT.get()) {
        violations.push(Malformed::new("version", "must be 1"));
    }
    let listed = document.list("routes", &mut violations).unwrap_or_else(|| {
        violations.push(Malformed::new("routes", "must be given, and may be []"));
        Vec::new()
    });
    document.close(UNBUILT_TOP, &mut violations);
    if listed.len() > ROUTES_MAX {
        let rule = format!("must have at most {ROUTES_MAX} routes");
        return Err(Malformed::new("routes", rule).into());
    }
    let mut routes = Vec::with_capacity(listed.len());
    let mut names = BTreeMap::new();
    let mut methods = BTreeMap::new();
    for (path, value) in listed {
        let Some(route) = route(&path, value, context, &mut violations) else {
            continue;
        };
        if let Some(first) = names.insert(route.name.clone(), path.clone()) {
            let rule = format!("must be another than that of {first}");
            violations.push(Malformed::new(format!("{path}.name"), rule));
        }
        if let Matching::Grpc { methods: own } = &route.matching {
            for method in own {
                if let Some(first) = methods.insert(method.clone(), path.clone()) {
                    let rule = format!("must not have a method that {first} has");
                    violations.push(Malformed::new(format!("{path}.grpc.methods"), rule));
                }
            }
        }
        routes.push(route);
    }
    violations.or(routes)
}

fn route(
    path: &str,
    value: Value,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<RouteSpec> {
    let mut section = Section::open(path, value, violations)?;
    let name = section.required("name", violations);
    let name =
        name.and_then(|name| violations.check(RouteName::parse(&section.path("name"), &name)));
    let matching = parts::matching(&mut section, context, violations);
    let operation = section.required("operation", violations);
    let operation = operation.and_then(|operation| {
        violations.check(fields::operation(&section.path("operation"), &operation))
    });
    let tenants = parts::tenants(&mut section, violations);
    let upstream = parts::upstream(&mut section, context, violations);
    let (identity, places) = parts::identity(&mut section, violations);
    let forward = parts::forward(&mut section, violations);
    let credential = credential::credential(&mut section, context, violations);
    let (limits, connect_timeout) = parts::limits(&mut section, violations);
    let rate = parts::rate(&mut section, violations);
    let spec = match (name, matching, operation, upstream) {
        (Some(name), Some((matching, descriptors)), Some(operation), Some(mut upstream)) => {
            upstream.connect_timeout = connect_timeout.unwrap_or(upstream.connect_timeout);
            let body = body::body(&matching, descriptors, places, violations);
            Some(RouteSpec {
                name,
                matching,
                operation,
                tenants,
                upstream,
                identity,
                body,
                forward,
                credential,
                limits,
                rate,
            })
        }
        (_, _, _, _) => None,
    };
    if let Some(spec) = &spec {
        cross_check(path, spec, violations);
    }
    section.close(UNBUILT_ROUTE, violations);
    spec
}

/// Rules that no field breaks alone.
fn cross_check(path: &str, spec: &RouteSpec, violations: &mut Violations) {
    let at = |key: &str| format!("{path}.{key}");
    let written = spec.identity.iter().map(|(name, _)| name);
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
    if let Some(credential) = &spec.credential {
        if spec
            .identity
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
    cross_check_websocket(spec, &at, violations);
    if matches!(spec.matching, Matching::Grpc { .. }) {
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

/// Rules of routes with WebSockets, and of headers that belong to those alone.
fn cross_check_websocket(
    spec: &RouteSpec,
    at: &impl Fn(&str) -> String,
    violations: &mut Violations,
) {
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

#[cfg(test)]
mod tests;
