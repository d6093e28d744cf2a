//! The parts of a route that speak of bodies: `identity.json`, `identity.protobuf`, and by which descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Arc;

use sandgate_message::json::Pointer;
use sandgate_message::protobuf::{Place, Rewriter, SCHEMA_MAX_BYTES, Schema, Unknown};
use sandgate_types::{Malformed, Violations};

use super::PolicyContext;
use crate::body::{Body, JsonBody, Messages};
use crate::document::Section;
use crate::route::{Claim, Matching};

/// Places of one route; a body has a handful.
const PLACES_MAX: usize = 64;

/// What a route says of its messages, where it matches them.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// Its path in the policy.
    path: String,
    source: Option<Vec<u8>>,
    unknown: Option<Unknown>,
}

/// Where claims go in bodies, as the policy spells it.
#[derive(Debug, Default)]
pub(super) struct Places {
    json: Option<Vec<(String, String, Claim)>>,
    protobuf: Option<Vec<(String, String, Claim)>>,
}

/// Takes `descriptor_set` and `unknown_fields` out of `grpc`.
pub(super) fn descriptors(
    grpc: &mut Section,
    context: PolicyContext<'_>,
    violations: &mut Violations,
) -> Descriptors {
    let path = grpc.path("descriptor_set");
    let file = grpc.text("descriptor_set", violations);
    let source = file.and_then(|file| {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(context.folder.join(file)).and_then(|file| {
            let most = u64::try_from(SCHEMA_MAX_BYTES).unwrap_or(u64::MAX);
            file.take(most.saturating_add(1)).read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            let rule = format!("must name a file that can be read: {error}");
            violations.push(Malformed::new(&path, rule));
            return None;
        }
        Some(bytes)
    });
    let unknown = grpc.text("unknown_fields", violations);
    let unknown = unknown.and_then(|text| match text.as_str() {
        "drop" => Some(Unknown::Drop),
        "refuse" => Some(Unknown::Refuse),
        _ => {
            let rule = "must be drop or refuse";
            violations.push(Malformed::new(grpc.path("unknown_fields"), rule));
            None
        }
    });
    if unknown.is_some() && source.is_none() {
        let rule = "must be given beside a descriptor_set only, by which fields are known";
        violations.push(Malformed::new(grpc.path("unknown_fields"), rule));
    }
    Descriptors {
        path,
        source,
        unknown,
    }
}

/// Takes `json` and `protobuf` out of `identity`.
pub(super) fn places(identity: &mut Section, violations: &mut Violations) -> Places {
    let mut listed = |key: &str| {
        let pairs = identity.pairs(key, violations);
        let path = identity.path(key);
        if pairs.len() > PLACES_MAX {
            let rule = format!("must have at most {PLACES_MAX} places");
            violations.push(Malformed::new(&path, rule));
        }
        let mut places = Vec::new();
        for (place, claim) in pairs {
            let at = format!("{path}.{place}");
            match Claim::parse(&at, &claim) {
                Ok(claim) => places.push((at, place, claim)),
                Err(malformed) => violations.push(malformed),
            }
        }
        (!places.is_empty()).then_some(places)
    };
    Places {
        json: listed("json"),
        protobuf: listed("protobuf"),
    }
}

/// What becomes of bodies, of all that a route says.
pub(super) fn body(
    matching: &Matching,
    descriptors: Descriptors,
    places: Places,
    violations: &mut Violations,
) -> Body {
    let Places { json, protobuf } = places;
    match matching {
        Matching::Http { .. } => {
            for (at, ..) in protobuf.into_iter().flatten().take(1) {
                let rule = "must be on a gRPC route: HTTP routes have identity.json";
                violations.push(Malformed::new(at, rule));
            }
            json.map_or(Body::AsIs, |places| json_body(places, violations))
        }
        Matching::Grpc { methods } => {
            for (at, ..) in json.into_iter().flatten().take(1) {
                let rule = "must be on an HTTP route: gRPC routes have identity.protobuf";
                violations.push(Malformed::new(at, rule));
            }
            messages(
                methods,
                descriptors,
                protobuf.unwrap_or_default(),
                violations,
            )
        }
    }
}

fn json_body(places: Vec<(String, String, Claim)>, violations: &mut Violations) -> Body {
    let mut identity: Vec<(Pointer, Claim)> = Vec::new();
    for (at, place, claim) in places {
        match Pointer::parse(&place) {
            Ok(pointer) => {
                let overlaps = identity
                    .iter()
                    .any(|(other, _)| other.is_above(&pointer) || pointer.is_above(other));
                if overlaps {
                    let rule = "must not lead to the place of another, or into it";
                    violations.push(Malformed::new(&at, rule));
                }
                identity.push((pointer, claim));
            }
            Err(error) => violations.push(Malformed::new(at, error.to_string())),
        }
    }
    Body::Json(JsonBody { identity })
}

fn messages(
    methods: &BTreeSet<String>,
    descriptors: Descriptors,
    places: Vec<(String, String, Claim)>,
    violations: &mut Violations,
) -> Body {
    let Descriptors {
        path,
        source,
        unknown,
    } = descriptors;
    let Some(source) = source else {
        for (at, ..) in places.iter().take(1) {
            let rule = "must be beside grpc.descriptor_set, by which messages are read";
            violations.push(Malformed::new(at, rule));
        }
        return Body::AsIs;
    };
    let unknown = unknown.unwrap_or(Unknown::Drop);
    let schema = match Schema::read(&source) {
        Ok(schema) => schema,
        Err(error) => {
            violations.push(Malformed::new(path, error.to_string()));
            return Body::AsIs;
        }
    };
    let mut by_method = BTreeMap::new();
    for method in methods {
        let kind = match schema.request_of(method) {
            Ok(kind) => kind,
            Err(error) => {
                let rule = format!("{error} {}", method.trim_start_matches('/'));
                violations.push(Malformed::new(&path, rule));
                continue;
            }
        };
        let mut found: Vec<Place> = Vec::new();
        for (at, place, _) in &places {
            match Place::parse(&schema, &kind, place) {
                Ok(place) => {
                    if found.iter().any(|other| other.is_above(&place)) {
                        let rule = "must not lead to the place of another";
                        violations.push(Malformed::new(at, rule));
                    }
                    found.push(place);
                }
                Err(error) => {
                    let of = method.trim_start_matches('/');
                    violations.push(Malformed::new(at, format!("{error} (in {of})")));
                }
            }
        }
        by_method.insert(method.clone(), Rewriter::new(kind, unknown, found));
    }
    let identity = places
        .into_iter()
        .map(|(_, place, claim)| (place, claim))
        .collect();
    Body::Messages(Messages {
        source: Arc::from(source),
        unknown,
        identity,
        by_method,
    })
}
