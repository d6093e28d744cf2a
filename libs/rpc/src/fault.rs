//! Faults: the only way to a `tonic::Status`.
//!
//! Each carries a reason that programs can match, and where it helps what to do: the fields that were wrong,
//! how long to wait, what to change first. INTERNAL carries constant text; what happened is logged here, once.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use sandgate_types::{Malformed, Violations, chain};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Why a call failed, for programs: `ErrorInfo.domain` and `ErrorInfo.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The service, as in `token`.
    pub domain: &'static str,
    /// An UPPER_SNAKE constant, as in `API_KEY_UNKNOWN`.
    pub code: &'static str,
}

impl Reason {
    /// A reason of a service.
    pub const fn new(domain: &'static str, code: &'static str) -> Self {
        Self { domain, code }
    }
}

const MALFORMED: Reason = Reason::new("sandgate", "INVALID_ARGUMENT");
const INTERNAL: Reason = Reason::new("sandgate", "INTERNAL");

/// A refusal or failure on its way to the caller.
#[derive(Debug)]
pub struct Fault {
    code: Code,
    message: String,
    details: Box<ErrorDetails>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $code:ident,)*) => {
        $(
            $(#[$doc])*
            pub fn $name(reason: Reason, message: impl Into<String>) -> Self {
                Self::new(Code::$code, reason, message.into())
            }
        )*
    };
}

impl Fault {
    kinds! {
        /// What was named is absent, or not the caller's.
        not_found => NotFound,
        /// The caller's create lost, or ran before.
        already_exists => AlreadyExists,
        /// The system's state has to change first.
        failed_precondition => FailedPrecondition,
        /// A version conflict: read again, then retry.
        aborted => Aborted,
        /// Passing trouble: retry the same call.
        unavailable => Unavailable,
        /// A quota or a limit was reached.
        exhausted => ResourceExhausted,
        /// The caller may not do this.
        permission_denied => PermissionDenied,
        /// The caller did not prove who they are.
        unauthenticated => Unauthenticated,
        /// What was asked for lies outside of what is kept.
        out_of_range => OutOfRange,
        /// The time was up.
        deadline_exceeded => DeadlineExceeded,
        /// The caller went away, or the server is ending.
        cancelled => Cancelled,
        /// There is no such method here.
        unimplemented => Unimplemented,
    }

    fn new(code: Code, reason: Reason, message: String) -> Self {
        let mut details = Box::new(ErrorDetails::new());
        details.set_error_info(reason.code, reason.domain, std::collections::HashMap::new());
        Self {
            code,
            message,
            details,
        }
    }

    /// Our bug, or our machine's. The chain of causes is logged here; the caller sees constant text.
    pub fn internal(error: impl Error + Send + Sync + 'static) -> Self {
        tracing::error!(error = %chain(&error), "a call failed for a reason of ours");
        Self::new(Code::Internal, INTERNAL, "internal".to_owned())
    }

    /// Says how long to wait before the same call may help.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self
    }

    /// Names what the fault is about.
    #[must_use]
    pub fn about(mut self, resource_type: &str, name: impl Display) -> Self {
        self.details
            .set_resource_info(resource_type, name.to_string(), "", "");
        self
    }

    /// Names a condition that has to hold first.
    #[must_use]
    pub fn precondition(mut self, kind: &str, subject: impl Display, description: &str) -> Self {
        self.details
            .add_precondition_failure_violation(kind, subject.to_string(), description);
        self
    }

    /// Names a quota that was reached.
    #[must_use]
    pub fn quota(mut self, subject: &str, description: &str) -> Self {
        self.details
            .add_quota_failure_violation(subject, description);
        self
    }

    /// Adds a fact for programs; never anything secret or personal.
    #[must_use]
    pub fn meta(mut self, key: &str, value: impl Display) -> Self {
        if let Some(mut info) = self.details.error_info().cloned() {
            info.metadata.insert(key.to_owned(), value.to_string());
            self.details
                .set_error_info(info.reason, info.domain, info.metadata);
        }
        self
    }

    /// The code of the status that this becomes.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The constant by which programs match it.
    pub fn reason(&self) -> &str {
        self.details.error_info().map_or("", |info| &info.reason)
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Violations::from(malformed).into()
    }
}

impl From<Violations> for Fault {
    fn from(violations: Violations) -> Self {
        let message = violations
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let mut fault = Self::new(Code::InvalidArgument, MALFORMED, message);
        for malformed in violations.iter() {
            fault
                .details
                .add_bad_request_violation(malformed.field(), malformed.rule());
        }
        fault
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        Status::with_error_details(fault.code, fault.message, *fault.details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violated_field_reaches_the_caller() {
        let mut violations = Violations::new();
        violations.push(Malformed::new("conversation", "must not be empty"));
        violations.push(Malformed::new("ttl", "must be at least 1s"));
        let status = Status::from(Fault::from(violations));
        assert_eq!(status.code(), Code::InvalidArgument);
        let fields: Vec<String> = status
            .get_details_bad_request()
            .expect("BadRequest")
            .field_violations
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(fields, ["conversation", "ttl"]);
    }

    #[test]
    fn an_internal_fault_says_nothing_of_its_cause() {
        let status = Status::from(Fault::internal(std::io::Error::other(
            "secret path /etc/shadow",
        )));
        assert_eq!(status.message(), "internal");
        assert!(!format!("{status:?}").contains("secret"));
    }

    #[test]
    fn facts_and_waits_are_kept_beside_the_reason() {
        let fault = Fault::unavailable(Reason::new("token", "STORE_BUSY"), "the database is busy")
            .retry_after(Duration::from_secs(2))
            .meta("sequence", 7);
        let status = Status::from(fault);
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("STORE_BUSY", "token")
        );
        assert_eq!(info.metadata.get("sequence").map(String::as_str), Some("7"));
        assert_eq!(
            status
                .get_details_retry_info()
                .expect("RetryInfo")
                .retry_delay,
            Some(Duration::from_secs(2))
        );
    }
}
