//! What this service decides by itself, on record: refusals, tokens, changes, and what stops a start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Extensions;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::audit::v1::audit_service_client::AuditServiceClient;
use sandgate_audit::{Decision, Entry, Log, Manner, OpenError, Refused, Who, ship};
use sandgate_rpc::{
    Caller, Channel, ChannelOptions, Fault, Peer, Principal, Refusals, Refused as RefusedCall,
    RequestName, Shutdown, Target, service_name,
};
use sandgate_types::{AuditEventId, Clock, SandboxId, TenantId};

use crate::authority::name_of;
use crate::error::{not_recorded, unrecorded};

/// The writer's service.
const SERVICE: &str = "token";

/// How requests are read.
pub(crate) const MANNER: Manner = Manner { who, unrecorded };

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
        }
    }
}

/// Opens the log of this start.
///
/// # Errors
/// [`OpenError`]: then nothing may be decided.
pub(crate) fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Log, OpenError> {
    let start = AuditEventId::random(&mut StdRng::from_os_rng());
    Log::open(folder, SERVICE, &start, clock)
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
        principal: SERVICE.to_owned(),
        sandbox: String::new(),
        request_id: String::new(),
    }
}

/// Ships to the collector until the end begins.
pub(crate) async fn ship_to(collector: Target, folder: PathBuf, shutdown: Shutdown) {
    let channel = Channel::new(collector, ChannelOptions::default());
    let shipping = ship(&folder, |batch| {
        let mut client = AuditServiceClient::new(channel.clone());
        async move { Ok::<_, tonic::Status>(client.append_records(batch).await?.into_inner()) }
    });
    tokio::select! {
        () = shipping => {}
        () = shutdown.cancelled() => {}
    }
}

/// Records whom the method table refuses.
#[derive(Debug)]
pub(crate) struct Table(pub Log);

#[tonic::async_trait]
impl Refusals for Table {
    async fn refused(&self, refused: RefusedCall<'_>, refusal: Fault) -> Fault {
        let RefusedCall {
            method,
            peer,
            caller,
        } = refused;
        let Who {
            tenant,
            principal,
            sandbox,
            request_id,
        } = asker(Some(peer), caller);
        let receipt = self.0.append(Entry {
            decision: Decision::Refused,
            action: method.trim_start_matches('/').to_owned(),
            reason: refusal.reason().to_owned(),
            tenant,
            principal,
            sandbox,
            request_id,
        });
        let kept = match receipt {
            Ok(receipt) => receipt.durable().await,
            Err(error) => Err(error),
        };
        kept.map_or_else(not_recorded, |()| refusal)
    }
}

/// Who asks: the caller for whom the gate speaks, or the service itself.
fn who(extensions: &Extensions) -> Who {
    asker(extensions.get(), extensions.get())
}

fn asker(peer: Option<&Peer>, caller: Option<&Caller>) -> Who {
    let principal = match (caller, peer) {
        (Some(caller), _) => name_of(Some(caller)),
        (None, Some(Peer::Service(service))) => service_name(*service).to_owned(),
        (None, Some(Peer::Instance(_) | Peer::Local | Peer::Anonymous) | None) => String::new(),
    };
    let tenant = caller.and_then(|caller| caller.tenant.as_ref());
    let sandbox = caller.and_then(sandbox_of);
    Who {
        tenant: tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
        principal,
        sandbox: sandbox.map_or_else(String::new, |sandbox| sandbox.as_str().to_owned()),
        request_id: RequestName::current()
            .map_or_else(String::new, |name| name.as_str().to_owned()),
    }
}

fn sandbox_of(caller: &Caller) -> Option<&SandboxId> {
    match &caller.principal {
        Principal::Session(session) => Some(&session.sandbox),
        Principal::ApiKey(_) | Principal::Service(_) => None,
    }
}
