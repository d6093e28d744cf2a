//! Which headers cross the gate. Everything goes by allow-list; what is on no list is left behind, and
//! identity is written from the claims alone.

use crate::route::Forward;
use http::header::{self, HeaderMap, HeaderName};

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
pub const GRPC_REQUEST_ALWAYS: [&str; 6] = [
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-timeout",
    "te",
    "user-agent",
];
/// What every gRPC answer needs to be understood.
pub const GRPC_RESPONSE_ALWAYS: [&str; 6] = [
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
];
/// What belongs to a connection, to whoever authenticates, or to tracing, which the gate writes itself.
const RESERVED: [&str; 24] = [
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
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
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
pub fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    RESERVED.contains(&name)
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Whether a request is a gRPC call.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    is_of_kind(headers, b"application/grpc") && !is_grpc_web(headers)
}

/// Whether a request is a call of gRPC-Web, which has its trailers in the body and is read by other rules.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    is_of_kind(headers, b"application/grpc-web")
}

fn is_of_kind(headers: &HeaderMap, kind: &[u8]) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    value.is_some_and(|value| {
        let start = value.as_bytes().get(..kind.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(kind))
    })
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

/// Whether a body is JSON in UTF-8 that is not encoded again, as far as the headers say; one that they say nothing
/// of may be none.
pub(crate) fn is_plain_json(headers: &HeaderMap) -> bool {
    let encoded = headers.get_all(header::CONTENT_ENCODING).iter();
    if encoded.into_iter().any(|encoding| encoding != "identity") {
        return false;
    }
    let Ok(kind) = only(headers, header::CONTENT_TYPE) else {
        return false;
    };
    let Some(kind) = kind else {
        return true;
    };
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| {
            parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

/// The one value of a header.
///
/// # Errors
/// When it is there more than once, or is no visible ASCII.
pub fn only(headers: &HeaderMap, name: impl header::AsHeaderName) -> Result<Option<&str>, Twice> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Twice),
        (Some(_), Some(_)) => Err(Twice),
    }
}

/// A header that two readers could read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twice;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn forward(names: &[&'static str]) -> Forward {
        let names = names
            .iter()
            .map(|name| crate::route::Lower::of(&HeaderName::from_static(name)));
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
}
