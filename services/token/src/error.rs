//! Reasons → codes and details. The one file that says how a refusal looks to a caller.

use std::time::Duration;

use sandgate_audit::Refused;
use sandgate_rpc::{Fault, Reason};
use sandgate_session::TokenRefusal;

use crate::api_key::{AuthenticateError, CreateError, RotateError};
use crate::authority::OutOfReach;
use crate::core::{FollowError, RevokeError};
use crate::keys::{KeysStale, RetireError, TendError};
use crate::session::SessionError;
use crate::store::StoreError;

const fn reason(code: &'static str) -> Reason {
    Reason::new("token", code)
}

const UNRECORDED: Reason = reason("AUDIT_UNAVAILABLE");
const NOT_READY: Reason = reason("NOT_READY");
const STORE_BUSY: Reason = reason("STORE_BUSY");
const ENDING: Reason = reason("ENDING");
const TENANT_UNKNOWN: Reason = reason("TENANT_UNKNOWN");
const TENANT_EXISTS: Reason = reason("TENANT_EXISTS");
const TENANT_NOT_YOURS: Reason = reason("TENANT_NOT_YOURS");
const ROLE_NOT_HELD: Reason = reason("ROLE_NOT_HELD");
const API_KEY_UNKNOWN: Reason = reason("API_KEY_UNKNOWN");
const API_KEY_INVALID: Reason = reason("API_KEY_INVALID");
const SIGNING_KEY_UNKNOWN: Reason = reason("SIGNING_KEY_UNKNOWN");
const SIGNING_KEY_ALONE: Reason = reason("SIGNING_KEY_ALONE");
const SIGNING_KEYS_CHANGED: Reason = reason("SIGNING_KEYS_CHANGED");
const SESSION_REVOKED: Reason = reason("SESSION_REVOKED");
const SESSION_OVER: Reason = reason("SESSION_OVER");
const SESSION_TOKEN_MISSING: Reason = reason("SESSION_TOKEN_MISSING");
const SESSION_TOKEN_REFUSED: Reason = reason("SESSION_TOKEN_REFUSED");
/// A write takes milliseconds; whoever waits this long finds the writer free.
const BUSY: Duration = Duration::from_millis(100);
/// A database that is not there is looked for once a second.
const LOOKED_FOR: Duration = Duration::from_secs(1);

/// The database was not there yet, or is not what it was.
pub(crate) fn not_ready() -> Fault {
    Fault::unavailable(
        NOT_READY,
        "the service is not ready: its health says what is missing",
    )
    .retry_after(LOOKED_FOR)
}

/// What was decided could not be put on record, and so does not happen.
pub(crate) fn not_recorded(refused: Refused) -> Fault {
    Fault::unavailable(UNRECORDED, refused.to_string()).retry_after(LOOKED_FOR)
}

/// A tenant of that name has other content.
pub(crate) fn tenant_exists() -> Fault {
    Fault::already_exists(
        TENANT_EXISTS,
        "a tenant of this name exists with other grants",
    )
    .meta("field", "granted_operations")
}

/// There is no tenant of that name.
pub(crate) fn tenant_unknown() -> Fault {
    Fault::not_found(TENANT_UNKNOWN, "the tenant does not exist")
}

/// The gate did not pass a daemon token on.
pub(crate) fn session_token_missing() -> Fault {
    Fault::unauthenticated(SESSION_TOKEN_MISSING, "the call carries no daemon token")
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged(_) => not_ready(),
            error @ (StoreError::Db(_) | StoreError::Row(_)) if error.is_transient() => {
                Self::unavailable(STORE_BUSY, "the database is busy").retry_after(BUSY)
            }
            error @ (StoreError::Db(_) | StoreError::Row(_)) => Self::internal(error),
        }
    }
}

impl From<FollowError> for Fault {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Random(_) => Self::internal(error),
            FollowError::Store(error) => error.into(),
            FollowError::Revoke(error) => error.into(),
        }
    }
}

