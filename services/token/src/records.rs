//! What this service does without being asked by a call, on record; and the log of all that it decides.

use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_audit::{Decision, Entry, Log, OpenError, Refused};
use sandgate_rpc::{Service, service_name};
use sandgate_types::{AuditEventId, Clock, TenantId};

/// What this service does without being asked by a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// `sandgate init` makes a signing key.
    MakeSigningKey,
    /// `sandgate init` makes the root of the services' certificates.
    MakeRoot,
    /// `sandgate init` makes the first tenant.
    MakeTenant,
    /// `sandgate init` makes the first API key, or a new one after all were revoked.
    MakeApiKey,
    /// A start reads the master key, and opens with it what is sealed.
    OpenKeys,
    /// A start finds that the database has lost revocations, and revokes all sessions so far.
    RevokeAllSessions,
    /// The same start revokes all API keys.
    RevokeAllApiKeys,
    /// An API key has reached its end, and is revoked.
    RevokeApiKey,
    /// The signing key has reached its age, and the next one is made.
    RotateSigningKey,
    /// The last token that a signing key signed has expired, and the key is removed.
    RetireSigningKey,
}

impl Act {
    const fn as_str(self) -> &'static str {
        match self {
            Self::MakeSigningKey => "init/MakeSigningKey",
            Self::MakeRoot => "init/MakeRoot",
            Self::MakeTenant => "init/MakeTenant",
            Self::MakeApiKey => "init/MakeApiKey",
            Self::OpenKeys => "start/OpenKeys",
            Self::RevokeAllSessions => "start/RevokeAllSessions",
            Self::RevokeAllApiKeys => "start/RevokeAllApiKeys",
            Self::RevokeApiKey => "age/RevokeApiKey",
            Self::RotateSigningKey => "age/RotateSigningKey",
            Self::RetireSigningKey => "age/RetireSigningKey",
        }
    }
}

/// Opens the log of this start.
///
/// # Errors
/// [`OpenError`]: then nothing may be decided.
pub(crate) fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Log, OpenError> {
    let start = AuditEventId::random(&mut StdRng::from_os_rng());
    Log::open(folder, service_name(Service::Token), &start, clock)
}

/// Records an act before its effect.
///
/// # Errors
/// [`Refused`]: then it must not happen.
pub(crate) async fn done(log: &Log, act: Act, tenant: Option<&TenantId>) -> Result<(), Refused> {
    let receipt = log.append(entry(act, Decision::Allowed, "", tenant))?;
    receipt.durable().await
}

/// Records that an act is refused. What refuses it ends the start in any case, so a log that fails is only told.
pub(crate) async fn refused(log: &Log, act: Act, reason: &str) {
    let receipt = log.append(entry(act, Decision::Refused, reason, None));
    let kept = match receipt {
        Ok(receipt) => receipt.durable().await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::error!(%error, act = act.as_str(), "a refusal is not on record");
    }
}

fn entry(act: Act, decision: Decision, reason: &str, tenant: Option<&TenantId>) -> Entry {
    Entry {
        decision,
        action: act.as_str().to_owned(),
        reason: reason.to_owned(),
        tenant: tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
        principal: service_name(Service::Token).to_owned(),
        sandbox: String::new(),
        request_id: String::new(),
    }
}
