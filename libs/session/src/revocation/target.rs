//! What one revocation matches.

use sandgate_api::token::v1 as pb;
use sandgate_api::{timestamp_from, timestamp_to};
use sandgate_types::{
    ApiKeyId, ConversationId, InstanceId, Malformed, SandboxId, TenantId, Timestamp, TokenId,
    UserId,
};

use crate::{Audience, Claims};

/// What one revocation matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevocationTarget {
    /// Sessions of a tenant.
    Sessions {
        /// The tenant; nothing of another one is ever matched.
        tenant: TenantId,
        /// Which of its sessions.
        scope: RevocationScope,
    },
    /// One API key.
    ApiKey(ApiKeyId),
}

/// Which sessions, or parts of one, of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RevocationScope {
    /// One token.
    Token(TokenId),
    /// The agent's token of one instance; the daemon may still sync.
    AgentOfInstance(InstanceId),
    /// Both tokens of one instance.
    Instance(InstanceId),
    /// Every instance of a sandbox.
    Sandbox(SandboxId),
    /// Every session of a conversation.
    Conversation(ConversationId),
    /// Every session of a user.
    User(UserId),
    /// Every session.
    WholeTenant,
    /// Every session that began before this instant.
    SessionsBefore(Timestamp),
}

impl RevocationTarget {
    /// A target within a tenant.
    pub fn sessions(tenant: TenantId, scope: RevocationScope) -> Self {
        Self::Sessions { tenant, scope }
    }

    /// Whether a token with these claims is revoked by it.
    pub fn matches(&self, claims: &Claims) -> bool {
        let Self::Sessions { tenant, scope } = self else {
            return false;
        };
        *tenant == claims.tenant
            && match scope {
                RevocationScope::Token(token) => *token == claims.token,
                RevocationScope::AgentOfInstance(instance) => {
                    claims.audience == Audience::Agent && *instance == claims.instance
                }
                RevocationScope::Instance(instance) => *instance == claims.instance,
                RevocationScope::Sandbox(sandbox) => *sandbox == claims.sandbox,
                RevocationScope::Conversation(conversation) => *conversation == claims.conversation,
                RevocationScope::User(user) => *user == claims.user,
                RevocationScope::WholeTenant => true,
                RevocationScope::SessionsBefore(instant) => claims.session_start < *instant,
            }
    }

    /// Whether it would revoke sessions that have not begun yet.
    pub fn lies_after(&self, now: Timestamp) -> bool {
        matches!(
            self,
            Self::Sessions { tenant: _, scope: RevocationScope::SessionsBefore(instant) } if *instant > now
        )
    }

    /// Reads a target from the request field `field`.
    ///
    /// # Errors
    /// The field within it that is missing or wrong.
    pub fn from_wire(field: &str, wire: pb::RevocationTarget) -> Result<Self, Malformed> {
        use pb::revocation_target::Scope;
        let pb::RevocationTarget { tenant, scope } = wire;
        let scope = scope
            .ok_or_else(|| Malformed::new(format!("{field}.scope"), "must name what to revoke"))?;
        let read = || {
            let scope = match scope {
                Scope::ApiKeyId(id) => {
                    if !tenant.is_empty() {
                        return Err(Malformed::new("tenant", "must be empty beside api_key_id"));
                    }
                    return ApiKeyId::parse("api_key_id", &id).map(Self::ApiKey);
                }
                Scope::TokenId(id) => RevocationScope::Token(TokenId::parse("token_id", &id)?),
                Scope::AgentOfInstanceId(id) => RevocationScope::AgentOfInstance(
                    InstanceId::parse("agent_of_instance_id", &id)?,
                ),
                Scope::InstanceId(id) => {
                    RevocationScope::Instance(InstanceId::parse("instance_id", &id)?)
                }
                Scope::SandboxId(id) => {
                    RevocationScope::Sandbox(SandboxId::parse("sandbox_id", &id)?)
                }
                Scope::Conversation(name) => {
                    RevocationScope::Conversation(ConversationId::parse("conversation", &name)?)
                }
                Scope::User(name) => RevocationScope::User(UserId::parse("user", &name)?),
                Scope::WholeTenant(true) => RevocationScope::WholeTenant,
                Scope::WholeTenant(false) => {
                    return Err(Malformed::new(
                        "whole_tenant",
                        "must be true, or another scope be named",
                    ));
                }
                Scope::SessionsBefore(at) => {
                    RevocationScope::SessionsBefore(timestamp_from("sessions_before", &at)?)
                }
            };
            Ok(Self::Sessions {
                tenant: TenantId::parse("tenant", &tenant)?,
                scope,
            })
        };
        read().map_err(|malformed| malformed.within(field))
    }