impl From<KeysStale> for Fault {
    fn from(_: KeysStale) -> Self {
        not_ready()
    }
}

impl From<TendError> for Fault {
    fn from(error: TendError) -> Self {
        match error {
            TendError::Store(error) => error.into(),
            TendError::Unrecorded(refused) => not_recorded(refused),
            TendError::Keyring(_) | TendError::Seal(_) => Self::internal(error),
        }
    }
}

impl From<RetireError> for Fault {
    fn from(error: RetireError) -> Self {
        let text = error.to_string();
        match error {
            RetireError::Unknown => Self::not_found(SIGNING_KEY_UNKNOWN, text),
            RetireError::Alone => Self::failed_precondition(SIGNING_KEY_ALONE, text).precondition(
                "SIGNING_KEY",
                "key_id",
                "call RotateSigningKey, and then again",
            ),
            RetireError::Changed => Self::aborted(SIGNING_KEYS_CHANGED, text),
            RetireError::Tend(error) => error.into(),
        }
    }
}

impl From<OutOfReach> for Fault {
    fn from(error: OutOfReach) -> Self {
        Self::permission_denied(TENANT_NOT_YOURS, error.to_string())
    }
}

impl From<RevokeError> for Fault {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::ApiKeyUnknown => Self::not_found(API_KEY_UNKNOWN, error.to_string()),
            RevokeError::Store(error) => error.into(),
            RevokeError::Witness(error) => Self::internal(error),
            RevokeError::Ending => {
                Self::unavailable(ENDING, error.to_string()).retry_after(LOOKED_FOR)
            }
        }
    }
}

impl From<AuthenticateError> for Fault {
    fn from(error: AuthenticateError) -> Self {
        match error {
            AuthenticateError::Invalid => Self::unauthenticated(API_KEY_INVALID, error.to_string()),
            AuthenticateError::Store(error) => error.into(),
        }
    }
}

impl From<RotateError> for Fault {
    fn from(error: RotateError) -> Self {
        let text = error.to_string();
        match error {
            RotateError::Malformed(malformed) => malformed.into(),
            RotateError::Unknown => Self::not_found(API_KEY_UNKNOWN, text),
            RotateError::RoleNotHeld => Self::permission_denied(ROLE_NOT_HELD, text),
        }
    }
}

impl From<CreateError> for Fault {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Malformed(violations) => violations.into(),
            CreateError::OutOfReach(error) => error.into(),
            CreateError::RoleNotHeld => Self::permission_denied(ROLE_NOT_HELD, error.to_string()),
            CreateError::TenantUnknown => Self::not_found(TENANT_UNKNOWN, error.to_string()),
            CreateError::Random(_) => Self::internal(error),
            CreateError::Store(error) => error.into(),
        }
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        let text = error.to_string();
        match error {
            SessionError::Malformed(malformed) => malformed.into(),
            SessionError::TenantUnknown => Self::failed_precondition(TENANT_UNKNOWN, text)
                .precondition("TENANT", "tenant", "create the tenant first"),
            SessionError::Revoked => Self::failed_precondition(SESSION_REVOKED, text).precondition(
                "REVOCATION",
                "session",
                "what is revoked stays so: begin another session",
            ),
            SessionError::Over => Self::failed_precondition(SESSION_OVER, text).precondition(
                "SESSION",
                "session_max",
                "suspend the sandbox and resume it",
            ),
            SessionError::Refused(refusal @ (TokenRefusal::Expired | TokenRefusal::Revoked)) => {
                Self::failed_precondition(SESSION_TOKEN_REFUSED, text).meta("refusal", refusal)
            }
            SessionError::Refused(refusal) => {
                Self::unauthenticated(SESSION_TOKEN_REFUSED, text).meta("refusal", refusal)
            }
            SessionError::Keys(stale) => stale.into(),
            SessionError::OtherToken => Self::unauthenticated(SESSION_TOKEN_REFUSED, text),
            SessionError::Sign(_) => Self::internal(error),
        }
    }
}
