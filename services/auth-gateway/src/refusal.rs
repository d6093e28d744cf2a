//! Everything for which the gate refuses a request, by constants that audit, answers and tests share.
//!
//! A refusal explains only the clauses of routes that the session could use, and nothing secret.

use std::time::Duration;

use sandgate_session::TokenRefusal;
use sandgate_types::RouteName;

pub(crate) use sandgate_egress::Failure;
pub(crate) use sandgate_policy::{Clause, Denial};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The gate does not know enough to decide.
    NotReady(Missing),
    /// No API key, or more than one credential.
    KeyMissing,
    /// An API key that is unknown, wrong or revoked.
    KeyRefused,
    /// Too many keys are being looked up.
    KeysBusy,
    /// As many requests are on their way as may be.
    Overloaded,
    /// As many requests of the tenant are on their way as its share allows.
    TenantOverloaded,
    /// The tenant makes control calls too often.
    TenantRateLimited {
        /// When the same call may be let through.
        wait: Duration,
    },
    /// No session token, or more than one credential.
    TokenMissing,
    /// A session token that is not good here and now.
    Token(TokenRefusal),
    /// A session under a revision of the policy's rules that this gate does not know.
    PolicyRevisionUnknown,
    /// The instance is not serving a conversation, or is ending.
    InstanceNotLive,
    /// The RPC is none that this listener serves.
    MethodUnknown,
    /// The request is no gRPC call, where only those are served.
    NotGrpc,
    /// The caller has none of the method's roles.
    RoleMissing,
    /// `x-sandbox-id` is missing, doubled or no id.
    SandboxUnnamed,
    /// The sandbox is not there, or not the caller's.
    SandboxUnknown,
    /// The sandbox is there and cannot be reached at the moment.
    SandboxUnreachable,
    /// The policy refuses.
    Denied(Denial),
    /// The sandbox calls too often.
    RateLimited {
        /// The route whose rate it is; none for that of the sandbox.
        route: Option<RouteName>,
        /// When the same request may be let through.
        wait: Duration,
    },
    /// The request's body breaks a rule of the route.
    Body {
        /// The route.
        route: RouteName,
        /// The part of the route.
        clause: &'static str,
        /// What the body must be.
        rule: String,
    },
    /// The sender broke off before its body was whole.
    Broken,
    /// The request's body is larger than the route takes.
    RequestTooLarge(RouteName),
    /// The answer's body is larger than the route takes.
    ResponseTooLarge(RouteName),
    /// The time of the route, of the caller or of the method is up.
    DeadlineExceeded,
    /// The upstream could not be asked, or broke off.
    Upstream {
        /// The route.
        route: RouteName,
        /// What happened.
        failure: Failure,
    },
    /// The access token for the route's upstream could not be had.
    CredentialMissing(RouteName),
    /// The answer repeats the route's credential.
    CredentialEchoed(RouteName),
    /// A service of the mesh could not be asked.
    ServiceUnreachable,
    /// The decision could not be recorded.
    Unrecorded,
    /// The open stream was cut.
    Cut(CutReason),
}

/// What the gate lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The lease on revocations.
    Lease,
    /// The feed of instances.
    Endpoints,
    /// The keys by which tokens are verified.
    Keys,
}

/// Why an open stream was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutReason {
    /// What authenticated it was revoked.
    Revoked,
    /// Its instance ended, is ending, or has a newer generation.
    InstanceEnded,
    /// The gate lost a feed.
    FeedLost,
    /// The policy that allowed it changed.
    PolicyChanged,
    /// The token that opened it expired, and no newer one took its place.
    Expired,
    /// The gate is ending.
    Ending,
}

impl Refusal {
    /// Whether it ends what was allowed, rather than refuse something that was asked.
    pub(crate) fn is_an_end(&self) -> bool {
        matches!(self, Self::Cut(_) | Self::DeadlineExceeded)
    }

