//! What changes between two policies, and whether sandboxes may do more or less for it.

use std::collections::{BTreeMap, BTreeSet};

use sandgate_egress::UpstreamSpec;
use sandgate_types::RouteName;

use crate::route::{Matching, RouteSpec};

/// What a change does to what sandboxes may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// They may do more.
    Widens,
    /// They may do less.
    Narrows,
    /// They may do something else, or the same in another way.
    Changes,
}

impl Effect {
    /// As a person reads it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Widens => "widens",
            Self::Narrows => "narrows",
            Self::Changes => "changes",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The route.
    pub route: RouteName,
    /// The part of it that differs, as the policy spells it; none for a route that is new or gone.
    pub part: Option<&'static str>,
    /// What it does.
    pub effect: Effect,
}

/// What changes from `old` to `new`, by route and part.
#[must_use]
pub fn diff(old: &[RouteSpec], new: &[RouteSpec]) -> Vec<Change> {
    let named = |routes: &[RouteSpec]| -> BTreeMap<RouteName, usize> {
        let numbered = routes.iter().enumerate();
        numbered
            .map(|(index, route)| (route.name.clone(), index))
            .collect()
    };
    let (before, after) = (named(old), named(new));
    let names: BTreeSet<&RouteName> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let find = |routes: &BTreeMap<RouteName, usize>| routes.get(name).copied();
        let whole = |effect| Change {
            route: name.clone(),
            part: None,
            effect,
        };
        let old = find(&before).and_then(|index| old.get(index));
        let new = find(&after).and_then(|index| new.get(index));
        match (old, new) {
            (Some(old), Some(new)) => {
                let parts = parts(old, new).into_iter();
                changes.extend(parts.map(|(part, effect)| Change {
                    route: name.clone(),
                    part: Some(part),
                    effect,
                }));
            }
            (Some(_), None) => changes.push(whole(Effect::Narrows)),
            (None, Some(_)) => changes.push(whole(Effect::Widens)),
            (None, None) => {}
        }
    }
    changes
}

fn parts(old: &RouteSpec, new: &RouteSpec) -> Vec<(&'static str, Effect)> {
    let RouteSpec {
        name: _,
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
    } = old;
    let mut parts = matched(matching, &new.matching);
    let mut note = |part, effect: Option<Effect>| parts.extend(effect.map(|effect| (part, effect)));
    let other = |differs: bool| differs.then_some(Effect::Changes);
    note("operation", other(*operation != new.operation));
    note(
        "tenants",
        match (tenants, &new.tenants) {
            (None, None) => None,
            (None, Some(_)) => Some(Effect::Narrows),
            (Some(_), None) => Some(Effect::Widens),
            (Some(old), Some(new)) => of_sets(old, new),
        },
    );
    let as_fast = UpstreamSpec {
        connect_timeout: upstream.connect_timeout,
        ..new.upstream.clone()
    };
    note("upstream", other(*upstream != as_fast));
    note(
        "limits.connect_timeout",
        other(upstream.connect_timeout != new.upstream.connect_timeout),
    );
    note("identity", other(*identity != new.identity));
    note("body", other(*body != new.body));
    let (before, after) = (forward, &new.forward);
    note(
        "forward.request_headers",
        of_sets(&before.request_headers, &after.request_headers),
    );
    note(
        "forward.response_headers",
        of_sets(&before.response_headers, &after.response_headers),
    );
    note("forward.query", of_sets(&before.query, &after.query));
    note("credential", other(*credential != new.credential));
    let (before, after) = (limits, &new.limits);
    note(
        "limits.request_bytes",
        of_numbers(&before.request_bytes, &after.request_bytes),
    );
    note(
        "limits.response_bytes",
        of_numbers(&before.response_bytes, &after.response_bytes),
    );
    note(
        "limits.timeout",
        of_numbers(&before.timeout, &after.timeout),
    );
    note(
        "rate",
        match (rate, &new.rate) {
            (None, None) => None,
            (None, Some(_)) => Some(Effect::Narrows),
            (Some(_), None) => Some(Effect::Widens),
            (Some(old), Some(new)) => {
                let (sustained, burst) = (
                    of_numbers(&old.per_second, &new.per_second),
                    of_numbers(&old.burst, &new.burst),
                );
                together(sustained, burst)
            }
        },
    );
    parts
}

