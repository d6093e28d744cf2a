//! The one place that turns refusals into gRPC statuses and HTTP answers.

mod http;

use std::time::Duration;

use ::http::Response;
use sandgate_rpc::{Fault, Reason};
use sandgate_types::Malformed;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::mesh::AttachRefusal;
use crate::refusal::{Clause, CutReason, Refusal};

const DOMAIN: &str = "auth-gateway";
/// A feed that was lost is usually back after one heartbeat.
const FEED_WAIT: Duration = Duration::from_secs(1);
/// A link or an upstream that is gone is usually back as soon.
const PEER_WAIT: Duration = Duration::from_millis(500);

/// How a caller wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// By a status in trailers.
    Grpc,
    /// By a status line and JSON.
    Http,
}

impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Self {
        let reason = Reason::new(DOMAIN, refusal.reason());
        let message = refusal.message();
        let fault = match refusal {
            Refusal::NotReady(_) => Fault::unavailable(reason, message).retry_after(FEED_WAIT),
            Refusal::KeyMissing | Refusal::KeyRefused => Fault::unauthenticated(reason, message),
            Refusal::KeysBusy => Fault::exhausted(reason, message)
                .quota("api keys", "lookups at a time")
                .retry_after(PEER_WAIT),
            Refusal::Overloaded => Fault::exhausted(reason, message)
                .quota("requests", "on their way at a time")
                .retry_after(PEER_WAIT),
            Refusal::TenantOverloaded => Fault::exhausted(reason, message)
                .quota("tenant", "requests of one tenant on their way at a time")
                .retry_after(PEER_WAIT),
            Refusal::TenantRateLimited { wait } => Fault::exhausted(reason, message)
                .quota("tenant_rate", "control calls of one tenant")
                .retry_after(*wait),
            Refusal::TokenMissing | Refusal::Token(_) => Fault::unauthenticated(reason, message),
            Refusal::PolicyRevisionUnknown => Fault::permission_denied(reason, message),
            Refusal::InstanceNotLive => Fault::failed_precondition(reason, message).precondition(
                "INSTANCE_LIVE",
                "instance",
                "the instance must serve a conversation and not be ending",
            ),
            Refusal::MethodUnknown | Refusal::NotGrpc => Fault::unimplemented(reason, message),
            Refusal::RoleMissing => Fault::permission_denied(reason, message),
            Refusal::SandboxUnnamed => Fault::from(Malformed::new(
                "x-sandbox-id",
                "must name one sandbox: 's' and 25 lower-case letters and digits",
            )),
            Refusal::SandboxUnknown => Fault::not_found(reason, message),
            Refusal::SandboxUnreachable | Refusal::ServiceUnreachable => {
                Fault::unavailable(reason, message).retry_after(PEER_WAIT)
            }
            Refusal::Denied(denial) => match denial.clause {
                Clause::Route => Fault::unimplemented(reason, message),
                Clause::Path(_)
                | Clause::Query(_)
                | Clause::QueryUnlisted
                | Clause::BodyType
                | Clause::HeaderTwice
                | Clause::Handshake => Fault::from(Malformed::new("request", message)),
                Clause::RequestBytes => Fault::exhausted(reason, message)
                    .quota("limits.request_bytes", "bytes of the request's body"),
                Clause::Protocol
                | Clause::Upgrade
                | Clause::WebSocket
                | Clause::PathPrefix
                | Clause::Methods
                | Clause::GrpcOnHttp
                | Clause::GrpcWeb
                | Clause::HttpOnGrpc => Fault::permission_denied(reason, message),
            },
            Refusal::RateLimited { wait, .. } => Fault::exhausted(reason, message)
                .quota("rate", "requests of one sandbox")
                .retry_after(*wait),
            Refusal::Body { rule, .. } => Fault::from(Malformed::new("body", rule.as_str())),
            Refusal::Broken => Fault::from(Malformed::new("body", "must be whole")),
            Refusal::RequestTooLarge(_) => Fault::exhausted(reason, message)
                .quota("limits.request_bytes", "bytes of the request's body"),
            Refusal::ResponseTooLarge(_) => Fault::exhausted(reason, message)
                .quota("limits.response_bytes", "bytes of the answer's body"),
            Refusal::DeadlineExceeded => Fault::deadline_exceeded(reason, message),
            Refusal::CredentialMissing(_) => {
                Fault::unavailable(reason, message).retry_after(PEER_WAIT)
            }
            Refusal::CredentialEchoed(_) => Fault::permission_denied(reason, message),
            Refusal::Upstream { .. } => Fault::unavailable(reason, message).retry_after(PEER_WAIT),
            Refusal::Unrecorded => Fault::unavailable(reason, message).retry_after(FEED_WAIT),
            Refusal::Cut(cut) => match cut {
                CutReason::Revoked | CutReason::Expired => Fault::unauthenticated(reason, message),
                CutReason::InstanceEnded => Fault::aborted(reason, message),
                CutReason::PolicyChanged => Fault::permission_denied(reason, message),
                CutReason::FeedLost | CutReason::Ending => {
                    Fault::unavailable(reason, message).retry_after(FEED_WAIT)
                }
            },
        };
        let fault = match refusal.clause() {
            Some(clause) => fault.meta("clause", clause),
            None => fault,
        };
        match refusal.route() {
            Some(route) => fault.meta("route", route),
            None => fault,
        }
    }
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        Fault::from(refusal).into()
    }
}

