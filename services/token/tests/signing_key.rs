//! SigningKeyService, and keys that rotate by themselves, through the wire.

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{Home, Token, acting, mint_request, person, refused};
use sandgate_api::audit::v1::Decision;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::SigningKeyState::{Active, Retiring, Upcoming};
use sandgate_rpc::{Role, Service};
use sandgate_session::{Audience, TokenRefusal};
use sandgate_types::Clock as _;
use tonic::Code;

/// How long a key is published before it signs.
const LEAD: Duration = Duration::from_secs(15 * 60);
/// How long a key is published after it has signed: a token's longest life, and what clocks may differ.
const RETIRING: Duration = Duration::from_secs(3_660);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn list(token: &Token) -> Vec<pb::SigningKey> {
    let request = acting(
        &person("default", &[Role::Admin]),
        pb::ListSigningKeysRequest {},
    );
    let answer = token.signing_keys().list_signing_keys(request).await;
    answer.expect("keys").into_inner().signing_keys
}

async fn rotate(token: &Token, algorithm: pb::SigningAlgorithm) -> Vec<pb::SigningKey> {
    let request = pb::RotateSigningKeyRequest {
        algorithm: algorithm.into(),
    };
    let request = acting(&person("default", &[Role::Admin]), request);
    let answer = token.signing_keys().rotate_signing_key(request).await;
    answer.expect("keys").into_inner().signing_keys
}

async fn retire(token: &Token, key_id: &str) -> Result<Vec<pb::SigningKey>, tonic::Status> {
    let request = pb::RetireSigningKeyRequest {
        key_id: key_id.to_owned(),
    };
    let request = acting(&person("default", &[Role::Admin]), request);
    let answer = token.signing_keys().retire_signing_key(request).await?;
    Ok(answer.into_inner().signing_keys)
}

fn states(keys: &[pb::SigningKey]) -> Vec<pb::SigningKeyState> {
    keys.iter().map(pb::SigningKey::state).collect()
}

/// The ids that gates read.
async fn published(token: &Token) -> BTreeSet<String> {
    let request = pb::GetJwksRequest {};
    let answer = token.tokens(Service::AuthGateway).get_jwks(request).await;
    let keys = answer.expect("keys").into_inner().keys;
    keys.into_iter().map(|key| key.kid).collect()
}

/// Waits until so many keys are published, as gates do: they ask again.
async fn published_are(token: &Token, count: usize) {
    let asking = async {
        let mut next = tokio::time::interval(Duration::from_millis(50));
        while published(token).await.len() != count {
            next.tick().await;
        }
    };
    tokio::time::timeout(harness::LIMIT, asking)
        .await
        .expect("in time");
}

/// An agent's token of a new session.
async fn minted(token: &Token) -> String {
    let request = mint_request(&token.home.clock);
    token.minted(request).await.agent_token
}

/// The `kid` by which a text is signed.
async fn kid(token: &Token, text: &str) -> String {
    let now = token.home.clock.now();
    let verified = token.verifier().await.verify(text, Audience::Agent, now);
    verified.expect("it verifies").kid
}

/// A service whose tokens live as long as any may.
async fn started(age: Duration) -> Token {
    let home = Home::initialized().await;
    let mut config = home.config();
    config.token_lifetime = Duration::from_secs(3_600);
    config.signing_key_age = age;
    let token = Token::spawn(home, config);
    token.ready().await;
    token
}

#[tokio::test]
async fn the_next_key_is_published_before_it_signs_and_the_last_one_until_its_tokens_are_dead() {
    let token = started(30 * DAY).await;
    let first = list(&token).await;
    assert_eq!(states(&first), [Active]);
    let keys = rotate(&token, pb::SigningAlgorithm::Unspecified).await;
    assert_eq!(states(&keys), [Active, Upcoming]);
    assert_eq!(keys[0], first[0]);
    assert_eq!(keys[1].algorithm(), first[0].algorithm());
    let ids: BTreeSet<String> = keys.iter().map(|key| key.key_id.clone()).collect();
    assert_eq!(published(&token).await, ids);
    // A repetition changes nothing.
    let again = rotate(&token, pb::SigningAlgorithm::Es256).await;
    assert_eq!(again, keys);

    assert_eq!(kid(&token, &minted(&token).await).await, keys[0].key_id);
    token.home.clock.advance(LEAD - Duration::from_secs(1));
    let last = minted(&token).await;
    assert_eq!(kid(&token, &last).await, keys[0].key_id);
    token.home.clock.advance(Duration::from_secs(1));
    let next = minted(&token).await;
    assert_eq!(kid(&token, &next).await, keys[1].key_id);
    assert_eq!(kid(&token, &last).await, keys[0].key_id, "it is good yet");
    let turned = list(&token).await;
    assert_eq!(states(&turned), [Retiring, Active]);
    assert!(turned[0].leaves_at.is_some() && turned[1].leaves_at.is_none());

    token.home.clock.advance(RETIRING - Duration::from_secs(1));
    assert_eq!(states(&list(&token).await), [Retiring, Active]);
    token.home.clock.advance(Duration::from_secs(1));
    published_are(&token, 1).await;
    let now = token.home.clock.now();
    let verifier = token.verifier().await;
    let refused = verifier.verify(&last, Audience::Agent, now);
    assert_eq!(refused.err(), Some(TokenRefusal::KeyUnknown));
}