fn matched(old: &Matching, new: &Matching) -> Vec<(&'static str, Effect)> {
    match (old, new) {
        (
            Matching::Http {
                path_prefix: old_prefix,
                methods: old_methods,
                websocket: old_websocket,
            },
            Matching::Http {
                path_prefix,
                methods,
                websocket,
            },
        ) => {
            let of = |methods: &[http::Method]| -> BTreeSet<String> {
                methods.iter().map(ToString::to_string).collect()
            };
            let prefix = if old_prefix == path_prefix {
                None
            } else if is_above(path_prefix, old_prefix) {
                Some(Effect::Widens)
            } else if is_above(old_prefix, path_prefix) {
                Some(Effect::Narrows)
            } else {
                Some(Effect::Changes)
            };
            let methods = of_sets(&of(old_methods), &of(methods));
            let prefix = prefix.map(|effect| ("http.path_prefix", effect));
            let methods = methods.map(|effect| ("http.methods", effect));
            let websocket = of_numbers(old_websocket, websocket);
            let websocket = websocket.map(|effect| ("http.websocket", effect));
            prefix.into_iter().chain(methods).chain(websocket).collect()
        }
        (Matching::Grpc { methods: old }, Matching::Grpc { methods: new }) => {
            let effect = of_sets(old, new);
            effect
                .map(|effect| ("grpc.methods", effect))
                .into_iter()
                .collect()
        }
        (Matching::Http { .. }, Matching::Grpc { .. }) => vec![("grpc", Effect::Changes)],
        (Matching::Grpc { .. }, Matching::Http { .. }) => vec![("http", Effect::Changes)],
    }
}

/// Whether all that is below `inner` is below `outer`, by whole segments.
fn is_above(outer: &str, inner: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    let rest = inner.trim_end_matches('/').strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn of_sets<T: Ord>(old: &BTreeSet<T>, new: &BTreeSet<T>) -> Option<Effect> {
    match (old.is_subset(new), new.is_subset(old)) {
        (true, true) => None,
        (true, false) => Some(Effect::Widens),
        (false, true) => Some(Effect::Narrows),
        (false, false) => Some(Effect::Changes),
    }
}

fn of_numbers<T: Ord>(old: &T, new: &T) -> Option<Effect> {
    match new.cmp(old) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(Effect::Widens),
        std::cmp::Ordering::Less => Some(Effect::Narrows),
    }
}

fn together(one: Option<Effect>, other: Option<Effect>) -> Option<Effect> {
    match (one, other) {
        (None, effect) | (effect, None) => effect,
        (Some(one), Some(other)) if one == other => Some(one),
        (Some(_), Some(_)) => Some(Effect::Changes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "
version: 1
routes:
- name: a
  http: { path_prefix: /v1, methods: [GET, POST] }
  operation: o
  tenants: [x, y]
  upstream: { url: 'http://127.0.0.1:1' }
  forward: { query: [q] }
  limits: { request_bytes: 1KiB }
  rate: { per_second: 2, burst: 4 }
- name: b
  grpc: { methods: [p.S/One] }
  operation: o
  upstream: { url: 'http://127.0.0.1:1' }
";

    fn routes(text: &str) -> Vec<RouteSpec> {
        crate::parse(text, std::path::Path::new("."), false)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn changed(from: &str, to: &str) -> Vec<(String, Option<&'static str>, Effect)> {
        assert!(OLD.contains(from), "{from}");
        let changes = diff(&routes(OLD), &routes(&OLD.replace(from, to)));
        let told = changes
            .into_iter()
            .map(|change| (change.route.as_str().to_owned(), change.part, change.effect));
        told.collect()
    }

    #[test]
    fn each_part_says_whether_sandboxes_may_do_more_or_less() {
        use Effect::{Changes, Narrows, Widens};
        for (from, to, part, effect) in [
            ("/v1", "/", "http.path_prefix", Widens),
            ("/v1", "/v1/chat", "http.path_prefix", Narrows),
            ("/v1", "/v10", "http.path_prefix", Changes),
            ("[GET, POST]", "[GET]", "http.methods", Narrows),
            ("[GET, POST]", "[GET, PUT]", "http.methods", Changes),
            (
                "[GET, POST] }",
                "[GET, POST], websocket: true }",
                "http.websocket",
                Widens,
            ),
            ("[x, y]", "[x, y, z]", "tenants", Widens),
            ("  tenants: [x, y]\n", "", "tenants", Widens),
            ("[q]", "[q, r]", "forward.query", Widens),
            ("1KiB", "1MiB", "limits.request_bytes", Widens),
            (
                "1KiB }",
                "1KiB, connect_timeout: 1s }",
                "limits.connect_timeout",
                Changes,
            ),
            ("per_second: 2", "per_second: 1", "rate", Narrows),
            (
                "per_second: 2, burst: 4",
                "per_second: 1, burst: 9",
                "rate",
                Changes,
            ),
            ("  rate: { per_second: 2, burst: 4 }\n", "", "rate", Widens),
        ] {
            let expected = vec![("a".to_owned(), Some(part), effect)];
            assert_eq!(changed(from, to), expected, "{from} -> {to}");
        }
        let more = changed("[p.S/One]", "[p.S/One, p.S/Two]");
        assert_eq!(more, [("b".to_owned(), Some("grpc.methods"), Widens)]);
    }

    #[test]
    fn a_route_that_is_new_or_gone_is_one_change() {
        assert_eq!(diff(&routes(OLD), &routes(OLD)), []);
        let (old, none) = (routes(OLD), routes("version: 1\nroutes: []\n"));
        let all = |changes: Vec<Change>, effect| {
            assert_eq!(changes.len(), 2);
            assert!(
                changes
                    .iter()
                    .all(|change| change.part.is_none() && change.effect == effect)
            );
        };
        all(diff(&none, &old), Effect::Widens);
        all(diff(&old, &none), Effect::Narrows);
    }
}
