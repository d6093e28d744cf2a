//! TokenService, through the wire.

mod harness;

use std::time::Duration;

use harness::{Token, acting, fields, mint_request, person, refused, revocation};
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_api::{duration_to, timestamp_to};
use sandgate_rpc::{Role, Service};
use sandgate_session::{Audience, Operations};
use sandgate_types::Clock as _;
use tonic::Code;

fn operations(names: &[&str]) -> Operations {
    Operations::parse("operations", names).expect("valid")
}

#[tokio::test]
async fn a_session_gets_two_tokens_and_a_ticket_for_its_instance() {
    let token = Token::start().await;
    let request = mint_request(&token.home.clock);
    let minted = token.mint(request.clone()).await.expect("minted");
    let pair = minted.tokens.expect("tokens");
    let agent = token.claims(&pair.agent_token, Audience::Agent).await;
    let daemon = token.claims(&pair.daemon_token, Audience::Daemon).await;
    for claims in [&agent, &daemon] {
        assert_eq!(claims.tenant.as_str(), "default");
        assert_eq!(claims.user.as_str(), "ann");
        assert_eq!(claims.session.as_str(), request.session_id);
        assert_eq!(claims.instance.as_str(), request.instance_id);
        assert_eq!(claims.generation.get(), 1);
        assert_eq!(claims.session_start, token.home.clock.now());
        assert_eq!(
            claims.expires_at.since(claims.issued_at),
            Duration::from_secs(900)
        );
    }
    assert_ne!(agent.token, daemon.token);
    assert!(agent.may("read") && !daemon.may("read"));
    let ticket = token
        .verifier()
        .await
        .verify_ticket(&minted.ticket, token.home.clock.now());
    let ticket = ticket.expect("a ticket");
    assert_eq!(ticket.instance, agent.instance);
    assert_eq!(ticket.session, agent.session);
    assert_eq!(
        ticket.expires_at.since(ticket.issued_at),
        Duration::from_secs(60)
    );
}