    /// The constant by which programs, audit and tests know it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotReady(Missing::Lease) => "LEASE_LAPSED",
            Self::NotReady(Missing::Endpoints) => "ENDPOINTS_STALE",
            Self::NotReady(Missing::Keys) => "KEYS_MISSING",
            Self::KeyMissing => "API_KEY_MISSING",
            Self::KeyRefused => "API_KEY_REFUSED",
            Self::KeysBusy => "API_KEYS_BUSY",
            Self::Overloaded => "OVERLOADED",
            Self::TenantOverloaded => "TENANT_OVERLOADED",
            Self::TenantRateLimited { .. } => "TENANT_RATE_LIMITED",
            Self::TokenMissing => "TOKEN_MISSING",
            Self::Token(refusal) => refusal.as_str(),
            Self::PolicyRevisionUnknown => "POLICY_REVISION_UNKNOWN",
            Self::InstanceNotLive => "INSTANCE_NOT_LIVE",
            Self::MethodUnknown => "METHOD_UNKNOWN",
            Self::NotGrpc => "NOT_GRPC",
            Self::RoleMissing => "ROLE_MISSING",
            Self::SandboxUnnamed => "SANDBOX_UNNAMED",
            Self::SandboxUnknown => "SANDBOX_UNKNOWN",
            Self::SandboxUnreachable => "SANDBOX_UNREACHABLE",
            Self::Denied(denial) => denial.clause.reason(),
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Body { .. } => "BODY_REFUSED",
            Self::Broken => "REQUEST_BROKEN",
            Self::RequestTooLarge(_) => "REQUEST_TOO_LARGE",
            Self::ResponseTooLarge(_) => "RESPONSE_TOO_LARGE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Upstream { failure, .. } => match failure {
                Failure::Unreachable => "UPSTREAM_UNREACHABLE",
                Failure::AddressRefused => "UPSTREAM_ADDRESS_REFUSED",
                Failure::Broken => "UPSTREAM_BROKEN",
                Failure::Switched => "UPSTREAM_SWITCHED",
                Failure::NotSwitched => "UPSTREAM_NOT_SWITCHED",
            },
            Self::CredentialMissing(_) => "CREDENTIAL_UNAVAILABLE",
            Self::CredentialEchoed(_) => "CREDENTIAL_ECHOED",
            Self::ServiceUnreachable => "SERVICE_UNREACHABLE",
            Self::Unrecorded => "AUDIT_UNAVAILABLE",
            Self::Cut(reason) => match reason {
                CutReason::Revoked => "REVOKED",
                CutReason::InstanceEnded => "INSTANCE_ENDED",
                CutReason::FeedLost => "FEED_LOST",
                CutReason::PolicyChanged => "POLICY_CHANGED",
                CutReason::Expired => "EXPIRED",
                CutReason::Ending => "GATE_ENDING",
            },
        }
    }

    /// What a person reads, and what they can do.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::NotReady(Missing::Lease) => {
                "the gate has lost the feed of revocations and refuses until it is back".into()
            }
            Self::NotReady(Missing::Endpoints) => {
                "the gate has lost the feed of instances and refuses until it is back".into()
            }
            Self::NotReady(Missing::Keys) => {
                "the gate has no keys yet by which tokens are verified".into()
            }
            Self::KeyMissing => {
                "the call needs an API key: send authorization: Bearer sgk_…, once".into()
            }
            Self::KeyRefused => "the API key is unknown, wrong or revoked".into(),
            Self::KeysBusy => "too many API keys are being looked up at the moment".into(),
            Self::Overloaded => "the gate serves as many requests as it may at the moment".into(),
            Self::TenantOverloaded => {
                "the tenant has as many requests on their way as its share of the gate allows".into()
            }
            Self::TenantRateLimited { .. } => "the tenant makes control calls too often".into(),
            Self::TokenMissing => "the request carries no session token".into(),
            Self::Token(refusal) => format!("the session token is refused: {}", refusal.as_str()),
            Self::PolicyRevisionUnknown => {
                "the session began under a revision of the policy's rules that this gate does not know".into()
            }
            Self::InstanceNotLive => {
                "the sandbox serves no conversation at the moment, or is ending".into()
            }
            Self::MethodUnknown => "there is no such method on this listener".into(),
            Self::NotGrpc => "this listener serves gRPC over HTTP/2".into(),
            Self::RoleMissing => {
                "the API key has none of the roles that may call this method".into()
            }
            Self::SandboxUnnamed => {
                "the call must name one sandbox in the metadata entry x-sandbox-id".into()
            }
            Self::SandboxUnknown => "there is no such sandbox running".into(),
            Self::SandboxUnreachable => {
                "the sandbox is there and its connection is not; repeat the call".into()
            }
            Self::Denied(denial) => denial.clause.message(),
            Self::RateLimited { route: Some(_), .. } => {
                "the sandbox uses the route more often than rate allows".into()
            }
            Self::RateLimited { route: None, .. } => "the sandbox calls too often".into(),
            Self::Body { rule, .. } => format!("the body {rule}"),
            Self::Broken => "the request ended before its body was whole".into(),
            Self::RequestTooLarge(_) => "the body is larger than the route takes".into(),
            Self::ResponseTooLarge(_) => "the answer is larger than the route takes".into(),
            Self::DeadlineExceeded => "the time for the request is up".into(),
            Self::Upstream { failure, .. } => match failure {
                Failure::Unreachable => "the upstream cannot be reached",
                Failure::AddressRefused => {
                    "the upstream's name leads to an address that the policy does not allow"
                }
                Failure::Broken => "the upstream broke the connection off",
                Failure::Switched => {
                    "the upstream switched protocols, and not to what was asked for"
                }
                Failure::NotSwitched => "the upstream takes no WebSocket there",
            }
            .into(),
            Self::CredentialMissing(_) => {
                "the credential of the route cannot be had at the moment".into()
            }
            Self::CredentialEchoed(_) => {
                "the answer repeats the route's credential, and is withheld".into()
            }
            Self::ServiceUnreachable => "a service of the mesh cannot be reached".into(),
            Self::Unrecorded => "the decision could not be recorded, so nothing was done".into(),
            Self::Cut(reason) => match reason {
                CutReason::Revoked => "what authenticated the call was revoked",
                CutReason::InstanceEnded => "the sandbox's instance ended",
                CutReason::FeedLost => "the gate lost a feed without which it does not serve",
                CutReason::PolicyChanged => "the policy that allowed the call has changed",
                CutReason::Expired => "the session token expired",
                CutReason::Ending => "the gate is ending",
            }
            .into(),
        }
    }

    /// The part of the route that refused, as the policy spells it, where there is one.
    pub(crate) fn clause(&self) -> Option<&'static str> {
        if let Self::Body { clause, .. } = self {
            return Some(clause);
        }
        let Self::Denied(denial) = self else {
            return None;
        };
        let clause = denial.clause.as_str();
        (denial.route.is_some() && !clause.is_empty()).then_some(clause)
    }

    /// The route that refused, where the session could use it.
    pub(crate) fn route(&self) -> Option<&RouteName> {
        match self {
            Self::Denied(denial) => denial.route.as_ref(),
            Self::RateLimited { route, .. } => route.as_ref(),
            Self::RequestTooLarge(route)
            | Self::ResponseTooLarge(route)
            | Self::CredentialMissing(route)
            | Self::CredentialEchoed(route)
            | Self::Body { route, .. }
            | Self::Upstream { route, .. } => Some(route),
            Self::NotReady(_)
            | Self::KeyMissing
            | Self::KeyRefused
            | Self::KeysBusy
            | Self::Overloaded
            | Self::TenantOverloaded
            | Self::TenantRateLimited { .. }
            | Self::TokenMissing
            | Self::Token(_)
            | Self::PolicyRevisionUnknown
            | Self::InstanceNotLive
            | Self::MethodUnknown
            | Self::NotGrpc
            | Self::RoleMissing
            | Self::SandboxUnnamed
            | Self::SandboxUnknown
            | Self::SandboxUnreachable
            | Self::Broken
            | Self::DeadlineExceeded
            | Self::ServiceUnreachable
            | Self::Unrecorded
            | Self::Cut(_) => None,
        }
    }
}
