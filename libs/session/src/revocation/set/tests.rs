//! The set agrees with its elements, and two copies with each other.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_types::{Generation, PolicyRevision, SessionId};

use super::*;
use crate::Operations;

fn claims(audience: Audience, seed: u64) -> Claims {
    let rng = &mut StdRng::seed_from_u64(seed);
    Claims {
        token: TokenId::random(rng),
        audience,
        tenant: TenantId::parse("tenant", "acme").expect("valid"),
        user: UserId::parse("user", "ann").expect("valid"),
        conversation: ConversationId::parse("conversation", "c").expect("valid"),
        session: SessionId::random(rng),
        session_start: Timestamp::from_seconds(1_000),
        session_end: Timestamp::from_seconds(9_000),
        sandbox: SandboxId::random(rng),
        instance: InstanceId::random(rng),
        generation: Generation::FIRST,
        agent_operations: Operations::All,
        policy_revision: PolicyRevision::new(1),
        issued_at: Timestamp::from_seconds(1_000),
        expires_at: Timestamp::from_seconds(2_000),
    }
}

fn scopes(claims: &Claims) -> Vec<RevocationScope> {
    vec![
        RevocationScope::Token(claims.token.clone()),
        RevocationScope::AgentOfInstance(claims.instance.clone()),
        RevocationScope::Instance(claims.instance.clone()),
        RevocationScope::Sandbox(claims.sandbox.clone()),
        RevocationScope::Conversation(claims.conversation.clone()),
        RevocationScope::User(claims.user.clone()),
        RevocationScope::WholeTenant,
        RevocationScope::SessionsBefore(Timestamp::from_micros(1_000_000_001)),
    ]
}

fn other_tenant() -> TenantId {
    TenantId::parse("tenant", "other").expect("valid")
}

#[test]
fn each_scope_matches_its_own_tokens_and_no_other_tenants() {
    let agent = claims(Audience::Agent, 1);
    for scope in scopes(&agent) {
        let mut set = RevocationSet::new();
        let target = RevocationTarget::sessions(agent.tenant.clone(), scope.clone());
        set.apply(1, &target).expect("the first");
        assert!(target.matches(&agent) && set.matches(&agent), "{scope:?}");
        let foreign = Claims {
            tenant: other_tenant(),
            ..agent.clone()
        };
        assert!(
            !target.matches(&foreign) && !set.matches(&foreign),
            "{scope:?}"
        );
    }
}

#[test]
fn revoking_the_agent_leaves_the_daemon_to_sync() {
    let daemon = claims(Audience::Daemon, 1);
    let target = RevocationTarget::sessions(
        daemon.tenant.clone(),
        RevocationScope::AgentOfInstance(daemon.instance.clone()),
    );
    let mut set = RevocationSet::new();
    set.apply(1, &target).expect("the first");
    assert!(!set.matches(&daemon) && !target.matches(&daemon));
}

#[test]
fn a_session_that_begins_at_the_instant_is_not_before_it() {
    let agent = claims(Audience::Agent, 1);
    let at = |micros| {
        RevocationTarget::sessions(
            agent.tenant.clone(),
            RevocationScope::SessionsBefore(Timestamp::from_micros(micros)),
        )
    };
    assert!(!at(1_000_000_000).matches(&agent));
    assert!(at(1_000_000_001).matches(&agent));
    // A later and earlier instant never takes back what a later one revoked.
    let mut set = RevocationSet::new();
    set.apply(1, &at(1_000_000_001)).expect("the first");
    set.apply(2, &at(5)).expect("the second");
    assert!(set.matches(&agent));
}

#[test]
fn a_gap_or_a_repetition_changes_nothing() {
    let agent = claims(Audience::Agent, 1);
    let target = RevocationTarget::sessions(agent.tenant.clone(), RevocationScope::WholeTenant);
    let mut set = RevocationSet::new();
    for wrong in [0, 2, -1, i64::MAX] {
        assert_eq!(
            set.apply(wrong, &target),
            Err(FeedGap {
                head: 0,
                found: wrong
            })
        );
    }
    assert!(!set.matches(&agent) && set.head() == 0);
}

#[test]
fn the_running_hash_tells_order_and_content() {
    let agent = claims(Audience::Agent, 1);
    let one = RevocationTarget::sessions(agent.tenant.clone(), RevocationScope::WholeTenant);
    let two = RevocationTarget::ApiKey(ApiKeyId::random(&mut StdRng::seed_from_u64(2)));
    let fold = |targets: &[&RevocationTarget]| {
        let mut set = RevocationSet::new();
        for (index, target) in targets.iter().enumerate() {
            set.apply(i64::try_from(index).expect("few") + 1, target)
                .expect("in order");
        }
        set
    };
    let set = fold(&[&one, &two]);
    assert!(fold(&[&one, &two]).agrees_with(set.head(), &set.running_hash()));
    assert!(!fold(&[&two, &one]).agrees_with(set.head(), &set.running_hash()));
    assert!(!fold(&[&one]).agrees_with(set.head(), &set.running_hash()));
}

#[test]
fn a_target_survives_the_wire_and_the_row() {
    let agent = claims(Audience::Agent, 3);
    let mut targets: Vec<RevocationTarget> = scopes(&agent)
        .into_iter()
        .map(|scope| RevocationTarget::sessions(agent.tenant.clone(), scope))
        .collect();
    targets.push(RevocationTarget::ApiKey(ApiKeyId::random(
        &mut StdRng::seed_from_u64(2),
    )));
    for target in targets {
        assert_eq!(
            RevocationTarget::from_wire("target", target.to_wire()),
            Ok(target.clone())
        );
        let (kind, tenant, value) = target.to_parts();
        assert_eq!(
            RevocationTarget::from_parts(kind, tenant, &value),
            Ok(target.clone())
        );
    }
}

#[test]
fn a_target_without_scope_or_tenant_is_refused_by_field() {
    use sandgate_api::token::v1 as pb;
    let read = |tenant: &str, scope| {
        let wire = pb::RevocationTarget {
            tenant: tenant.to_owned(),
            scope,
        };
        RevocationTarget::from_wire("target", wire)
            .expect_err("refused")
            .field()
            .to_owned()
    };
    use pb::revocation_target::Scope;
    assert_eq!(read("acme", None), "target.scope");
    assert_eq!(read("", Some(Scope::WholeTenant(true))), "target.tenant");
    assert_eq!(
        read("acme", Some(Scope::WholeTenant(false))),
        "target.whole_tenant"
    );
    assert_eq!(
        read("acme", Some(Scope::InstanceId("x".to_owned()))),
        "target.instance_id"
    );
    let key = ApiKeyId::random(&mut StdRng::seed_from_u64(2));
    assert_eq!(
        read("acme", Some(Scope::ApiKeyId(key.as_str().to_owned()))),
        "target.tenant"
    );
}
