//! Which headers cross between the gate and the mesh. Everything goes by allow-list; the caller is written by the
//! gate alone. What crosses to upstreams is the policy's.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sandgate_policy::{GRPC_REQUEST_ALWAYS, GRPC_RESPONSE_ALWAYS, is_reserved, only};
use sandgate_rpc::CALLER_METADATA;

/// What a caller's metadata may carry to our own services, beside what gRPC needs.
const MESH_REQUEST_ALSO: [&str; 1] = ["x-request-id"];

fn filter(headers: &HeaderMap, crosses: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        if crosses(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The metadata that cross to a service or a sandbox of ours, with `caller` written.
pub(crate) fn toward_mesh(headers: &HeaderMap, caller: &[u8]) -> HeaderMap {
    let mut kept = filter(headers, |name| {
        GRPC_REQUEST_ALWAYS.contains(&name.as_str()) || MESH_REQUEST_ALSO.contains(&name.as_str())
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
        GRPC_RESPONSE_ALWAYS.contains(&name.as_str()) || !is_reserved(name)
    })
}

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
