//! What the service decides is on record: in its own log before the answer, and with the collector soon after.

mod harness;

use std::time::Duration;

use harness::{Home, Token, acting, mint_request, person, refused};
use sandgate_api::audit::v1::{Decision, Record};
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_audit::Backlog;
use sandgate_rpc::{Role, Service};
use sandgate_token::ServeError;
use tonic::Code;

/// What the log of a home holds that nobody has collected.
fn log_of(home: &Home) -> Vec<Record> {
    let folder = home.path("audit");
    let mut backlog = Backlog::open(&folder).expect("a folder");
    let mut records = Vec::new();
    while let Some(batch) = backlog.next(1_000).expect("readable") {
        let last = batch.records.last().expect("never empty").sequence;
        backlog.acknowledge(&batch.writer, last).expect("noted");
        records.extend(batch.records);
    }
    records
}

fn find<'a>(records: &'a [Record], action: &str) -> &'a Record {
    let found = records.iter().find(|record| record.action == action);
    found.unwrap_or_else(|| panic!("{action} in {records:?}"))
}

#[tokio::test]
async fn what_init_makes_is_on_record_and_is_collected_once_the_service_runs() {
    let token = Token::start().await;
    for action in [
        "init/MakeSigningKey",
        "init/MakeRoot",
        "init/MakeTenant",
        "init/MakeApiKey",
    ] {
        let record = token.collector.has(action, Decision::Allowed).await;
        assert_eq!(
            (record.tenant.as_str(), record.principal.as_str()),
            ("default", "token")
        );
    }
}

#[tokio::test]
async fn a_mint_is_on_record_with_its_sandbox_and_a_refused_one_with_its_reason() {
    let token = Token::start().await;
    let request = mint_request(&token.home.clock);
    token.mint(request.clone()).await.expect("minted");
    let record = token
        .collector
        .has(
            "sandgate.token.v1.TokenService/MintSession",
            Decision::Allowed,
        )
        .await;
    assert_eq!(record.tenant, "default");
    assert_eq!(record.sandbox_id, request.sandbox_id);
    assert_eq!(record.principal, "orchestrator");
    assert!(!record.request_id.is_empty());

    token
        .revoke("default", Scope::InstanceId(request.instance_id.clone()))
        .await;
    token
        .mint(request.clone())
        .await
        .expect_err("it is revoked");
    let record = token
        .collector
        .has(
            "sandgate.token.v1.TokenService/MintSession",
            Decision::Refused,
        )
        .await;
    assert_eq!(record.reason, "SESSION_REVOKED");
    assert_eq!(record.sandbox_id, request.sandbox_id);
}

#[tokio::test]
async fn a_refusal_is_in_the_log_before_it_is_answered() {
    let home = Home::initialized().await;
    let settings = home.config();
    let token = Token::spawn(home, settings);
    token.ready().await;
    let mut request = mint_request(&token.home.clock);
    request.tenant = "nobody".to_owned();
    token.mint(request).await.expect_err("no such tenant");
    // Read from the disk at once, whatever was shipped meanwhile.
    let records = [log_of(&token.home), token.collector.all()].concat();
    let record = find(&records, "sandgate.token.v1.TokenService/MintSession");
    assert_eq!(record.decision(), Decision::Refused);
    assert_eq!(record.reason, "TENANT_UNKNOWN");
}

#[tokio::test]
async fn a_refused_renewal_is_on_record_under_its_session() {
    let token = Token::start().await;
    let request = mint_request(&token.home.clock);
    let pair = token.minted(request.clone()).await;
    token.home.clock.advance(Duration::from_secs(60));
    token.renew(&pair.daemon_token).await.expect("renewed");
    let renewed = token
        .collector
        .has(
            "sandgate.token.v1.TokenService/RenewSession",
            Decision::Allowed,
        )
        .await;
    assert_eq!(renewed.principal, request.session_id);
    token
        .revoke("default", Scope::InstanceId(request.instance_id.clone()))
        .await;
    token.renew(&pair.daemon_token).await.expect_err("revoked");
    let record = token
        .collector
        .has(
            "sandgate.token.v1.TokenService/RenewSession",
            Decision::Refused,
        )
        .await;
    assert_eq!(record.reason, "SESSION_REVOKED");
    assert_eq!(record.principal, request.session_id);
    assert_eq!(record.sandbox_id, request.sandbox_id);
}

