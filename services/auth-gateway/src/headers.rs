//! Which headers cross the gate. Everything goes by allow-list; what is on no list is left behind, and
//! identity is written from the claims alone.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sandgate_rpc::CALLER_METADATA;

use crate::policy::Forward;

/// What every HTTP request needs to be understood.
pub(crate) const REQUEST_ALWAYS: [&str; 6] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-encoding",
    "content-length",
    "content-type",
];
/// What every HTTP answer needs to be understood.
const RESPONSE_ALWAYS: [&str; 4] = [
    "content-encoding",
    "content-length",
    "content-type",
    "retry-after",
];
/// What every gRPC call needs to be understood.
const GRPC_REQUEST_ALWAYS: [&str; 6] = [
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-timeout",
    "te",
    "user-agent",
];
/// What every gRPC answer needs to be understood.
const GRPC_RESPONSE_ALWAYS: [&str; 6] = [
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
];
/// What a caller's metadata may carry to our own services, beside what gRPC needs.
const MESH_REQUEST_ALSO: [&str; 1] = ["x-request-id"];
/// What belongs to a connection, to whoever authenticates, or to tracing, which the gate writes itself.
const RESERVED: [&str; 20] = [
    "authorization",
    "baggage",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];
/// Names that the mesh, gRPC itself or proxies use for identity and addresses.
const RESERVED_PREFIXES: [&str; 7] = [
    "sandgate-",
    "x-sandgate-",
    "x-sandbox-",
    "x-forwarded",
    "x-instance-",
    "grpc-",
    "proxy-",
];

/// Whether a policy cannot speak of a header.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    RESERVED.contains(&name)
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Whether a request is a gRPC call.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn filter(headers: &HeaderMap, crosses: impl Fn(&str) -> bool) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        if crosses(name.as_str()) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The headers of an HTTP request that cross to an upstream.
pub(crate) fn http_request(headers: &HeaderMap, forward: &Forward) -> HeaderMap {
    filter(headers, |name| {
        REQUEST_ALWAYS.contains(&name) || forward.request_headers.contains(name)
    })
}

/// The metadata of a gRPC call that cross to an upstream.
pub(crate) fn grpc_request(headers: &HeaderMap, forward: &Forward) -> HeaderMap {
    filter(headers, |name| {
        GRPC_REQUEST_ALWAYS.contains(&name) || forward.request_headers.contains(name)
    })
}

/// The headers of an HTTP answer that cross to a sandbox.
pub(crate) fn http_response(headers: &HeaderMap, forward: &Forward) -> HeaderMap {
    filter(headers, |name| {
        RESPONSE_ALWAYS.contains(&name) || forward.response_headers.contains(name)
    })
}

/// The metadata, or trailers, of a gRPC answer that cross to a sandbox.
pub(crate) fn grpc_response(headers: &HeaderMap, forward: &Forward) -> HeaderMap {
    filter(headers, |name| {
        GRPC_RESPONSE_ALWAYS.contains(&name) || forward.response_headers.contains(name)
    })
}

/// The metadata that cross to a service or a sandbox of ours, with `caller` written.
pub(crate) fn toward_mesh(headers: &HeaderMap, caller: &[u8]) -> HeaderMap {
    let mut kept = filter(headers, |name| {
        GRPC_REQUEST_ALWAYS.contains(&name) || MESH_REQUEST_ALSO.contains(&name)
    });
    if let Some(value) = binary(caller) {
        kept.insert(HeaderName::from_static(CALLER_METADATA), value);
    }
    kept
}

/// Bytes as the value of a `-bin` entry.
fn binary(bytes: &[u8]) -> Option<HeaderValue> {
    let value = tonic::metadata::BinaryMetadataValue::from_bytes(bytes);
    HeaderValue::from_bytes(value.as_encoded_bytes()).ok()
}

/// The metadata of an answer of ours that cross to whoever asked; only what belongs to a hop stays.
pub(crate) fn from_mesh(headers: &HeaderMap) -> HeaderMap {
    filter(headers, |name| {
        GRPC_RESPONSE_ALWAYS.contains(&name)
            || !(RESERVED.contains(&name)
                || RESERVED_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix)))
    })
}

/// The one value of a header.
///
/// # Errors
/// When it is there more than once, or is no visible ASCII.
pub(crate) fn only(
    headers: &HeaderMap,
    name: impl header::AsHeaderName,
) -> Result<Option<&str>, Twice> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Twice),
        (Some(_), Some(_)) => Err(Twice),
    }
}

/// A header that two readers could read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Twice;

/// The token of `authorization: Bearer <token>`, when there is exactly that.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = only(headers, header::AUTHORIZATION).ok()??;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && !token.contains(' '))
        .then_some(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forward(names: &[&'static str]) -> Forward {
        let names = names
            .iter()
            .map(|name| crate::policy::route::Lower::of(&HeaderName::from_static(name)));
        Forward {
            request_headers: names.collect(),
            ..Forward::default()
        }
    }

    #[test]
    fn only_listed_headers_cross() {
        let mut headers = HeaderMap::new();
        for name in [
            "accept",
            "authorization",
            "cookie",
            "x-user",
            "x-model",
            "host",
        ] {
            headers.insert(name, HeaderValue::from_static("v"));
        }
        let kept = http_request(&headers, &forward(&["x-model"]));
        let names: std::collections::BTreeSet<_> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept", "x-model"].into());
    }

    #[test]
    fn a_bearer_is_one_header_with_one_token() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert("authorization", HeaderValue::from_static("Bearer abc"));
        assert_eq!(bearer(&headers), Some("abc"));
        headers.append("authorization", HeaderValue::from_static("Bearer abc"));
        assert_eq!(bearer(&headers), None);
        for odd in ["Basic abc", "Bearer", "Bearer ", "Bearer a b", "abc"] {
            headers.insert("authorization", HeaderValue::from_static(odd));
            assert_eq!(bearer(&headers), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn nothing_reserved_reaches_our_services_but_the_caller_that_the_gate_wrote(
            names in proptest::collection::vec("(sandgate|x-sandgate|x-sandbox|x-forwarded)-[a-z-]{1,12}|authorization|cookie|x-[a-z]{1,8}", 0..12)
        ) {
            let mut headers = HeaderMap::new();
            for name in &names {
                headers.append(HeaderName::try_from(name.as_str()).expect("a name"), HeaderValue::from_static("mine"));
            }
            headers.append(HeaderName::from_static(CALLER_METADATA), HeaderValue::from_static("bWluZQ"));
            let kept = toward_mesh(&headers, b"caller");
            prop_assert_eq!(kept.len(), 1);
            prop_assert_eq!(kept.get_all(CALLER_METADATA).iter().count(), 1);
            prop_assert_ne!(kept.get(CALLER_METADATA).expect("written"), "bWluZQ");
        }
    }
}