    /// The wire form.
    pub fn to_wire(&self) -> pb::RevocationTarget {
        use pb::revocation_target::Scope;
        let (tenant, scope) = match self {
            Self::ApiKey(id) => ("", Scope::ApiKeyId(id.as_str().to_owned())),
            Self::Sessions { tenant, scope } => (
                tenant.as_str(),
                match scope {
                    RevocationScope::Token(id) => Scope::TokenId(id.as_str().to_owned()),
                    RevocationScope::AgentOfInstance(id) => {
                        Scope::AgentOfInstanceId(id.as_str().to_owned())
                    }
                    RevocationScope::Instance(id) => Scope::InstanceId(id.as_str().to_owned()),
                    RevocationScope::Sandbox(id) => Scope::SandboxId(id.as_str().to_owned()),
                    RevocationScope::Conversation(name) => {
                        Scope::Conversation(name.as_str().to_owned())
                    }
                    RevocationScope::User(name) => Scope::User(name.as_str().to_owned()),
                    RevocationScope::WholeTenant => Scope::WholeTenant(true),
                    RevocationScope::SessionsBefore(at) => Scope::SessionsBefore(timestamp_to(*at)),
                },
            ),
        };
        pb::RevocationTarget {
            tenant: tenant.to_owned(),
            scope: Some(scope),
        }
    }

    /// The kind's constant, the tenant and the value: how a row stores it and the running hash covers it.
    pub fn to_parts(&self) -> (&'static str, &str, String) {
        match self {
            Self::ApiKey(id) => ("api_key", "", id.as_str().to_owned()),
            Self::Sessions { tenant, scope } => {
                let (kind, value) = match scope {
                    RevocationScope::Token(id) => ("token", id.as_str().to_owned()),
                    RevocationScope::AgentOfInstance(id) => {
                        ("agent_of_instance", id.as_str().to_owned())
                    }
                    RevocationScope::Instance(id) => ("instance", id.as_str().to_owned()),
                    RevocationScope::Sandbox(id) => ("sandbox", id.as_str().to_owned()),
                    RevocationScope::Conversation(name) => {
                        ("conversation", name.as_str().to_owned())
                    }
                    RevocationScope::User(name) => ("user", name.as_str().to_owned()),
                    RevocationScope::WholeTenant => ("tenant", String::new()),
                    RevocationScope::SessionsBefore(at) => {
                        ("sessions_before", at.as_micros().to_string())
                    }
                };
                (kind, tenant.as_str(), value)
            }
        }
    }

    /// Reads what [`Self::to_parts`] wrote.
    ///
    /// # Errors
    /// The part that it would not have written.
    pub fn from_parts(kind: &str, tenant: &str, value: &str) -> Result<Self, Malformed> {
        let scope = match kind {
            "api_key" => return ApiKeyId::parse("value", value).map(Self::ApiKey),
            "token" => RevocationScope::Token(TokenId::parse("value", value)?),
            "agent_of_instance" => {
                RevocationScope::AgentOfInstance(InstanceId::parse("value", value)?)
            }
            "instance" => RevocationScope::Instance(InstanceId::parse("value", value)?),
            "sandbox" => RevocationScope::Sandbox(SandboxId::parse("value", value)?),
            "conversation" => RevocationScope::Conversation(ConversationId::parse("value", value)?),
            "user" => RevocationScope::User(UserId::parse("value", value)?),
            "tenant" => RevocationScope::WholeTenant,
            "sessions_before" => {
                let micros = value
                    .parse()
                    .map_err(|_| Malformed::new("value", "must be microseconds"))?;
                RevocationScope::SessionsBefore(Timestamp::from_micros(micros))
            }
            _ => return Err(Malformed::new("kind", "must be a kind of revocation")),
        };
        Ok(Self::Sessions {
            tenant: TenantId::parse("tenant", tenant)?,
            scope,
        })
    }
}
