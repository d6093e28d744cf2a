//! Who may administer what: an operator their own tenant, an administrator every one.

use sandgate_rpc::{Caller, Principal, Role};
use sandgate_types::TenantId;

/// How far the caller's word reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Every tenant: an administrator, or the orchestrator itself.
    Mesh,
    /// One.
    Tenant(TenantId),
    /// None.
    Nothing,
}

/// The caller may not do this; the text is the same whether or not what they named exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the caller may administer their own tenant only")]
pub struct OutOfReach;

impl Reach {
    /// How far a caller reaches; `None` is a service that calls for itself, which the method table allowed.
    pub(crate) fn of(caller: Option<&Caller>) -> Self {
        let Some(caller) = caller else {
            return Self::Mesh;
        };
        // A session is no administrator, whatever roles came with it.
        let by_key = matches!(caller.principal, Principal::ApiKey(_));
        match &caller.tenant {
            _ if by_key && caller.roles.contains(&Role::Admin) => Self::Mesh,
            Some(tenant) if by_key && caller.roles.contains(&Role::Operator) => {
                Self::Tenant(tenant.clone())
            }
            Some(_) | None => Self::Nothing,
        }
    }

    /// Whether `tenant` lies within.
    pub(crate) fn covers(&self, tenant: &TenantId) -> bool {
        match self {
            Self::Mesh => true,
            Self::Tenant(own) => own == tenant,
            Self::Nothing => false,
        }
    }

    /// Checks that `tenant` lies within.
    ///
    /// # Errors
    /// [`OutOfReach`].
    pub(crate) fn check(&self, tenant: &TenantId) -> Result<(), OutOfReach> {
        if self.covers(tenant) {
            Ok(())
        } else {
            Err(OutOfReach)
        }
    }
}

/// How a caller is named in rows: an API key's or session's id, or a service.
pub(crate) fn name_of(caller: Option<&Caller>) -> String {
    let name = caller.map_or("service", |caller| caller.principal.name());
    name.to_owned()
}
