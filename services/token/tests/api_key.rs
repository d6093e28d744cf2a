//! ApiKeyService and TenantService, through the wire.

mod harness;

use std::time::Duration;

use harness::{Token, acting, fields, person, refused};
use sandgate_api::token::v1 as pb;
use sandgate_rpc::{Caller, Role, Service};
use tonic::{Code, Response, Status};

fn wanted(tenant: &str, roles: &[Role]) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest {
        tenant: tenant.to_owned(),
        user: "ann".to_owned(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        may_name_users: false,
        description: "a test's".to_owned(),
        lifetime: None,
    }
}

async fn create(
    token: &Token,
    caller: &Caller,
    request: pb::CreateApiKeyRequest,
) -> Result<pb::CreateApiKeyResponse, Status> {
    token
        .api_keys()
        .create_api_key(acting(caller, request))
        .await
        .map(Response::into_inner)
}

async fn authenticate(token: &Token, secret: &str) -> Result<pb::ApiKey, Status> {
    let request = pb::AuthenticateApiKeyRequest {
        secret: secret.to_owned(),
    };
    let answer = token.api_keys().authenticate_api_key(request).await?;
    Ok(answer.into_inner().api_key.expect("a key"))
}

async fn revoke(
    token: &Token,
    caller: &Caller,
    id: &str,
) -> Result<pb::RevokeApiKeyResponse, Status> {
    let request = acting(
        caller,
        pb::RevokeApiKeyRequest {
            api_key_id: id.to_owned(),
        },
    );
    token
        .api_keys()
        .revoke_api_key(request)
        .await
        .map(Response::into_inner)
}

async fn add_tenant(token: &Token, name: &str) {
    let request = pb::CreateTenantRequest {
        tenant: name.to_owned(),
        granted_operations: vec!["*".to_owned()],
        request_id: name.to_owned(),
    };
    let admin = person("default", &[Role::Admin]);
    token
        .tenants()
        .create_tenant(acting(&admin, request))
        .await
        .expect("a tenant");
}

