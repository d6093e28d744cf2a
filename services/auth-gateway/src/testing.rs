//! Fixtures of unit tests.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_session::{Audience, Claims, Operations};
use sandgate_types::{
    ConversationId, Generation, InstanceId, PolicyRevision, SandboxId, SessionId, TenantId,
    Timestamp, TokenId, UserId,
};

use crate::policy::{Policies, Policy};
use crate::upstream::Dialing;

/// An agent's claims.
pub(crate) fn claims(tenant: &str, user: &str, operations: Operations) -> Claims {
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

/// The policy of this text; the file `key` beside it holds `upstream-secret`.
pub(crate) fn policy(text: &str) -> Arc<Policy> {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, key) = (folder.path().join("policy.yaml"), folder.path().join("key"));
    std::fs::write(&file, text).expect("write");
    std::fs::write(&key, "upstream-secret").expect("write");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let dialing = Dialing {
        loopback: true,
        ..Dialing::default()
    };
    let policies = Policies::start(Some(file), dialing);
    policies.unwrap_or_else(|error| panic!("{error}")).current()
}
