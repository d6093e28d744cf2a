//! A database that was restored from a backup has lost revocations: nothing that it makes valid again is.

mod harness;

use std::time::Duration;

use harness::{Home, LIMIT, Token, acting, mint_request, person, refused};
use sandgate_api::audit::v1::Decision;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_api::token::v1::watch_revocations_response::Event;
use sandgate_rpc::{Role, Service};
use sandgate_token::{Config, InitError, Initialized};
use tonic::Status;

/// An initialized home, and a service that notes the head of its feed.
async fn witnessed() -> (Token, Config) {
    let home = Home::initialized().await;
    let mut settings = home.config();
    settings.feed_head_file = Some(home.path("config/feed-head"));
    let token = Token::spawn(home, settings.clone());
    token.ready().await;
    (token, settings)
}

async fn ended(mut token: Token) -> Home {
    token.end();
    token.ended().await.expect("a clean end");
    token.home
}

fn backup(home: &Home) -> Vec<u8> {
    std::fs::read(home.path("token.db")).expect("a backup")
}

fn restore(home: &Home, backup: Vec<u8>) {
    for name in ["token.db-wal", "token.db-shm"] {
        drop(std::fs::remove_file(home.path(name)));
    }
    std::fs::write(home.path("token.db"), backup).expect("restore");
    home.clock.advance(Duration::from_secs(1));
}

async fn started(home: Home, settings: &Config) -> Token {
    let token = Token::spawn(home, settings.clone());
    token.ready().await;
    token
}

async fn authenticate(token: &Token, secret: &str) -> Result<pb::ApiKey, Status> {
    let request = pb::AuthenticateApiKeyRequest {
        secret: secret.to_owned(),
    };
    let answer = token.api_keys().authenticate_api_key(request).await?;
    Ok(answer.into_inner().api_key.expect("a key"))
}

async fn create_key(token: &Token) -> pb::CreateApiKeyResponse {
    let request = pb::CreateApiKeyRequest {
        tenant: "default".to_owned(),
        user: "ann".to_owned(),
        roles: vec![Role::Caller.into()],
        may_name_users: false,
        description: String::new(),
        lifetime: None,
    };
    let request = acting(&person("default", &[Role::Admin]), request);
    let created = token.api_keys().create_api_key(request).await;
    created.expect("a key").into_inner()
}

async fn revoke_key(token: &Token, id: &str) {
    let request = pb::RevokeApiKeyRequest {
        api_key_id: id.to_owned(),
    };
    let request = acting(&person("default", &[Role::Admin]), request);
    let revoked = token.api_keys().revoke_api_key(request).await;
    revoked.expect("revoked");
}

/// The first API key, as its file has it.
fn first_key(home: &Home) -> String {
    let text = std::fs::read_to_string(home.path("api-key")).expect("the key");
    text.trim().to_owned()
}

/// The API keys that a gate hears of.
async fn revoked_keys(token: &Token) -> Vec<String> {
    let mut stream = token
        .revocations(Service::AuthGateway)
        .watch_revocations(pb::WatchRevocationsRequest::default())
        .await
        .expect("a stream")
        .into_inner();
    let mut keys = Vec::new();
    loop {
        let message = tokio::time::timeout(LIMIT, stream.message()).await;
        let message = message.expect("in time").expect("no error");
        match message.and_then(|message| message.event).expect("an event") {
            Event::SnapshotEnd(_) => return keys,
            Event::Revocation(revocation) => match revocation.target.expect("a target").scope {
                Some(Scope::ApiKeyId(id)) => keys.push(id),
                _sessions => {}
            },
            Event::SnapshotBegin(_) | Event::Heartbeat(_) => {}
        }
    }
}

#[tokio::test]
async fn every_session_is_revoked_before_anything_is_served() {
    let home = Home::initialized().await;
    let (backup, mut settings) = (backup(&home), home.config());
    settings.feed_head_file = Some(home.path("config/feed-head"));
    let token = started(home, &settings).await;
    let pair = token.minted(mint_request(&token.home.clock)).await;
    token
        .revoke("default", Scope::User("somebody".to_owned()))
        .await;
    let home = ended(token).await;
    restore(&home, backup);
    let token = started(home, &settings).await;
    assert_eq!(
        refused(token.renew(&pair.daemon_token).await).1,
        "SESSION_REVOKED"
    );
    // A session that begins today is not concerned.
    assert!(token.mint(mint_request(&token.home.clock)).await.is_ok());
}

#[tokio::test]
async fn no_api_key_of_before_is_valid_and_gates_hear_of_each() {
    let (token, settings) = witnessed().await;
    let leaked = create_key(&token).await;
    let first = first_key(&token.home);
    let home = ended(token).await;
    let backup = backup(&home);
    let token = started(home, &settings).await;
    let leaked_id = leaked.api_key.expect("a key").api_key_id;
    revoke_key(&token, &leaked_id).await;
    let first_id = authenticate(&token, &first)
        .await
        .expect("valid")
        .api_key_id;
    let home = ended(token).await;
    restore(&home, backup);

    let token = started(home, &settings).await;
    for secret in [&leaked.secret, &first] {
        assert_eq!(
            refused(authenticate(&token, secret).await).1,
            "API_KEY_INVALID"
        );
    }
    let mut heard = revoked_keys(&token).await;
    let mut expected = [leaked_id, first_id];
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
    token
        .collector
        .has("start/RevokeAllApiKeys", Decision::Allowed)
        .await;
}

#[tokio::test]
async fn init_makes_a_new_first_key_once_the_old_ones_file_is_moved_away() {
    let (token, settings) = witnessed().await;
    let home = ended(token).await;
    let backup = backup(&home);
    let token = started(home, &settings).await;
    token
        .revoke("default", Scope::User("somebody".to_owned()))
        .await;
    let home = ended(token).await;
    restore(&home, backup);
    let home = ended(started(home, &settings).await).await;

    let old = first_key(&home);
    let error = home.init().await.expect_err("nobody has confirmed it");
    assert!(matches!(error, InitError::ApiKeysRevoked(_)), "{error}");
    assert_eq!(first_key(&home), old);

    std::fs::rename(home.path("api-key"), home.path("api-key.old")).expect("move");
    assert_eq!(home.init().await.expect("init"), Initialized::Begun);
    assert_eq!(home.init().await.expect("again"), Initialized::Unchanged);
    let new = first_key(&home);
    let token = started(home, &settings).await;
    let key = authenticate(&token, &new).await.expect("valid");
    assert!(key.roles.contains(&Role::Admin.into()));
    assert_eq!(
        refused(authenticate(&token, &old).await).1,
        "API_KEY_INVALID"
    );
}

#[tokio::test]
async fn a_first_key_that_was_revoked_by_hand_is_not_made_anew() {
    let token = Token::start().await;
    let first = first_key(&token.home);
    let id = authenticate(&token, &first)
        .await
        .expect("valid")
        .api_key_id;
    revoke_key(&token, &id).await;
    let home = ended(token).await;
    std::fs::remove_file(home.path("api-key")).expect("remove");
    assert_eq!(home.init().await.expect("init"), Initialized::Unchanged);
    assert!(!home.path("api-key").exists());
}
