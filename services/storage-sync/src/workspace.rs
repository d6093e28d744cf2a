//! Which workspace, and who may touch it.
//!
//! A workspace belongs to a (tenant, user, conversation), compared whole; its id is a hash over an encoding in
//! which no two tuples are alike. What is not the caller's looks like what was never written.

use sandgate_rpc::{Caller, Peer, Principal, SessionCaller};
use sandgate_rpc::{Role, Service};
use sandgate_types::{ConversationId, Malformed, TenantId, UserId, Violations, WorkspaceId};

/// Whose workspace of which conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
}

/// A workspace as a request names it.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// Only services set it.
    pub tenant: String,
    /// Only services, and application keys that may name users, set it.
    pub user: String,
    /// Always set.
    pub conversation: String,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// A service, which names tenant and user.
    Service(Service),
    /// A caller with an API key.
    Caller(Box<Caller>),
}

/// Why a workspace was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The name breaks a rule.
    #[error("the workspace is named wrongly")]
    Malformed(#[from] Violations),
    /// The caller is neither a user nor may name one, or is not the daemon of a sandbox.
    #[error("the caller has no workspaces")]
    NoUser,
}

impl Workspace {
    /// The workspace's id: tenant, user and conversation, each with its length, hashed.
    pub fn id(&self) -> WorkspaceId {
        let mut hasher = blake3::Hasher::new_derive_key("sandgate 2025 storage.v1 workspace id");
        for part in [
            self.tenant.as_str(),
            self.user.as_str(),
            self.conversation.as_str(),
        ] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        WorkspaceId::parse("workspace_id", hasher.finalize().to_hex().as_str())
            .expect("64 hexadecimal digits")
    }
}

impl Asker {
    /// Who asks, by the connection and by what the gate states.
    ///
    /// # Errors
    /// [`AccessError::NoUser`] when it is nobody who could have a workspace.
    pub fn of(peer: &Peer, caller: Option<&Caller>) -> Result<Self, AccessError> {
        match (caller, peer) {
            (Some(caller), _) => Ok(match caller.principal {
                Principal::Service(service) => Self::Service(service),
                Principal::ApiKey(_) | Principal::Session(_) => {
                    Self::Caller(Box::new(caller.clone()))
                }
            }),
            (None, Peer::Service(service)) => Ok(Self::Service(*service)),
            (None, Peer::Local | Peer::Instance(_) | Peer::Anonymous) => Err(AccessError::NoUser),
        }
    }

    /// Whether it is a service of ours, which alone is told a tenant's seed.
    pub fn is_service(&self) -> bool {
        match self {
            Self::Service(_) => true,
            Self::Caller(_) => false,
        }
    }

    /// A name under which its request ids are its own.
    pub fn scope(&self) -> String {
        match self {
            Self::Service(service) => format!("service:{}", service.as_str_name()),
            Self::Caller(caller) => {
                let tenant = caller
                    .tenant
                    .as_ref()
                    .map(TenantId::as_str)
                    .unwrap_or_default();
                match &caller.principal {
                    Principal::ApiKey(id) => format!("{tenant}/key:{id}"),
                    Principal::Session(session) => format!("{tenant}/session:{}", session.session),
                    Principal::Service(service) => format!("service:{}", service.as_str_name()),
                }
            }
        }
    }

    /// The workspace that is meant, if the asker may touch it.
    ///
    /// # Errors
    /// The fields that are wrong, or that the asker has no workspaces.
    pub fn workspace(&self, named: &Named) -> Result<Workspace, AccessError> {
        let Named {
            tenant,
            user,
            conversation,
        } = named;
        let mut violations = Violations::new();
        let conversation = violations.check(ConversationId::parse(
            "workspace.conversation",
            conversation,
        ));
        let (tenant, user) = match self {
            Self::Service(_) => (
                violations.check(TenantId::parse("workspace.tenant", tenant)),
                violations.check(UserId::parse("workspace.user", user)),
            ),
            Self::Caller(caller) => {
                if !tenant.is_empty() {
                    let rule = "must be empty: the tenant follows from who the caller is";
                    violations.push(Malformed::new("workspace.tenant", rule));
                }
                let user = match &caller.user {
                    Some(own) => {
                        if !user.is_empty() && user != own.as_str() {
                            let rule = "must be empty or the caller's own";
                            violations.push(Malformed::new("workspace.user", rule));
                        }
                        Some(own.clone())
                    }
                    None if caller.may_name_users => {
                        violations.check(UserId::parse("workspace.user", user))
                    }
                    None => return Err(AccessError::NoUser),
                };
                let is_caller = caller.roles.contains(&Role::Caller);
                let tenant = caller.tenant.clone().filter(|_| is_caller);
                (Some(tenant.ok_or(AccessError::NoUser)?), user)
            }
        };
        match (tenant, user, conversation) {
            (Some(tenant), Some(user), Some(conversation)) if violations.is_empty() => {
                Ok(Workspace {
                    tenant,
                    user,
                    conversation,
                })
            }
            _wrong => Err(AccessError::Malformed(violations)),
        }
    }
}

/// The workspace of the conversation that a sandbox's daemon serves, as its token says.
///
/// # Errors
/// [`AccessError::NoUser`] when the caller is no daemon.
pub fn of_daemon(caller: &Caller) -> Result<(Workspace, SessionCaller), AccessError> {
    let Principal::Session(session) = &caller.principal else {
        return Err(AccessError::NoUser);
    };
    match (&caller.tenant, &caller.user) {
        (Some(tenant), Some(user)) if caller.roles.contains(&Role::Daemon) => {
            let workspace = Workspace {
                tenant: tenant.clone(),
                user: user.clone(),
                conversation: session.conversation.clone(),
            };
            Ok((workspace, session.clone()))
        }
        (Some(_) | None, Some(_) | None) => Err(AccessError::NoUser),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(tenant: &str, user: &str, conversation: &str) -> Workspace {
        Workspace {
            tenant: TenantId::parse("tenant", tenant).expect("valid"),
            user: UserId::parse("user", user).expect("valid"),
            conversation: ConversationId::parse("conversation", conversation).expect("valid"),
        }
    }

    #[test]
    fn no_two_workspaces_share_an_id_by_moving_a_letter() {
        let ids = [
            ("a", "bc", "d"),
            ("ab", "c", "d"),
            ("a", "b", "cd"),
            ("a", "bc", "e"),
        ]
        .map(|(tenant, user, conversation)| workspace(tenant, user, conversation).id());
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id));
        }
        assert_eq!(workspace("a", "bc", "d").id(), ids[0]);
    }

    #[test]
    fn a_service_names_all_and_every_wrong_part_is_told_at_once() {
        let asker = Asker::Service(Service::Orchestrator);
        let error = asker.workspace(&Named::default()).expect_err("empty");
        let AccessError::Malformed(violations) = error else {
            panic!("{error}")
        };
        let fields: Vec<_> = violations.iter().map(Malformed::field).collect();
        assert_eq!(
            fields,
            [
                "workspace.conversation",
                "workspace.tenant",
                "workspace.user"
            ]
        );
    }
}