#[tokio::test]
async fn revocations_tenants_and_api_keys_are_on_record_by_whom() {
    let token = Token::start().await;
    let sandbox_id = mint_request(&token.home.clock).sandbox_id;
    token
        .revoke("default", Scope::SandboxId(sandbox_id.clone()))
        .await;
    let record = token
        .collector
        .has(
            "sandgate.token.v1.RevocationService/Revoke",
            Decision::Allowed,
        )
        .await;
    assert_eq!(record.principal, "orchestrator");
    assert_eq!(record.sandbox_id, sandbox_id);

    let admin = person("default", &[Role::Admin]);
    let request = acting(
        &admin,
        pb::CreateTenantRequest {
            tenant: "acme".to_owned(),
            granted_operations: vec!["read".to_owned()],
            request_id: "r".to_owned(),
        },
    );
    token
        .tenants()
        .create_tenant(request)
        .await
        .expect("created");
    let record = token
        .collector
        .has(
            "sandgate.token.v1.TenantService/CreateTenant",
            Decision::Allowed,
        )
        .await;
    assert_eq!(record.tenant, "acme");

    let wanted = pb::CreateApiKeyRequest {
        tenant: "acme".to_owned(),
        roles: vec![Role::Caller.into()],
        ..Default::default()
    };
    let created = token
        .api_keys()
        .create_api_key(acting(&admin, wanted.clone()))
        .await
        .expect("created")
        .into_inner();
    let record = token
        .collector
        .has(
            "sandgate.token.v1.ApiKeyService/CreateApiKey",
            Decision::Allowed,
        )
        .await;
    assert_eq!(record.tenant, "acme");
    let revoke = pb::RevokeApiKeyRequest {
        api_key_id: created.api_key.expect("a key").api_key_id,
    };
    token
        .api_keys()
        .revoke_api_key(acting(&admin, revoke))
        .await
        .expect("revoked");
    token
        .collector
        .has(
            "sandgate.token.v1.ApiKeyService/RevokeApiKey",
            Decision::Allowed,
        )
        .await;

    let other = person("default", &[Role::Operator]);
    let refusal = token
        .api_keys()
        .create_api_key(acting(&other, wanted))
        .await
        .expect_err("not their tenant");
    assert_eq!(refusal.code(), Code::PermissionDenied);
    let record = token
        .collector
        .has(
            "sandgate.token.v1.ApiKeyService/CreateApiKey",
            Decision::Refused,
        )
        .await;
    assert_eq!(record.reason, "TENANT_NOT_YOURS");
    // No secret is in any of it.
    let all = format!("{:?}", token.collector.all());
    assert!(!all.contains(&created.secret));
}

#[tokio::test]
async fn a_wrong_api_key_is_on_record() {
    let token = Token::start().await;
    let request = pb::AuthenticateApiKeyRequest {
        secret: "sgk_wrong".to_owned(),
    };
    assert_eq!(
        refused(token.api_keys().authenticate_api_key(request).await),
        (Code::Unauthenticated, "API_KEY_INVALID".to_owned())
    );
    let record = token
        .collector
        .has(
            "sandgate.token.v1.ApiKeyService/AuthenticateApiKey",
            Decision::Refused,
        )
        .await;
    assert_eq!(record.principal, "auth-gateway");
}

#[tokio::test]
async fn a_start_with_a_wrong_master_key_is_on_record() {
    let home = Home::initialized().await;
    let file = home.path("config/master-key");
    std::fs::write(&file, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").expect("write");
    let settings = home.config();
    let mut token = Token::spawn(home, settings);
    assert!(matches!(token.ended().await, Err(ServeError::MasterKey(_))));
    let records = [log_of(&token.home), token.collector.all()].concat();
    assert_eq!(
        find(&records, "start/OpenKeys").reason,
        "MASTER_KEY_REFUSED"
    );

    std::fs::write(&file, sandgate_token::gen_secret().expect("randomness")).expect("write");
    let settings = token.home.config();
    let mut token = Token::spawn(token.home, settings);
    assert!(matches!(token.ended().await, Err(ServeError::Load(_))));
    let records = [log_of(&token.home), token.collector.all()].concat();
    let reasons: Vec<&str> = records
        .iter()
        .filter(|record| record.action == "start/OpenKeys")
        .map(|record| record.reason.as_str())
        .collect();
    assert!(reasons.contains(&"SIGNING_KEY_REFUSED"), "{reasons:?}");
}

#[tokio::test]
async fn a_service_that_cannot_keep_its_log_does_not_start() {
    let home = Home::initialized().await;
    let mut settings = home.config();
    // A file is where the folder should be.
    settings.audit_dir = home.path("api-key");
    let mut token = Token::spawn(home, settings);
    assert!(matches!(token.ended().await, Err(ServeError::Audit(_))));
}

#[tokio::test]
async fn a_service_that_may_not_revoke_is_refused_and_on_record() {
    let token = Token::start().await;
    let status = token
        .revocations(Service::StorageSync)
        .revoke(harness::revocation(
            "default",
            Scope::User("ann".to_owned()),
        ))
        .await
        .expect_err("not its call");
    assert_eq!(status.code(), Code::PermissionDenied);
    let records = [log_of(&token.home), token.collector.all()].concat();
    let record = find(&records, "sandgate.token.v1.RevocationService/Revoke");
    assert_eq!(record.decision(), Decision::Refused);
    assert_eq!(record.reason, "NOT_ALLOWED");
    assert_eq!(record.principal, "storage-sync");
}