#[tokio::test]
async fn a_key_rotates_at_its_age_by_itself_and_that_is_on_record() {
    let token = started(DAY).await;
    let first = list(&token).await.remove(0).key_id;
    token.home.clock.advance(DAY - LEAD);
    published_are(&token, 2).await;
    let keys = list(&token).await;
    assert_eq!(states(&keys), [Active, Upcoming]);
    token
        .collector
        .has("age/RotateSigningKey", Decision::Allowed)
        .await;
    token.home.clock.advance(LEAD + RETIRING);
    published_are(&token, 1).await;
    token
        .collector
        .has("age/RetireSigningKey", Decision::Allowed)
        .await;
    assert_ne!(list(&token).await[0].key_id, first);
    assert_eq!(states(&list(&token).await), [Active]);
}

#[tokio::test]
async fn another_algorithm_takes_over_by_rotation() {
    let token = started(30 * DAY).await;
    let keys = rotate(&token, pb::SigningAlgorithm::Es256).await;
    assert_eq!(keys[1].algorithm(), pb::SigningAlgorithm::Es256);
    token.home.clock.advance(LEAD);
    assert_eq!(kid(&token, &minted(&token).await).await, keys[1].key_id);
}

#[tokio::test]
async fn a_key_that_is_no_longer_trusted_leaves_at_once_with_all_that_it_signed() {
    let token = started(30 * DAY).await;
    let pair = token.minted(mint_request(&token.home.clock)).await;
    let key = list(&token).await.remove(0).key_id;
    let alone = (Code::FailedPrecondition, "SIGNING_KEY_ALONE".to_owned());
    assert_eq!(refused(retire(&token, &key).await), alone);
    let unknown = (Code::NotFound, "SIGNING_KEY_UNKNOWN".to_owned());
    assert_eq!(refused(retire(&token, "nobody").await), unknown);

    let claims = token.claims(&pair.daemon_token, Audience::Daemon).await;
    let next = rotate(&token, pb::SigningAlgorithm::Unspecified).await;
    let left = retire(&token, &key).await.expect("retired");
    assert_eq!(states(&left), [Active]);
    assert_eq!(left[0].key_id, next[1].key_id);
    assert_eq!(kid(&token, &minted(&token).await).await, left[0].key_id);
    assert!(!published(&token).await.contains(&key));
    let caller = harness::session_caller(&claims);
    let renewed = token.renew_as(&caller, Some(&pair.daemon_token)).await;
    let refusal = (Code::Unauthenticated, "SESSION_TOKEN_REFUSED".to_owned());
    assert_eq!(refused(renewed), refusal);
}

#[tokio::test]
async fn only_an_administrator_of_the_mesh_sees_and_changes_keys() {
    let token = Token::start().await;
    let operator = person("default", &[Role::Operator, Role::Caller]);
    let request = acting(&operator, pb::ListSigningKeysRequest {});
    let listed = token.signing_keys().list_signing_keys(request).await;
    assert_eq!(refused(listed).0, Code::PermissionDenied);
    let request = acting(&operator, pb::RotateSigningKeyRequest::default());
    let rotated = token.signing_keys().rotate_signing_key(request).await;
    assert_eq!(refused(rotated).0, Code::PermissionDenied);
    let request = acting(&operator, pb::RetireSigningKeyRequest::default());
    let retired = token.signing_keys().retire_signing_key(request).await;
    assert_eq!(refused(retired).0, Code::PermissionDenied);
    assert_eq!(states(&list(&token).await), [Active]);
}