#[tokio::test]
async fn a_key_is_shown_once_stands_for_its_user_and_dies_when_revoked() {
    let token = Token::start().await;
    let operator = person("default", &[Role::Caller, Role::Operator]);
    let made = create(&token, &operator, wanted("default", &[Role::Caller]))
        .await
        .expect("a key");
    let kept = made.api_key.expect("a key");
    assert!(
        made.secret
            .starts_with(&format!("sgk_{}_", kept.api_key_id))
    );
    assert_eq!(
        authenticate(&token, &made.secret).await.expect("good"),
        kept
    );
    let first = revoke(&token, &operator, &kept.api_key_id)
        .await
        .expect("revoked");
    token.home.clock.advance(Duration::from_secs(60));
    assert_eq!(
        revoke(&token, &operator, &kept.api_key_id)
            .await
            .expect("again"),
        first
    );
    assert_eq!(
        refused(authenticate(&token, &made.secret).await).0,
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn unknown_wrong_and_revoked_keys_are_refused_in_the_same_words() {
    let token = Token::start().await;
    let operator = person("default", &[Role::Operator, Role::Caller]);
    let made = create(&token, &operator, wanted("default", &[Role::Caller]))
        .await
        .expect("a key");
    let id = made.api_key.expect("a key").api_key_id;
    let wrong = format!("sgk_{id}_{}", "a".repeat(43));
    let unknown = wrong.replace(&id, &format!("k{}", "a".repeat(25)));
    revoke(&token, &operator, &id).await.expect("revoked");
    let mut seen = Vec::new();
    for text in ["", "nonsense", &wrong, &unknown, &made.secret] {
        let status = authenticate(&token, text).await.expect_err("refused");
        seen.push((
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
        ));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    assert_eq!(seen[0].0, Code::Unauthenticated);
}

#[tokio::test]
async fn the_first_key_of_init_is_good_for_everything() {
    let token = Token::start().await;
    let text = std::fs::read_to_string(token.home.path("api-key")).expect("the file");
    let key = authenticate(&token, text.trim()).await.expect("good");
    assert_eq!(
        (key.tenant.as_str(), key.user.as_str()),
        ("default", "local")
    );
    let roles: Vec<Role> = key.roles().collect();
    assert_eq!(roles, [Role::Caller, Role::Operator, Role::Admin]);
}

#[tokio::test]
async fn an_operator_is_bound_to_their_tenant_and_roles() {
    let token = Token::start().await;
    add_tenant(&token, "acme").await;
    let operator = person("default", &[Role::Operator]);
    let foreign = refused(create(&token, &operator, wanted("acme", &[Role::Operator])).await);
    assert_eq!(
        foreign,
        (Code::PermissionDenied, "TENANT_NOT_YOURS".to_owned())
    );
    let absent = refused(create(&token, &operator, wanted("nobody", &[Role::Operator])).await);
    assert_eq!(
        absent, foreign,
        "what is not theirs looks like what is not there"
    );
    let more = refused(create(&token, &operator, wanted("default", &[Role::Admin])).await);
    assert_eq!(more, (Code::PermissionDenied, "ROLE_NOT_HELD".to_owned()));
    let admin = person("default", &[Role::Admin]);
    let made = create(&token, &admin, wanted("acme", &[Role::Caller]))
        .await
        .expect("a key");
    let id = made.api_key.expect("a key").api_key_id;
    let foreign = refused(revoke(&token, &operator, &id).await);
    assert_eq!(foreign, (Code::NotFound, "API_KEY_UNKNOWN".to_owned()));
    assert!(authenticate(&token, &made.secret).await.is_ok());
    let nobody = refused(create(&token, &admin, wanted("nobody", &[Role::Caller])).await);
    assert_eq!(nobody, (Code::NotFound, "TENANT_UNKNOWN".to_owned()));
}

#[tokio::test]
async fn a_key_that_contradicts_itself_is_refused_by_field() {
    let token = Token::start().await;
    let admin = person("default", &[Role::Admin]);
    let request = pb::CreateApiKeyRequest {
        may_name_users: true,
        description: "line\nbreak".to_owned(),
        ..wanted("default", &[Role::Daemon])
    };
    let named = fields(create(&token, &admin, request).await);
    assert_eq!(named, ["roles[0]", "may_name_users", "description"]);
    let request = pb::CreateApiKeyRequest {
        user: "../x".to_owned(),
        roles: vec![99],
        ..wanted("", &[])
    };
    assert_eq!(
        fields(create(&token, &admin, request).await),
        ["tenant", "user", "roles[0]"]
    );
}

#[tokio::test]
async fn keys_are_listed_newest_first_in_pages_bound_to_their_reader() {
    let token = Token::start().await;
    let operator = person("default", &[Role::Operator]);
    let mut made = Vec::new();
    for _ in 0..3 {
        token.home.clock.advance(Duration::from_secs(1));
        let key = create(&token, &operator, wanted("default", &[Role::Operator]))
            .await
            .expect("a key");
        made.push(key.api_key.expect("a key").api_key_id);
    }
    let list = |caller: &Caller, page_size: i32, page_token: &str| {
        let message = pb::ListApiKeysRequest {
            tenant: String::new(),
            page_size,
            page_token: page_token.to_owned(),
        };
        let request = acting(caller, message);
        let mut client = token.api_keys();
        async move {
            client
                .list_api_keys(request)
                .await
                .map(Response::into_inner)
        }
    };
    let first = list(&operator, 2, "").await.expect("a page");
    let second = list(&operator, 2, &first.next_page_token)
        .await
        .expect("a page");
    assert_eq!(second.next_page_token, "");
    let ids: Vec<String> = first
        .api_keys
        .into_iter()
        .chain(second.api_keys)
        .map(|key| key.api_key_id)
        .collect();
    made.reverse();
    // The last one is the first key of init.
    assert_eq!(ids[..3], made[..]);
    assert_eq!(ids.len(), 4);
    let other = person("default", &[Role::Operator]);
    assert_eq!(
        fields(list(&other, 2, &first.next_page_token).await),
        ["page_token"]
    );
    assert_eq!(fields(list(&operator, 2, "nonsense").await), ["page_token"]);
    assert_eq!(fields(list(&operator, -1, "").await), ["page_size"]);
}

#[tokio::test]
async fn tenants_are_created_once_and_a_request_id_names_one_request() {
    let token = Token::start().await;
    let admin = person("default", &[Role::Admin]);
    let ask = |name: &str, operations: &[&str], id: &str| {
        let request = acting(
            &admin,
            pb::CreateTenantRequest {
                tenant: name.to_owned(),
                granted_operations: operations.iter().map(|name| (*name).to_owned()).collect(),
                request_id: id.to_owned(),
            },
        );
        let mut client = token.tenants();
        async move {
            client
                .create_tenant(request)
                .await
                .map(Response::into_inner)
        }
    };
    let first = ask("acme", &["a"], "r1").await.expect("created");
    token.home.clock.advance(Duration::from_secs(1));
    assert_eq!(ask("acme", &["a"], "r1").await.expect("the same"), first);
    assert_eq!(fields(ask("other", &["a"], "r1").await), ["request_id"]);
    let differs = refused(ask("acme", &["b"], "r2").await);
    assert_eq!(differs, (Code::AlreadyExists, "TENANT_EXISTS".to_owned()));
    let wrong = fields(ask("../x", &["a", "*"], "").await);
    assert_eq!(wrong, ["tenant", "granted_operations[1]", "request_id"]);
    let page = |size, after: &str| {
        let request = acting(
            &admin,
            pb::ListTenantsRequest {
                page_size: size,
                page_token: after.to_owned(),
            },
        );
        let mut client = token.tenants();
        async move { client.list_tenants(request).await.map(Response::into_inner) }
    };
    let one = page(1, "").await.expect("a page");
    let two = page(1, &one.next_page_token).await.expect("a page");
    let names: Vec<String> = one
        .tenants
        .into_iter()
        .chain(two.tenants)
        .map(|tenant| tenant.tenant)
        .collect();
    assert_eq!(
        (names, two.next_page_token.as_str()),
        (vec!["acme".to_owned(), "default".to_owned()], "")
    );
}

#[tokio::test]
async fn administration_is_for_administrators_and_authentication_for_the_gate() {
    let token = Token::start().await;
    let request = pb::ListTenantsRequest {
        page_size: 0,
        page_token: String::new(),
    };
    let operator = person("default", &[Role::Operator]);
    let refusal = refused(
        token
            .tenants()
            .list_tenants(acting(&operator, request))
            .await,
    );
    assert_eq!(refusal.0, Code::PermissionDenied);
    let request = pb::AuthenticateApiKeyRequest {
        secret: "x".to_owned(),
    };
    let mut orchestrator =
        pb::api_key_service_client::ApiKeyServiceClient::new(token.service(Service::Orchestrator));
    assert_eq!(
        refused(orchestrator.authenticate_api_key(request).await).0,
        Code::PermissionDenied
    );
}