#[tokio::test]
async fn operations_are_what_template_tenant_and_request_allow() {
    let token = Token::start().await;
    let tenant = pb::CreateTenantRequest {
        tenant: "acme".to_owned(),
        granted_operations: vec!["read".to_owned(), "list".to_owned()],
        request_id: "r1".to_owned(),
    };
    let admin = person("default", &[Role::Admin]);
    token
        .tenants()
        .create_tenant(acting(&admin, tenant))
        .await
        .expect("a tenant");
    let named = |names: &[&str]| {
        Some(pb::Operations {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    for (requested, allowed) in [
        (None, &["read"][..]),
        (named(&[]), &[]),
        (named(&["read", "other"]), &["read"]),
        (named(&["write"]), &[]),
    ] {
        let mut request = mint_request(&token.home.clock);
        request.tenant = "acme".to_owned();
        request.requested_operations = requested;
        let pair = token.minted(request).await;
        let claims = token.claims(&pair.agent_token, Audience::Agent).await;
        assert_eq!(claims.agent_operations, operations(allowed));
    }
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let token = Token::start().await;
    let empty = fields(token.mint(pb::MintSessionRequest::default()).await);
    let expected = [
        "session_id",
        "tenant",
        "user",
        "conversation",
        "sandbox_id",
        "instance_id",
        "generation",
        "policy_revision",
        "session_start",
        "session_max",
    ];
    assert_eq!(empty, expected);
    for (max, wanted) in [
        (Duration::ZERO, "session_max"),
        (Duration::from_secs(86_401), "session_max"),
    ] {
        let mut request = mint_request(&token.home.clock);
        request.session_max = Some(duration_to(max));
        assert_eq!(fields(token.mint(request).await), [wanted]);
    }
    let mut future = mint_request(&token.home.clock);
    future.session_start = Some(timestamp_to(
        token.home.clock.now().plus(Duration::from_secs(31)),
    ));
    assert_eq!(fields(token.mint(future).await), ["session_start"]);
    let mut wrong = mint_request(&token.home.clock);
    wrong.template_operations = vec!["read".to_owned(), "UPPER".to_owned()];
    wrong.requested_operations = Some(pb::Operations {
        names: vec!["a".to_owned(), "a".to_owned()],
    });
    assert_eq!(
        fields(token.mint(wrong).await),
        ["template_operations[1]", "requested_operations.names[1]"]
    );
}

#[tokio::test]
async fn only_the_orchestrator_mints() {
    let token = Token::start().await;
    for service in [Service::AuthGateway, Service::StorageSync, Service::Token] {
        let minted = token
            .tokens(service)
            .mint_session(mint_request(&token.home.clock))
            .await;
        assert_eq!(refused(minted).0, Code::PermissionDenied);
    }
}

#[tokio::test]
async fn nothing_is_minted_for_what_is_revoked() {
    for scope in [
        |request: &pb::MintSessionRequest| Scope::InstanceId(request.instance_id.clone()),
        |request: &pb::MintSessionRequest| Scope::AgentOfInstanceId(request.instance_id.clone()),
        |request: &pb::MintSessionRequest| Scope::SandboxId(request.sandbox_id.clone()),
        |request: &pb::MintSessionRequest| Scope::Conversation(request.conversation.clone()),
        |request: &pb::MintSessionRequest| Scope::User(request.user.clone()),
        |_: &pb::MintSessionRequest| Scope::WholeTenant(true),
    ] {
        let token = Token::start().await;
        let request = mint_request(&token.home.clock);
        assert!(token.mint(request.clone()).await.is_ok());
        token.revoke("default", scope(&request)).await;
        let refusal = refused(token.mint(request).await);
        assert_eq!(
            refusal,
            (Code::FailedPrecondition, "SESSION_REVOKED".to_owned())
        );
    }
}

#[tokio::test]
async fn nothing_is_minted_for_a_tenant_that_does_not_exist() {
    let token = Token::start().await;
    let mut request = mint_request(&token.home.clock);
    request.tenant = "nobody".to_owned();
    let refusal = refused(token.mint(request).await);
    assert_eq!(
        refusal,
        (Code::FailedPrecondition, "TENANT_UNKNOWN".to_owned())
    );
}

#[tokio::test]
async fn validation_says_what_a_gate_would_say() {
    let token = Token::start().await;
    let request = mint_request(&token.home.clock);
    let pair = token.minted(request.clone()).await;
    let ask = |text: &str, audience: pb::Audience, tenant: &str| {
        let message = pb::ValidateTokenRequest {
            token: text.to_owned(),
            audience: audience.into(),
        };
        let request = acting(&person(tenant, &[Role::Operator]), message);
        let mut client = token.tokens(Service::AuthGateway);
        async move {
            client
                .validate_token(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let good = ask(&pair.agent_token, pb::Audience::Agent, "default")
        .await
        .expect("an answer");
    assert_eq!(good.claims.expect("claims").operations, ["read", "write"]);
    let other = ask(&pair.agent_token, pb::Audience::Daemon, "default")
        .await
        .expect("an answer");
    assert_eq!(
        (other.claims, other.refusal.as_str()),
        (None, "TOKEN_AUDIENCE_MISMATCH")
    );
    // Another tenant's operator cannot tell it from one that nobody signed.
    let foreign = ask(&pair.agent_token, pb::Audience::Agent, "acme")
        .await
        .expect("an answer");
    assert_eq!(
        (foreign.claims, foreign.refusal.as_str()),
        (None, "TOKEN_SIGNATURE_INVALID")
    );
    token
        .revoke("default", Scope::InstanceId(request.instance_id))
        .await;
    let revoked = ask(&pair.agent_token, pb::Audience::Agent, "default")
        .await
        .expect("an answer");
    assert_eq!(revoked.refusal, "TOKEN_REVOKED");
    let unstated = ask(&pair.agent_token, pb::Audience::Unspecified, "default").await;
    assert_eq!(fields(unstated), ["audience"]);
}

#[tokio::test]
async fn any_library_verifies_our_tokens_by_the_key_set() {
    let token = Token::start().await;
    let pair = token.minted(mint_request(&token.home.clock)).await;
    let keys = token
        .tokens(Service::StorageSync)
        .get_jwks(pb::GetJwksRequest {})
        .await
        .expect("keys");
    let [key] = keys.into_inner().keys.try_into().expect("one key");
    assert_eq!(
        (key.kty.as_str(), key.crv.as_str(), key.alg.as_str()),
        ("OKP", "Ed25519", "EdDSA")
    );
    let header = jsonwebtoken::decode_header(&pair.agent_token).expect("a header");
    assert_eq!(header.kid.as_deref(), Some(key.kid.as_str()));
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["sandgate-agent"]);
    validation.set_issuer(&["sandgate"]);
    // The clock of the test is in the future of the machine's.
    validation.validate_nbf = false;
    let decoding = jsonwebtoken::DecodingKey::from_ed_components(&key.x).expect("a key");
    let decoded: jsonwebtoken::TokenData<serde_json::Value> =
        jsonwebtoken::decode(&pair.agent_token, &decoding, &validation).expect("it verifies");
    assert_eq!(decoded.claims["tenant"], "default");
}

#[tokio::test]
async fn a_token_minted_while_its_revocation_was_on_the_way_is_dead_on_arrival() {
    let token = Token::start().await;
    let request = mint_request(&token.home.clock);
    let pair = token.minted(request.clone()).await;
    let claims = token.claims(&pair.agent_token, Audience::Agent).await;
    let target = revocation(
        "default",
        Scope::SessionsBefore(timestamp_to(token.home.clock.now())),
    );
    token.home.clock.advance(Duration::from_secs(1));
    token
        .revocations(Service::Orchestrator)
        .revoke(target)
        .await
        .expect("revoked");
    // The session began at the instant itself, so it lives; one that began before is refused, whenever minted.
    assert!(token.mint(request.clone()).await.is_ok());
    let earlier = claims.session_start.minus(Duration::from_micros(1));
    let request = pb::MintSessionRequest {
        session_start: Some(timestamp_to(earlier)),
        ..request
    };
    assert_eq!(refused(token.mint(request).await).1, "SESSION_REVOKED");
}

#[tokio::test]
async fn minting_writes_nothing() {
    let token = Token::start().await;
    let files =
        || ["token.db", "token.db-wal"].map(|name| std::fs::read(token.home.path(name)).ok());
    let before = files();
    for _ in 0..3 {
        let pair = token
            .mint(mint_request(&token.home.clock))
            .await
            .expect("minted")
            .tokens;
        token
            .renew(&pair.expect("tokens").daemon_token)
            .await
            .expect("renewed");
    }
    assert!(before == files(), "the database changed");
}