impl From<&AttachRefusal> for Status {
    fn from(refusal: &AttachRefusal) -> Self {
        let reason = |code| Reason::new(DOMAIN, code);
        match refusal {
            AttachRefusal::InstanceUnnamed => Fault::from(Malformed::new(
                "x-instance-id",
                "must name one instance: 'i' and 25 lower-case letters and digits",
            )),
            AttachRefusal::NoKeys => Fault::unavailable(
                reason("KEYS_MISSING"),
                "the gate has no keys yet by which tickets are verified",
            )
            .retry_after(FEED_WAIT),
            AttachRefusal::Token(refusal) => Fault::failed_precondition(
                reason(refusal.as_str()),
                "the ticket, or a token beside it, is refused",
            )
            .precondition("TICKET", "ticket", refusal.as_str()),
            AttachRefusal::OtherSession => Fault::failed_precondition(
                reason("SESSION_MISMATCH"),
                "the tokens are of another session than the ticket",
            ),
            AttachRefusal::PolicyRevisionUnknown => Fault::failed_precondition(
                reason("POLICY_REVISION_UNKNOWN"),
                "the session began under a revision of the policy's rules that this gate does not know",
            )
            .precondition(
                "POLICY_REVISION",
                "session",
                "gate and orchestrator must be of releases that know the same revision",
            ),
            AttachRefusal::NotLive => Fault::unavailable(
                reason("INSTANCE_NOT_LIVE"),
                "the gate has not heard that the instance is live",
            )
            .retry_after(PEER_WAIT),
        }
        .into()
    }
}

/// A channel of ours gave a call up; what happened is in its own log.
impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        if status.code() == Code::DeadlineExceeded {
            Self::DeadlineExceeded
        } else {
            tracing::debug!(%status, "a service did not answer");
            Self::ServiceUnreachable
        }
    }
}

/// The answer to a request that is refused.
pub(crate) fn answer(refusal: &Refusal, dialect: Dialect) -> Response<Body> {
    match dialect {
        Dialect::Grpc => Status::from(refusal).into_http(),
        Dialect::Http => http::answer(refusal),
    }
}

#[cfg(test)]
mod tests {
    use ::http::{StatusCode, header};
    use sandgate_types::RouteName;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::refusal::Denial;

    fn limited() -> Refusal {
        Refusal::RateLimited {
            route: RouteName::parse("name", "llm").ok(),
            wait: Duration::from_millis(1_200),
        }
    }

    #[test]
    fn a_grpc_caller_reads_the_reason_the_route_and_how_long_to_wait() {
        let status = Status::from(&limited());
        assert_eq!(status.code(), Code::ResourceExhausted);
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!(info.reason, "RATE_LIMITED");
        assert_eq!(info.metadata["route"], "llm");
        let retry = status.get_details_retry_info().expect("RetryInfo");
        assert_eq!(retry.retry_delay, Some(Duration::from_millis(1_200)));
    }

    #[test]
    fn an_http_caller_gets_a_status_line_and_json() {
        let response = answer(&limited(), Dialect::Http);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let refusal = Refusal::Denied(Denial {
            route: None,
            clause: Clause::Route,
        });
        assert_eq!(
            answer(&refusal, Dialect::Http).status(),
            StatusCode::NOT_FOUND
        );
    }
}
