//! Who is calling: the peer of the connection, and the caller on whose behalf it calls.
//!
//! The peer is proved by the connection (a certificate, a socket's credentials, the end of a pipe). The caller
//! is stated by the gate, which authenticated them, in one metadata entry; from any other peer the entry is
//! refused, and the gate removes whatever came in under its name.

use prost::Message as _;
use sandgate_api::gateway::v1 as pb;
use sandgate_api::options::v1::{Role, Service};
use sandgate_types::{
    ApiKeyId, ConversationId, Generation, InstanceId, Malformed, SandboxId, SessionId, TenantId,
    TokenId, UserId,
};
use tonic::Request;

use crate::{Fault, Reason};

/// The metadata entry in which the gate states the caller.
pub const CALLER_METADATA: &str = "sandgate-caller-bin";

/// The other end of a connection, as the connection itself proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A service of the mesh.
    Service(Service),
    /// A process of this machine's user, over a Unix socket or within our own process.
    Local,
    /// A sandbox, over the link that its backend made.
    Instance(InstanceId),
    /// Nobody that could be named.
    Anonymous,
}

impl Peer {
    /// The peer of the connection on which a request came.
    pub fn of<T>(request: &Request<T>) -> Self {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .unwrap_or(Self::Anonymous)
    }
}

/// On whose behalf a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant; a service has none.
    pub tenant: Option<TenantId>,
    /// The user; an application key and a service have none.
    pub user: Option<UserId>,
    /// Whether an application key may name users of its tenant.
    pub may_name_users: bool,
    /// The roles.
    pub roles: Vec<Role>,
    /// How the caller proved who they are.
    pub principal: Principal,
}

/// How a caller proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// By an API key.
    ApiKey(ApiKeyId),
    /// By a token of a sandbox's session.
    Session(SessionCaller),
    /// By a service's certificate; the gate passes its calls on to sandboxes.
    Service(Service),
}

impl Principal {
    /// How records and rows name it: by an API key's or a session's id, or a service's name.
    pub fn name(&self) -> &str {
        match self {
            Self::ApiKey(id) => id.as_str(),
            Self::Session(session) => session.session.as_str(),
            Self::Service(service) => service_name(*service),
        }
    }

    /// The sandbox that calls, if one does.
    pub fn sandbox(&self) -> Option<&SandboxId> {
        match self {
            Self::Session(session) => Some(&session.sandbox),
            Self::ApiKey(_) | Self::Service(_) => None,
        }
    }
}

/// A session that calls by one of its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCaller {
    /// The session.
    pub session: SessionId,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The instance that the token is bound to.
    pub instance: InstanceId,
    /// Its generation.
    pub generation: Generation,
    /// The conversation.
    pub conversation: ConversationId,
    /// The token.
    pub token: TokenId,
}

/// The name of a service in certificates, settings and file names.
pub fn service_name(service: Service) -> &'static str {
    match service {
        Service::Unspecified => "none",
        Service::Orchestrator => "orchestrator",
        Service::Token => "token",
        Service::AuthGateway => "auth-gateway",
        Service::StorageSync => "storage-sync",
    }
}

/// The service of a name; `none` is nobody's.
pub fn service_from_name(name: &str) -> Option<Service> {
    let services = [
        Service::Orchestrator,
        Service::Token,
        Service::AuthGateway,
        Service::StorageSync,
    ];
    services
        .into_iter()
        .find(|service| service_name(*service) == name)
}

const NO_CALLER: Reason = Reason::new("sandgate", "CALLER_MISSING");

