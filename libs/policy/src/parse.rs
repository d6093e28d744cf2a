//! From the text of a policy to a policy, or to everything that is wrong with it.

mod body;
mod credential;
mod cross;
mod parts;

use std::collections::BTreeMap;
use std::path::Path;

use sandgate_types::{Malformed, PolicyRevision, RouteName, Violations};
use serde_yaml_ng::Value;

use crate::document::Section;
use crate::fields;
use crate::place::with_lines;
use crate::route::{Matching, RouteSpec};

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
        cross::check(path, spec, violations);
    }
    section.close(UNBUILT_ROUTE, violations);
    spec
}

#[cfg(test)]
mod tests;
