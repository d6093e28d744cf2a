//! Who may call what: the method table against the peer and the caller. Default deny.

use http::HeaderMap;
use http::request::Parts;
use sandgate_api::options::v1::Service;
use sandgate_api::{Access, Method};
use tonic::metadata::{BinaryMetadataKey, MetadataMap};

use crate::{CALLER_METADATA, Caller, Fault, Peer, Principal, Reason};

const UNKNOWN_METHOD: Reason = Reason::new("sandgate", "METHOD_UNKNOWN");
const NOT_ALLOWED: Reason = Reason::new("sandgate", "NOT_ALLOWED");
const CALLER_NOT_YOURS: Reason = Reason::new("sandgate", "CALLER_FROM_OTHER_THAN_GATE");
const CALLER_MALFORMED: Reason = Reason::new("sandgate", "CALLER_MALFORMED");

/// Served without a rule: whether the service is ready, and what its methods are.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Whether a path is one that anybody who can connect may call.
pub(crate) fn is_open(path: &str) -> bool {
    OPEN.iter().any(|open| path.starts_with(open))
}

/// Checks that there is such a method, and that the peer, or the caller for whom the gate speaks, may call it. The
/// caller's entry is taken out of the headers and put into the extensions.
pub(crate) fn authorize(
    head: &mut Parts,
    method: Option<&'static Method>,
) -> Result<&'static Method, Fault> {
    let method =
        method.ok_or_else(|| Fault::unimplemented(UNKNOWN_METHOD, "there is no such method"))?;
    let access = method
        .access
        .as_ref()
        .ok_or_else(|| Fault::unimplemented(UNKNOWN_METHOD, "there is no such method"))?;
    let peer = head
        .extensions
        .get::<Peer>()
        .cloned()
        .unwrap_or(Peer::Anonymous);
    let caller = take_caller(&mut head.headers, &peer)?;
    let may_call = may_call(access, &peer, caller.as_ref());
    if let Some(caller) = caller {
        head.extensions.insert(caller);
    }
    if !may_call {
        let text = "this peer may not call this method";
        return Err(Fault::permission_denied(NOT_ALLOWED, text));
    }
    Ok(method)
}

fn may_call(access: &Access, peer: &Peer, caller: Option<&Caller>) -> bool {
    match (peer, caller) {
        // The gate speaks for the caller, and has no rights of its own in that call.
        (Peer::Service(Service::AuthGateway), Some(caller)) => match &caller.principal {
            Principal::Service(service) => access.allows_service(*service),
            Principal::ApiKey(_) | Principal::Session(_) => {
                caller.roles.iter().any(|role| access.allows_role(*role))
            }
        },
        (Peer::Service(service), _) => access.allows_service(*service),
        (Peer::Local | Peer::Instance(_) | Peer::Anonymous, _) => false,
    }
}

/// Takes the gate's statement out of the headers. Anybody else who makes one is refused.
fn take_caller(headers: &mut HeaderMap, peer: &Peer) -> Result<Option<Caller>, Fault> {
    let mut entries = headers.get_all(CALLER_METADATA).iter();
    let (first, second) = (entries.next().is_some(), entries.next().is_some());
    if !first {
        return Ok(None);
    }
    if *peer != Peer::Service(Service::AuthGateway) {
        let text = "only the gate states a caller";
        return Err(Fault::permission_denied(CALLER_NOT_YOURS, text));
    }
    let malformed =
        || Fault::unauthenticated(CALLER_MALFORMED, "the caller is not as the gate encodes it");
    if second {
        return Err(malformed());
    }
    let entry = headers.remove(CALLER_METADATA).ok_or_else(malformed)?;
    let mut metadata = HeaderMap::new();
    metadata.insert(CALLER_METADATA, entry);
    let metadata = MetadataMap::from_headers(metadata);
    let key = BinaryMetadataKey::from_static(CALLER_METADATA);
    let bytes = metadata
        .get_bin(key)
        .and_then(|value| value.to_bytes().ok())
        .ok_or_else(malformed)?;
    Caller::from_bytes(&bytes)
        .map(Some)
        .map_err(|_| malformed())
}