impl Caller {
    /// The caller of a request that came through the gate.
    ///
    /// # Errors
    /// UNAUTHENTICATED when nobody was stated, which the layers of our servers have excluded before for
    /// methods that only callers may call.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Fault> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Fault::unauthenticated(NO_CALLER, "the call names no caller"))
    }

    /// A service that calls a sandbox through the gate.
    pub fn service(service: Service) -> Self {
        Self {
            tenant: None,
            user: None,
            may_name_users: false,
            roles: Vec::new(),
            principal: Principal::Service(service),
        }
    }

    /// The bytes of the metadata entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        let principal = match &self.principal {
            Principal::ApiKey(id) => pb::caller::Principal::ApiKeyId(id.as_str().to_owned()),
            Principal::Session(session) => pb::caller::Principal::Session(pb::Session {
                session_id: session.session.as_str().to_owned(),
                sandbox_id: session.sandbox.as_str().to_owned(),
                instance_id: session.instance.as_str().to_owned(),
                generation: session.generation.get(),
                conversation: session.conversation.as_str().to_owned(),
                token_id: session.token.as_str().to_owned(),
            }),
            Principal::Service(service) => pb::caller::Principal::Service((*service).into()),
        };
        pb::Caller {
            tenant: self
                .tenant
                .as_ref()
                .map(|tenant| tenant.as_str().to_owned())
                .unwrap_or_default(),
            user: self
                .user
                .as_ref()
                .map(|user| user.as_str().to_owned())
                .unwrap_or_default(),
            may_name_users: self.may_name_users,
            roles: self.roles.iter().map(|role| (*role).into()).collect(),
            principal: Some(principal),
        }
        .encode_to_vec()
    }

    /// Reads the metadata entry.
    ///
    /// # Errors
    /// The field that the gate would never have written so.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let unreadable =
            || Malformed::new(CALLER_METADATA, "must be a caller as the gate encodes it");
        let pb::Caller {
            tenant,
            user,
            may_name_users,
            roles,
            principal,
        } = pb::Caller::decode(bytes).map_err(|_| unreadable())?;
        let roles = roles
            .into_iter()
            .map(Role::try_from)
            .collect::<Result<_, _>>()
            .map_err(|_| unreadable())?;
        let principal = match principal.ok_or_else(unreadable)? {
            pb::caller::Principal::ApiKeyId(id) => {
                Principal::ApiKey(ApiKeyId::parse("api_key_id", &id)?)
            }
            pb::caller::Principal::Service(number) => {
                Principal::Service(Service::try_from(number).map_err(|_| unreadable())?)
            }
            pb::caller::Principal::Session(session) => Principal::Session(session_from(session)?),
        };
        let is_service = matches!(principal, Principal::Service(_));
        if tenant.is_empty() != is_service {
            return Err(unreadable());
        }
        Ok(Self {
            tenant: absent_when_empty(&tenant, |text| TenantId::parse("tenant", text))?,
            user: absent_when_empty(&user, |text| UserId::parse("user", text))?,
            may_name_users,
            roles,
            principal,
        })
    }
}

fn session_from(session: pb::Session) -> Result<SessionCaller, Malformed> {
    let pb::Session {
        session_id,
        sandbox_id,
        instance_id,
        generation,
        conversation,
        token_id,
    } = session;
    Ok(SessionCaller {
        session: SessionId::parse("session_id", &session_id)?,
        sandbox: SandboxId::parse("sandbox_id", &sandbox_id)?,
        instance: InstanceId::parse("instance_id", &instance_id)?,
        generation: Generation::parse("generation", generation)?,
        conversation: ConversationId::parse("conversation", &conversation)?,
        token: TokenId::parse("token_id", &token_id)?,
    })
}

fn absent_when_empty<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_caller_survives_the_metadata_entry() {
        let mut rng = StdRng::seed_from_u64(7);
        let caller = Caller {
            tenant: Some(TenantId::parse("tenant", "acme").expect("valid")),
            user: Some(UserId::parse("user", "ann@example.com").expect("valid")),
            may_name_users: false,
            roles: vec![Role::Daemon],
            principal: Principal::Session(SessionCaller {
                session: SessionId::random(&mut rng),
                sandbox: SandboxId::random(&mut rng),
                instance: InstanceId::random(&mut rng),
                generation: Generation::FIRST,
                conversation: ConversationId::parse("conversation", "c").expect("valid"),
                token: TokenId::random(&mut rng),
            }),
        };
        assert_eq!(Caller::from_bytes(&caller.to_bytes()), Ok(caller));
    }

    #[test]
    fn a_caller_without_tenant_that_is_no_service_is_refused() {
        let mut rng = StdRng::seed_from_u64(7);
        let caller = Caller {
            principal: Principal::ApiKey(ApiKeyId::random(&mut rng)),
            ..Caller::service(Service::Orchestrator)
        };
        assert!(Caller::from_bytes(&caller.to_bytes()).is_err());
    }

    #[test]
    fn bytes_that_are_no_caller_are_refused() {
        for bytes in [&b""[..], b"\xff\xff", b"nonsense"] {
            assert!(Caller::from_bytes(bytes).is_err());
        }
    }
}
