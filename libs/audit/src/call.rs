//! Who asked for what, as far as the connection and the gate's word say.

use sandgate_rpc::{Caller, Peer, RequestName, service_name};

use crate::{Decision, Entry};

impl Entry {
    /// That of a call on which nothing is decided yet: refused, for a reason that is still to be said.
    pub fn of_call(method: &str, peer: &Peer, caller: Option<&Caller>) -> Self {
        let tenant = caller.and_then(|caller| caller.tenant.as_ref());
        let principal = match (caller, peer) {
            (Some(caller), _) => caller.principal.name(),
            (None, Peer::Service(service)) => service_name(*service),
            (None, Peer::Instance(instance)) => instance.as_str(),
            (None, Peer::Local | Peer::Anonymous) => "",
        };
        let sandbox = caller.and_then(|caller| caller.principal.sandbox());
        Self {
            decision: Decision::Refused,
            action: method.trim_start_matches('/').to_owned(),
            reason: String::new(),
            tenant: tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
            principal: principal.to_owned(),
            sandbox: sandbox.map_or_else(String::new, |sandbox| sandbox.as_str().to_owned()),
            request_id: RequestName::current()
                .map_or_else(String::new, |name| name.as_str().to_owned()),
        }
    }
}
