//! The table of who may call what, generated from the option `sandgate.options.v1.access`.

use crate::options::v1::{DeadlineClass, Role, Service};

/// An RPC of ours.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Its HTTP path, `/sandgate.token.v1.TokenService/MintSession`.
    pub path: &'static str,
    /// Whether the client streams.
    pub streams_in: bool,
    /// Whether the server streams.
    pub streams_out: bool,
    /// Its rule; `None` when the proto lacks it, and then no server that serves it starts.
    pub access: Option<Access>,
}

/// Who may call a method. The numbers are those of the enums in `sandgate.options.v1`.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    services: &'static [i32],
    roles: &'static [i32],
    idempotent: bool,
    deadline: i32,
}

/// Every RPC of ours.
pub const METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The RPC at an HTTP path, if it is one of ours.
pub fn find(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

impl Access {
    /// Whether `service` may call the method itself.
    pub fn allows_service(&self, service: Service) -> bool {
        service != Service::Unspecified && self.services.contains(&(service as i32))
    }

    /// Whether a caller with `role` may call the method through the gate.
    pub fn allows_role(&self, role: Role) -> bool {
        role != Role::Unspecified && self.roles.contains(&(role as i32))
    }

    /// Whether any caller at all may call the method through the gate.
    pub fn allows_callers(&self) -> bool {
        !self.roles.is_empty()
    }

    /// Whether a repetition of the request changes nothing more than the first one did.
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// How long a call may take.
    pub fn deadline(&self) -> DeadlineClass {
        DeadlineClass::try_from(self.deadline).unwrap_or(DeadlineClass::Unspecified)
    }

    /// Whether the rule says something that can be followed: somebody may call, and for so long.
    pub fn is_complete(&self) -> bool {
        let named = |numbers: &[i32]| numbers.iter().all(|number| *number != 0);
        !(self.services.is_empty() && self.roles.is_empty())
            && named(self.services)
            && named(self.roles)
            && self.deadline() != DeadlineClass::Unspecified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_says_completely_who_may_call_it() {
        assert!(!METHODS.is_empty());
        for method in METHODS {
            let access = method
                .access
                .as_ref()
                .unwrap_or_else(|| panic!("{} has no access option", method.path));
            assert!(
                access.is_complete(),
                "{} has an incomplete access option",
                method.path
            );
        }
    }

    #[test]
    fn no_daemon_may_administer() {
        for method in METHODS {
            let access = method.access.as_ref().expect("checked above");
            let administers = access.allows_role(Role::Operator) || access.allows_role(Role::Admin);
            assert!(
                !(access.allows_role(Role::Daemon) && administers),
                "{}",
                method.path
            );
        }
    }

    #[test]
    fn streams_live_until_somebody_ends_them_or_have_a_long_deadline() {
        for method in METHODS
            .iter()
            .filter(|method| method.streams_out || method.streams_in)
        {
            let deadline = method.access.as_ref().expect("checked above").deadline();
            assert_ne!(deadline, DeadlineClass::Short, "{}", method.path);
        }
    }
}
