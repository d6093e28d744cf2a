//! What a session's token says, for tests of who decides by it.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_session::{Audience, Claims, Operations};
use sandgate_types::{
    ConversationId, Generation, InstanceId, PolicyRevision, SandboxId, SessionId, TenantId,
    Timestamp, TokenId, UserId,
};

/// An agent's claims; each call's are of the same session, which begins at 0 and is good for an hour.
pub fn claims(tenant: &str, user: &str, operations: Operations) -> Claims {
    let mut rng = StdRng::seed_from_u64(1);
    let at = Timestamp::from_seconds;
    Claims {
        token: TokenId::random(&mut rng),
        audience: Audience::Agent,
        tenant: TenantId::parse("tenant", tenant).expect("valid"),
        user: UserId::parse("user", user).expect("valid"),
        conversation: ConversationId::parse("conversation", "c").expect("valid"),
        session: SessionId::random(&mut rng),
        session_start: at(0),
        session_end: at(3600),
        sandbox: SandboxId::random(&mut rng),
        instance: InstanceId::random(&mut rng),
        generation: Generation::FIRST,
        agent_operations: operations,
        policy_revision: PolicyRevision::CURRENT,
        issued_at: at(0),
        expires_at: at(3600),
    }
}
