//! The parts of a route, each from its own section of the policy.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use sandgate_egress::{Network, Scheme, UpstreamSpec};
use sandgate_types::{Malformed, TenantId, Violations, path};

use super::PolicyContext;
use super::body::{self, Descriptors, Places};
use crate::document::Section;
use crate::fields;
use crate::route::{Claim, Forward, Identity, Limits, Matching, Rate};

/// Keys of what a route matches that are planned.
pub(super) const UNBUILT_MATCHING: &[&str] = &["host", "schema", "services"];
/// Keys of an upstream that are planned.
pub(super) const UNBUILT_UPSTREAM: &[&str] = &["client_certificate", "roots", "urls", "balance"];
/// Keys of a forward list that are planned.
pub(super) const UNBUILT_FORWARD: &[&str] = &[
    "cookies",
    "trailers",
    "request_trailers",
    "response_trailers",
];
/// Keys of limits that are planned.
pub(super) const UNBUILT_LIMITS: &[&str] =
    &["idle_timeout", "message_bytes", "streams", "concurrency"];
/// Keys of a rate that are planned.
pub(super) const UNBUILT_RATE: &[&str] = &["tenant", "user", "class"];

pub(super) fn matching(
    route: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<(Matching, Descriptors)> {
    let http = route.section("http", violations);
    let grpc = route.section("grpc", violations);
    match (http, grpc) {
        (Some(mut http), None) => {
            let prefix = http.text("path_prefix", violations);
            let prefix = prefix.unwrap_or_else(|| "/".to_owned());
            if path::canonical(&prefix).as_deref() != Ok(prefix.as_str()) {
                let rule = "must be a path in normal spelling that begins with /";
                violations.push(Malformed::new(http.path("path_prefix"), rule));
            }
            let mut methods = Vec::new();
            for (path, text) in http.texts("methods", violations) {
                methods.extend(violations.check(fields::method(&path, &text)));
            }
            if methods.is_empty() {
                let rule = "must name at least one method";
                violations.push(Malformed::new(http.path("methods"), rule));
            }
            let websocket = http.flag("websocket", violations);
            if websocket && !methods.contains(&http::Method::GET) {
                let rule = "must be on a route that serves GET, by which a WebSocket is asked for";
                violations.push(Malformed::new(http.path("websocket"), rule));
            }
            http.close(UNBUILT_MATCHING, violations);
            let matching = Matching::Http {
                path_prefix: prefix,
                methods,
                websocket,
            };
            Some((matching, Descriptors::default()))
        }
        (None, Some(mut grpc)) => {
            let mut methods = BTreeSet::new();
            for (path, text) in grpc.texts("methods", violations) {
                methods.extend(violations.check(fields::grpc_method(&path, &text)));
            }
            if methods.is_empty() {
                let rule = "must name at least one method";
                violations.push(Malformed::new(grpc.path("methods"), rule));
            }
            let descriptors = body::descriptors(&mut grpc, context, violations);
            grpc.close(UNBUILT_MATCHING, violations);
            Some((Matching::Grpc { methods }, descriptors))
        }
        (Some(_), Some(_)) | (None, None) => {
            let rule = "must have either http or grpc";
            violations.push(Malformed::new(route.path("http"), rule));
            None
        }
    }
}

pub(super) fn tenants(
    route: &mut Section,
    violations: &mut Violations,
) -> Option<BTreeSet<TenantId>> {
    let mut tenants = BTreeSet::new();
    let listed = route.list("tenants", violations)?;
    if listed.is_empty() {
        let rule = "must name at least one tenant, or be left out for all";
        violations.push(Malformed::new(route.path("tenants"), rule));
    }
    for (path, value) in listed {
        match value.as_str() {
            Some(text) => tenants.extend(violations.check(TenantId::parse(&path, text))),
            None => violations.push(Malformed::new(path, "must be text")),
        }
    }
    Some(tenants)
}

pub(super) fn upstream(
    route: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Option<UpstreamSpec> {
    let Some(mut section) = route.section("upstream", violations) else {
        violations.push(Malformed::new(
            route.path("upstream"),
            "must be given, with a url",
        ));
        return None;
    };
    let url = section.required("url", violations);
    let upstream =
        url.and_then(|url| violations.check(UpstreamSpec::parse(&section.path("url"), &url)));
    let name = section.text("tls_name", violations);
    let mut networks = Vec::new();
    for (path, text) in section.texts("networks", violations) {
        let network = text.parse::<Network>();
        networks
            .extend(violations.check(network.map_err(|error| Malformed::new(path, error.rule()))));
    }
    let mut upstream = upstream;
    if let Some(upstream) = &mut upstream {
        upstream.networks = networks;
        if upstream.scheme == Scheme::Https && !context.has_roots {
            let rule = "must not be https:// while the gate has no roots: set upstream_roots to a file of CA certificates";
            violations.push(Malformed::new(section.path("url"), rule));
        }
        if let Some(name) = name {
            let valid = rustls_pki_types::ServerName::try_from(name.clone()).is_ok();
            if upstream.scheme == Scheme::Http || !valid {
                let rule = "must be the name in the certificate of an https:// upstream";
                violations.push(Malformed::new(section.path("tls_name"), rule));
            }
            upstream.tls_name = name;
        }
    }
    section.close(UNBUILT_UPSTREAM, violations);
    upstream
}

pub(super) fn identity(route: &mut Section, violations: &mut Violations) -> (Identity, Places) {
    let Some(mut section) = route.section("identity", violations) else {
        return (Identity::default(), Places::default());
    };
    let headers = claims_at("headers", fields::header, &mut section, violations);
    let query = claims_at("query", fields::query_name, &mut section, violations);
    let places = body::places(&mut section, violations);
    section.close(&[], violations);
    (Identity { headers, query }, places)
}

/// The claims that `key` of `identity` lists, by their names there.
fn claims_at<N>(
    key: &str,
    read: impl Fn(&str, &str) -> Result<N, Malformed>,
    identity: &mut Section,
    violations: &mut Violations,
) -> Vec<(N, Claim)> {
    let path = identity.path(key);
    let mut claims = Vec::new();
    for (name, claim) in identity.pairs(key, violations) {
        let claim = violations.check(Claim::parse(&format!("{path}.{name}"), &claim));
        let name = violations.check(read(&path, &name));
        claims.extend(name.zip(claim));
    }
    claims
}

pub(super) fn forward(route: &mut Section, violations: &mut Violations) -> Forward {
    let Some(mut section) = route.section("forward", violations) else {
        return Forward::default();
    };
    let request_headers = fields::headers_of(&mut section, "request_headers", violations);
    let response_headers = fields::headers_of(&mut section, "response_headers", violations);
    let mut query = BTreeSet::new();
    for (path, name) in section.texts("query", violations) {
        query.extend(violations.check(fields::query_name(&path, &name)));
    }
    section.close(UNBUILT_FORWARD, violations);
    Forward {
        request_headers,
        response_headers,
        query,
    }
}

/// What bounds requests, and how long a connection for them may take, where the policy says so.
pub(super) fn limits(
    route: &mut Section,
    violations: &mut Violations,
) -> (Limits, Option<Duration>) {
    let mut limits = Limits::default();
    let Some(mut section) = route.section("limits", violations) else {
        return (limits, None);
    };
    for (key, limit) in [
        ("request_bytes", &mut limits.request_bytes),
        ("response_bytes", &mut limits.response_bytes),
    ] {
        if let Some(text) = section.text(key, violations)
            && let Some(bytes) = violations.check(fields::bytes(&section.path(key), &text))
        {
            *limit = bytes;
        }
    }
    if let Some(text) = section.text("timeout", violations)
        && let Some(timeout) = violations.check(fields::timeout(&section.path("timeout"), &text))
    {
        limits.timeout = timeout;
    }
    let field = section.path("connect_timeout");
    let connect = section.text("connect_timeout", violations);
    let connect = connect.and_then(|text| violations.check(fields::connect_timeout(&field, &text)));
    section.close(UNBUILT_LIMITS, violations);
    (limits, connect)
}

pub(super) fn rate(route: &mut Section, violations: &mut Violations) -> Option<Rate> {
    let mut section = route.section("rate", violations)?;
    let per_second = section.number("per_second", violations);
    let burst = section.number("burst", violations);
    if per_second.is_none() {
        let rule = "must be given, as a whole number of at least 1";
        violations.push(Malformed::new(section.path("per_second"), rule));
    }
    section.close(UNBUILT_RATE, violations);
    let per_second = NonZeroU32::new(per_second?)?;
    let burst = burst.and_then(NonZeroU32::new).unwrap_or(per_second);
    Some(Rate { per_second, burst })
}
