//! API keys that end by themselves or are followed by others, and grants that change, through the wire.

mod harness;

use std::time::Duration;

use harness::{LIMIT, Token, acting, fields, mint_request, person, refused};
use sandgate_api::audit::v1::Decision;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::watch_revocations_response::Event;
use sandgate_api::{duration_to, timestamp_from, timestamp_to};
use sandgate_rpc::{Caller, Role, Service};
use sandgate_session::Audience;
use sandgate_types::Clock as _;
use tonic::{Code, Response, Status};

const HOUR: Duration = Duration::from_secs(3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

fn operator() -> Caller {
    person("default", &[Role::Caller, Role::Operator])
}

async fn create(
    token: &Token,
    roles: &[Role],
    lifetime: Option<Duration>,
) -> Result<(pb::ApiKey, String), Status> {
    let request = pb::CreateApiKeyRequest {
        tenant: "default".to_owned(),
        user: "ann".to_owned(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        may_name_users: false,
        description: "a test's".to_owned(),
        lifetime: lifetime.map(duration_to),
    };
    let admin = person("default", &[Role::Admin]);
    let mut keys = token.api_keys();
    let made = keys
        .create_api_key(acting(&admin, request))
        .await?
        .into_inner();
    Ok((made.api_key.expect("a key"), made.secret))
}

async fn rotate(
    token: &Token,
    caller: &Caller,
    id: &str,
    overlap: Duration,
) -> Result<pb::RotateApiKeyResponse, Status> {
    let request = pb::RotateApiKeyRequest {
        api_key_id: id.to_owned(),
        overlap: Some(duration_to(overlap)),
    };
    let mut keys = token.api_keys();
    let rotated = keys.rotate_api_key(acting(caller, request)).await;
    rotated.map(Response::into_inner)
}

async fn authenticate(token: &Token, secret: &str) -> Result<pb::ApiKey, Status> {
    let request = pb::AuthenticateApiKeyRequest {
        secret: secret.to_owned(),
    };
    let answer = token.api_keys().authenticate_api_key(request).await?;
    Ok(answer.into_inner().api_key.expect("a key"))
}

/// Waits until gates hear that a key is revoked.
async fn gates_hear_of(token: &Token, id: &str) {
    let request = pb::WatchRevocationsRequest::default();
    let mut feed = token.revocations(Service::AuthGateway);
    let feed = feed.watch_revocations(request).await.expect("the feed");
    let mut feed = feed.into_inner();
    let is_it = |revocation: &pb::Revocation| {
        let scope = revocation
            .target
            .as_ref()
            .and_then(|target| target.scope.as_ref());
        scope == Some(&pb::revocation_target::Scope::ApiKeyId(id.to_owned()))
    };
    let heard = async {
        loop {
            let message = feed.message().await.expect("the feed").expect("it goes on");
            let told = match message.event.expect("an event") {
                Event::Revocation(revocation) => is_it(&revocation),
                Event::SnapshotBegin(_) | Event::SnapshotEnd(_) | Event::Heartbeat(_) => false,
            };
            if told {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, heard).await.expect("in time");
}

const INVALID: (Code, &str) = (Code::Unauthenticated, "API_KEY_INVALID");

fn is(refusal: (Code, String), expected: (Code, &str)) {
    assert_eq!((refusal.0, refusal.1.as_str()), expected);
}

#[tokio::test]
async fn a_key_that_was_made_for_an_hour_ends_and_is_revoked_everywhere() {
    let token = Token::start().await;
    let (key, secret) = create(&token, &[Role::Caller], Some(HOUR))
        .await
        .expect("a key");
    let end = timestamp_to(token.home.clock.now().plus(HOUR));
    assert_eq!(key.expires_at, Some(end));
    token.home.clock.advance(HOUR - Duration::from_secs(1));
    assert_eq!(authenticate(&token, &secret).await.expect("good"), key);
    token.home.clock.advance(Duration::from_secs(1));
    is(refused(authenticate(&token, &secret).await), INVALID);
    gates_hear_of(&token, &key.api_key_id).await;
    let record = token
        .collector
        .has("age/RevokeApiKey", Decision::Allowed)
        .await;
    assert_eq!(record.tenant, "default");
}

#[tokio::test]
async fn a_key_is_followed_by_another_and_is_good_beside_it_for_the_overlap() {
    let token = Token::start().await;
    let (before, secret) = create(&token, &[Role::Caller], None).await.expect("a key");
    let rotated = rotate(&token, &operator(), &before.api_key_id, HOUR)
        .await
        .expect("rotated");
    let after = rotated.api_key.expect("a key");
    let same = |key: &pb::ApiKey| (key.tenant.clone(), key.user.clone(), key.roles.clone());
    assert_eq!(same(&before), same(&after));
    assert_ne!(before.api_key_id, after.api_key_id);
    assert_eq!(after.expires_at, None);
    let end = timestamp_to(token.home.clock.now().plus(HOUR));
    assert_eq!(rotated.previous_expires_at, Some(end));
    authenticate(&token, &secret)
        .await
        .expect("good for an hour");
    authenticate(&token, &rotated.secret).await.expect("good");
    token.home.clock.advance(HOUR);
    is(refused(authenticate(&token, &secret).await), INVALID);
    authenticate(&token, &rotated.secret).await.expect("good");
    gates_hear_of(&token, &before.api_key_id).await;
    let again = rotate(&token, &operator(), &before.api_key_id, HOUR).await;
    is(refused(again), (Code::NotFound, "API_KEY_UNKNOWN"));
}

#[tokio::test]
async fn without_an_overlap_the_key_before_is_dead_with_the_answer() {
    let token = Token::start().await;
    let (before, secret) = create(&token, &[Role::Caller], Some(HOUR))
        .await
        .expect("a key");
    token.home.clock.advance(HOUR / 2);
    let rotated = rotate(&token, &operator(), &before.api_key_id, Duration::ZERO).await;
    let rotated = rotated.expect("rotated");
    is(refused(authenticate(&token, &secret).await), INVALID);
    gates_hear_of(&token, &before.api_key_id).await;
    let after = authenticate(&token, &rotated.secret).await.expect("good");
    let end = timestamp_to(token.home.clock.now().plus(HOUR));
    assert_eq!(
        after.expires_at,
        Some(end),
        "as long as the one before was made for"
    );
}

#[tokio::test]
async fn an_overlap_never_lengthens_a_life() {
    let token = Token::start().await;
    let (before, _) = create(&token, &[Role::Caller], Some(HOUR))
        .await
        .expect("a key");
    let rotated = rotate(&token, &operator(), &before.api_key_id, WEEK)
        .await
        .expect("rotated");
    assert_eq!(rotated.previous_expires_at, before.expires_at);
    let too_long = WEEK + Duration::from_secs(1);
    let id = rotated.api_key.expect("a key").api_key_id;
    let refused = rotate(&token, &operator(), &id, too_long).await;
    assert_eq!(fields(refused), ["overlap"]);
    for lifetime in [
        Duration::from_secs(59),
        Duration::from_secs(3_651 * 24 * 3_600),
    ] {
        let made = create(&token, &[Role::Caller], Some(lifetime)).await;
        assert_eq!(fields(made), ["lifetime"]);
    }
}

#[tokio::test]
async fn nobody_rotates_into_a_role_or_a_tenant_that_is_not_theirs() {
    let token = Token::start().await;
    let (admin, secret) = create(&token, &[Role::Admin], None).await.expect("a key");
    let taken = rotate(&token, &operator(), &admin.api_key_id, HOUR).await;
    is(refused(taken), (Code::PermissionDenied, "ROLE_NOT_HELD"));
    let stranger = person("other", &[Role::Caller, Role::Operator, Role::Admin]);
    let operator = Caller {
        roles: vec![Role::Operator, Role::Caller],
        ..stranger
    };
    let taken = rotate(&token, &operator, &admin.api_key_id, HOUR).await;
    is(refused(taken), (Code::NotFound, "API_KEY_UNKNOWN"));
    assert_eq!(
        authenticate(&token, &secret)
            .await
            .expect("as it was")
            .expires_at,
        None
    );
}

#[tokio::test]
async fn what_a_tenant_is_no_longer_granted_is_gone_with_the_next_tokens() {
    let token = Token::start().await;
    let pair = token.minted(mint_request(&token.home.clock)).await;
    let may = async |text: &str| {
        let claims = token.claims(text, Audience::Agent).await;
        (claims.may("read"), claims.may("write"))
    };
    assert_eq!(may(&pair.agent_token).await, (true, true));
    let admin = person("default", &[Role::Admin]);
    let update = async |tenant: &str, operations: &[&str]| {
        let request = pb::UpdateTenantRequest {
            tenant: tenant.to_owned(),
            granted_operations: operations.iter().map(|name| (*name).to_owned()).collect(),
        };
        token.tenants().update_tenant(acting(&admin, request)).await
    };
    let updated = update("default", &["read"])
        .await
        .expect("updated")
        .into_inner();
    let updated = updated.tenant.expect("a tenant");
    assert_eq!(updated.granted_operations, ["read"]);
    assert!(timestamp_from("created_at", &updated.created_at.expect("a time")).is_ok());
    let fresh = token.minted(mint_request(&token.home.clock)).await;
    assert_eq!(may(&fresh.agent_token).await, (true, false));
    let renewed = token.renew(&pair.daemon_token).await.expect("renewed");
    assert_eq!(may(&renewed.agent_token).await, (true, false));
    let unknown = update("nobody", &["read"]).await;
    is(refused(unknown), (Code::NotFound, "TENANT_UNKNOWN"));
    assert_eq!(
        fields(update("default", &["Not An Operation"]).await).len(),
        1
    );
}
