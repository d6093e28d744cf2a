//! Callers as the gate states them.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_rpc::{Caller, Principal, Role, SessionCaller};
use sandgate_types::{
    ApiKeyId, ConversationId, Generation, InstanceId, SandboxId, SessionId, TenantId, TokenId,
    UserId,
};

/// A user with an API key.
pub(crate) fn user(tenant: &str, user: &str) -> Caller {
    Caller {
        tenant: Some(TenantId::parse("tenant", tenant).expect("valid")),
        user: Some(UserId::parse("user", user).expect("valid")),
        may_name_users: false,
        roles: vec![Role::Caller],
        principal: Principal::ApiKey(ApiKeyId::random(&mut StdRng::seed_from_u64(3))),
    }
}

/// The daemon of a sandbox's run.
pub(crate) fn session(tenant: &str, name: &str, conversation: &str, generation: i64) -> Caller {
    let mut fixed = StdRng::seed_from_u64(5);
    Caller {
        roles: vec![Role::Daemon],
        principal: Principal::Session(SessionCaller {
            session: SessionId::random(&mut fixed),
            sandbox: SandboxId::random(&mut fixed),
            instance: InstanceId::random(&mut StdRng::seed_from_u64(generation.unsigned_abs())),
            generation: Generation::parse("generation", generation).expect("positive"),
            conversation: ConversationId::parse("conversation", conversation).expect("valid"),
            token: TokenId::random(&mut fixed),
        }),
        ..user(tenant, name)
    }
}

/// The same daemon in another sandbox.
pub(crate) fn of_another_sandbox(mut caller: Caller) -> Caller {
    let Principal::Session(session) = &mut caller.principal else {
        panic!("a session")
    };
    let mut other = StdRng::seed_from_u64(11);
    session.sandbox = SandboxId::random(&mut other);
    session.instance = InstanceId::random(&mut other);
    caller
}
