//! Which session tokens are good on the sandbox listener, and which are not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sandgate_session::{Claims, RevocationScope, RevocationTarget};
use sandgate_types::{Generation, PolicyRevision};

use crate::support::upstream::{self, policy};
use crate::support::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_good_here_are_refused() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let other = world.sandbox("acme", "bob").await;
    let sign = |change: &dyn Fn(&mut Claims)| {
        let mut claims = sandbox.claims.clone();
        change(&mut claims);
        world.token.sign(&claims)
    };
    let hour = Duration::from_secs(3600);
    let good = world.agent(&sandbox);
    let mut tampered = good.clone();
    tampered.replace_range(tampered.len() - 8.., "AAAAAAAA");
    for (token, reason) in [
        (String::new(), "TOKEN_MISSING"),
        (tampered, "TOKEN_SIGNATURE_INVALID"),
        (
            world.token.unsigned(&sandbox.claims),
            "TOKEN_ALGORITHM_REFUSED",
        ),
        (
            world.token.signed_by_the_public_key(&sandbox.claims),
            "TOKEN_ALGORITHM_REFUSED",
        ),
        (
            world.token.sign_as("k2", &sandbox.claims),
            "TOKEN_KEY_UNKNOWN",
        ),
        (world.agent(&other), "TOKEN_INSTANCE_MISMATCH"),
        (world.daemon(&sandbox), "TOKEN_AUDIENCE_MISMATCH"),
        (
            sign(&|claims| claims.generation = Generation::FIRST.next()),
            "TOKEN_GENERATION_STALE",
        ),
        (
            sign(&|claims| {
                claims.issued_at = claims.issued_at.plus(hour);
                claims.expires_at = claims.expires_at.plus(hour);
            }),
            "TOKEN_NOT_YET_VALID",
        ),
        (
            sign(&|claims| {
                claims.issued_at = claims.issued_at.minus(hour);
                claims.session_start = claims.issued_at;
                claims.session_end = claims.session_start.plus(hour * 2);
                claims.expires_at = claims.issued_at.plus(hour / 2);
            }),
            "TOKEN_EXPIRED",
        ),
    ] {
        let answer = sandbox.keeper.get("/r/dict/x", &token).await;
        assert_eq!(answer.http, 401, "{reason}: {answer:?}");
        assert_eq!(answer.json()["reason"], reason);
        world.recorded("unknown", reason).await;
    }
    assert_eq!(sandbox.keeper.get("/r/dict/x", &good).await.http, 200);
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_still_expires() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    assert_eq!(sandbox.keeper.get("/r/dict/x", &token).await.http, 200);
    world.clock.advance(Duration::from_secs(3600 + 31));
    assert_eq!(sandbox.keeper.get("/r/dict/x", &token).await.http, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_an_instance_that_is_not_live_gets_nothing() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let claims = world.claims("acme", "ann");
    let keeper = world.connect(&claims.instance).await;
    let answer = keeper.get("/r/dict/x", &world.token.sign(&claims)).await;
    assert_eq!(
        (answer.http, &answer.json()["reason"]),
        (409, &"INSTANCE_NOT_LIVE".into())
    );
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_as_such_however_often_it_was_good() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    assert_eq!(sandbox.keeper.get("/r/dict/x", &token).await.http, 200);
    let scope = RevocationScope::Sandbox(sandbox.claims.sandbox.clone());
    let target = RevocationTarget::sessions(sandbox.claims.tenant.clone(), scope);
    world.token.revoke_and_answer(&target).await;
    let answer = sandbox.keeper.get("/r/dict/x", &token).await;
    assert_eq!(
        (answer.http, &answer.json()["reason"]),
        (401, &"TOKEN_REVOKED".into())
    );
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_under_a_policy_revision_that_the_gate_does_not_know_is_refused() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let renew = "/sandgate.token.v1.TokenService/RenewSession";
    let current = PolicyRevision::CURRENT.get();
    for number in [current - 1, current + 1] {
        let mut claims = sandbox.claims.clone();
        claims.policy_revision = PolicyRevision::new(number);
        let token = world.token.sign(&claims);
        // The second time the token is known, and refused all the same.
        for _ in 0..2 {
            let answer = sandbox.keeper.get("/r/dict/x", &token).await;
            assert_eq!(
                (answer.http, &answer.json()["reason"]),
                (403, &"POLICY_REVISION_UNKNOWN".into())
            );
        }
        claims.audience = sandgate_session::Audience::Daemon;
        let daemon = world.token.sign(&claims);
        assert_eq!(sandbox.keeper.grpc(renew, &daemon).await.status, 7);
    }
    world.recorded("unknown", "POLICY_REVISION_UNKNOWN").await;
    assert!(world.token.renewals().is_empty());
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_a_sandbox_that_works() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let (old, new) = (
        world.token.sign(&sandbox.claims),
        world.token.sign_by_next(&sandbox.claims),
    );
    let answers = async |token: &str| sandbox.keeper.get("/r/dict/x", token).await.http;
    assert_eq!(answers(&old).await, 200);
    assert_eq!(answers(&new).await, 401, "it is not published");
    world.token.publish_next();
    until(async || answers(&new).await == 200).await;
    assert_eq!(answers(&old).await, 200, "both are");
    world.token.withdraw("k1");
    // The gate reads the list again when a token names a key that is not in it.
    let unknown = world.token.sign_as("k3", &sandbox.claims);
    until(async || {
        assert_eq!(answers(&unknown).await, 401);
        answers(&old).await == 401
    })
    .await;
    assert_eq!(answers(&new).await, 200);
}
