//! Refusals as an HTTP caller reads them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use sandgate_rpc::{Fault, code_name};
use tonic::Code;
use tonic::body::Body;

use super::{FEED_WAIT, PEER_WAIT};
use crate::refusal::{Clause, Refusal};

/// The status line; finer than the gRPC code where HTTP has a finer one.
fn http_status(refusal: &Refusal, code: Code) -> StatusCode {
    match refusal {
        Refusal::Denied(denial) => match denial.clause {
            Clause::Route => return StatusCode::NOT_FOUND,
            Clause::Methods | Clause::Protocol => return StatusCode::METHOD_NOT_ALLOWED,
            Clause::RequestBytes => return StatusCode::PAYLOAD_TOO_LARGE,
            Clause::GrpcOnHttp | Clause::HttpOnGrpc | Clause::GrpcWeb | Clause::BodyType => {
                return StatusCode::UNSUPPORTED_MEDIA_TYPE;
            }
            Clause::Upgrade => return StatusCode::NOT_IMPLEMENTED,
            Clause::PathPrefix | Clause::WebSocket => return StatusCode::FORBIDDEN,
            Clause::Path(_)
            | Clause::Query(_)
            | Clause::QueryUnlisted
            | Clause::HeaderTwice
            | Clause::Handshake => return StatusCode::BAD_REQUEST,
        },
        Refusal::Body { .. } | Refusal::Broken => return StatusCode::BAD_REQUEST,
        Refusal::RequestTooLarge(_) => return StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::ResponseTooLarge(_)
        | Refusal::Upstream { .. }
        | Refusal::CredentialMissing(_)
        | Refusal::CredentialEchoed(_) => return StatusCode::BAD_GATEWAY,
        Refusal::MethodUnknown => return StatusCode::NOT_FOUND,
        Refusal::NotGrpc => return StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::NotReady(_)
        | Refusal::KeyMissing
        | Refusal::KeyRefused
        | Refusal::KeysBusy
        | Refusal::Overloaded
        | Refusal::TenantOverloaded
        | Refusal::TenantRateLimited { .. }
        | Refusal::TokenMissing
        | Refusal::Token(_)
        | Refusal::PolicyRevisionUnknown
        | Refusal::InstanceNotLive
        | Refusal::RoleMissing
        | Refusal::SandboxUnnamed
        | Refusal::SandboxUnknown
        | Refusal::SandboxUnreachable
        | Refusal::RateLimited { .. }
        | Refusal::DeadlineExceeded
        | Refusal::ServiceUnreachable
        | Refusal::Unrecorded
        | Refusal::Cut(_) => {}
    }
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// The answer to an HTTP caller: a status line, and JSON.
pub(super) fn answer(refusal: &Refusal) -> Response<Body> {
    let code = Fault::from(refusal).code();
    let status = http_status(refusal, code);
    let mut json = serde_json::json!({
        "code": code_name(code),
        "reason": refusal.reason(),
        "message": refusal.message(),
    });
    if let Some(route) = refusal.route() {
        json["route"] = route.as_str().into();
    }
    if let Some(clause) = refusal.clause() {
        json["clause"] = clause.into();
    }
    let mut response = Response::new(Body::new(Full::new(Bytes::from(format!("{json}\n")))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(wait) = wait_of(refusal) {
        // Rounded up: a client that waits this long is not refused again.
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
            headers.insert(header::RETRY_AFTER, value);
        }
    }
    response
}

fn wait_of(refusal: &Refusal) -> Option<Duration> {
    match refusal {
        Refusal::RateLimited { wait, .. } | Refusal::TenantRateLimited { wait } => Some(*wait),
        Refusal::NotReady(_) | Refusal::Unrecorded => Some(FEED_WAIT),
        Refusal::SandboxUnreachable
        | Refusal::ServiceUnreachable
        | Refusal::CredentialMissing(_)
        | Refusal::KeysBusy
        | Refusal::Overloaded
        | Refusal::TenantOverloaded => Some(PEER_WAIT),
        Refusal::KeyMissing
        | Refusal::KeyRefused
        | Refusal::TokenMissing
        | Refusal::Token(_)
        | Refusal::PolicyRevisionUnknown
        | Refusal::InstanceNotLive
        | Refusal::MethodUnknown
        | Refusal::NotGrpc
        | Refusal::RoleMissing
        | Refusal::SandboxUnnamed
        | Refusal::SandboxUnknown
        | Refusal::Denied(_)
        | Refusal::Body { .. }
        | Refusal::Broken
        | Refusal::RequestTooLarge(_)
        | Refusal::ResponseTooLarge(_)
        | Refusal::CredentialEchoed(_)
        | Refusal::DeadlineExceeded
        | Refusal::Upstream { .. }
        | Refusal::Cut(_) => None,
    }
}
