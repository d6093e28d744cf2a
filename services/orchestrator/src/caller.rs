//! What a caller may see: their own sandboxes, or an application key's whole tenant. The rest does not exist
//! for them.

use sandgate_rpc::{Caller, Principal, SessionCaller};
use sandgate_types::{Malformed, TenantId, UserId};

use crate::sandbox::Facts;

/// Whose sandboxes a caller may see and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Of this tenant.
    pub(crate) tenant: TenantId,
    /// Of this user; `None` for an application key that may name users.
    pub(crate) user: Option<UserId>,
    /// Who it is, for what is remembered of them and handed to them.
    pub(crate) principal: String,
}

/// Why a caller may not do anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeError {
    /// A service, or a sandbox.
    #[error("the caller is no person and no program")]
    NoCaller,
    /// A key without a user that may not name one either.
    #[error("the key names no user and may not name users")]
    NoUser,
    /// Somebody who is a user names one.
    #[error("only an application key that may name users sets it")]
    MayNotName,
}

impl Scope {
    /// The scope of a caller whom the gate authenticated.
    pub(crate) fn of(caller: &Caller) -> Result<Self, ScopeError> {
        let tenant = caller.tenant.clone().ok_or(ScopeError::NoCaller)?;
        let principal = match &caller.principal {
            Principal::ApiKey(key) => key.as_str().to_owned(),
            Principal::Session(_) | Principal::Service(_) => return Err(ScopeError::NoCaller),
        };
        if caller.user.is_none() && !caller.may_name_users {
            return Err(ScopeError::NoUser);
        }
        Ok(Self {
            tenant,
            user: caller.user.clone(),
            principal,
        })
    }

    /// Whether the caller may see this sandbox.
    pub(crate) fn covers(&self, facts: &Facts) -> bool {
        facts.tenant == self.tenant && self.user.as_ref().is_none_or(|user| *user == facts.user)
    }

    /// The user of a new sandbox: the caller, or whom an application key names.
    pub(crate) fn user_of_create(&self, named: Option<UserId>) -> Result<UserId, UserError> {
        match (&self.user, named) {
            (Some(own), None) => Ok(own.clone()),
            (Some(_), Some(_)) => Err(UserError::Scope(ScopeError::MayNotName)),
            (None, Some(named)) => Ok(named),
            (None, None) => Err(Malformed::new("user", "must be set by an application key").into()),
        }
    }
}

/// Why a create has no user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// It may not be named, or not by this caller.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// It must be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The session of a keeper that reports.
pub(crate) fn session(caller: &Caller) -> Result<SessionCaller, ScopeError> {
    match &caller.principal {
        Principal::Session(session) => Ok(session.clone()),
        Principal::ApiKey(_) | Principal::Service(_) => Err(ScopeError::NoCaller),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use sandgate_rpc::Service;
    use sandgate_types::ApiKeyId;

    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse("user", name).expect("valid")
    }

    fn key(user: Option<UserId>, may_name_users: bool) -> Caller {
        Caller {
            tenant: Some(TenantId::parse("tenant", "a").expect("valid")),
            user,
            may_name_users,
            principal: Principal::ApiKey(ApiKeyId::random(&mut StdRng::seed_from_u64(1))),
            ..Caller::service(Service::AuthGateway)
        }
    }

    #[test]
    fn an_application_key_names_a_user_and_must() {
        let scope = Scope::of(&key(None, true)).expect("a scope");
        assert_eq!(
            scope.user_of_create(Some(user("ann"))).expect("named"),
            user("ann")
        );
        assert!(matches!(
            scope.user_of_create(None),
            Err(UserError::Malformed(_))
        ));
    }

    #[test]
    fn a_person_is_who_they_are_and_names_nobody() {
        let scope = Scope::of(&key(Some(user("ann")), false)).expect("a scope");
        assert_eq!(scope.user_of_create(None).expect("their own"), user("ann"));
        assert!(matches!(
            scope.user_of_create(Some(user("bob"))),
            Err(UserError::Scope(ScopeError::MayNotName))
        ));
    }

    #[test]
    fn a_key_without_user_and_right_and_a_service_have_no_scope() {
        assert_eq!(Scope::of(&key(None, false)), Err(ScopeError::NoUser));
        assert_eq!(
            Scope::of(&Caller::service(Service::AuthGateway)),
            Err(ScopeError::NoCaller)
        );
    }
}
