//! RenewSession, through the wire.

mod harness;

use std::time::Duration;

use harness::{Token, mint_request, person, refused, session_caller};
use sandgate_api::duration_to;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_rpc::Role;
use sandgate_session::Audience;
use tonic::Code;

#[tokio::test]
async fn a_renewed_pair_is_of_the_same_session_and_the_old_one_lasts() {
    let token = Token::start().await;
    let first = token.minted(mint_request(&token.home.clock)).await;
    let before = token.claims(&first.agent_token, Audience::Agent).await;
    token.home.clock.advance(Duration::from_secs(600));
    let second = token.renew(&first.daemon_token).await.expect("renewed");
    let after = token.claims(&second.agent_token, Audience::Agent).await;
    assert_eq!(after.session_start, before.session_start);
    assert_eq!(after.session_end, before.session_end);
    assert_eq!(after.agent_operations, before.agent_operations);
    assert_eq!(
        after.expires_at.since(before.expires_at),
        Duration::from_secs(600)
    );
    assert_ne!(after.token, before.token);
    token.claims(&first.agent_token, Audience::Agent).await;
    assert!(token.renew(&second.daemon_token).await.is_ok());
}

#[tokio::test]
async fn no_token_outlives_its_session_and_at_its_end_there_is_no_other() {
    let token = Token::start().await;
    let mut request = mint_request(&token.home.clock);
    request.session_max = Some(duration_to(Duration::from_secs(1_000)));
    let first = token.minted(request).await;
    token.home.clock.advance(Duration::from_secs(800));
    let second = token.renew(&first.daemon_token).await.expect("renewed");
    let claims = token.claims(&second.daemon_token, Audience::Daemon).await;
    assert_eq!(claims.expires_at, claims.session_end);
    token.home.clock.advance(Duration::from_secs(200));
    let refusal = refused(token.renew(&second.daemon_token).await);
    assert_eq!(
        refusal,
        (Code::FailedPrecondition, "SESSION_OVER".to_owned())
    );
}

#[tokio::test]
async fn an_instance_that_is_ending_or_revoked_is_not_renewed() {
    for scope in [
        |id: String| Scope::AgentOfInstanceId(id),
        |id: String| Scope::InstanceId(id),
    ] {
        let token = Token::start().await;
        let request = mint_request(&token.home.clock);
        let pair = token.minted(request.clone()).await;
        token.revoke("default", scope(request.instance_id)).await;
        let refusal = refused(token.renew(&pair.daemon_token).await);
        assert_eq!(
            refusal,
            (Code::FailedPrecondition, "SESSION_REVOKED".to_owned())
        );
    }
}

#[tokio::test]
async fn the_service_checks_what_it_renews_by_itself() {
    let token = Token::start().await;
    let mint = || async { token.minted(mint_request(&token.home.clock)).await };
    let (ours, other) = (mint().await, mint().await);
    let caller = session_caller(&token.claims(&ours.daemon_token, Audience::Daemon).await);
    let missing = refused(token.renew_as(&caller, None).await);
    assert_eq!(
        missing,
        (Code::Unauthenticated, "SESSION_TOKEN_MISSING".to_owned())
    );
    // Another session's token, the agent's token, and one that nobody signed.
    let forged = format!("{}AAAA", &ours.daemon_token[..ours.daemon_token.len() - 4]);
    for text in [&other.daemon_token, &ours.agent_token, &forged, "nonsense"] {
        let refusal = refused(token.renew_as(&caller, Some(text)).await);
        assert_eq!(
            refusal,
            (Code::Unauthenticated, "SESSION_TOKEN_REFUSED".to_owned())
        );
    }
    token.home.clock.advance(Duration::from_secs(931));
    let expired = refused(token.renew_as(&caller, Some(&ours.daemon_token)).await);
    assert_eq!(
        expired,
        (Code::FailedPrecondition, "SESSION_TOKEN_REFUSED".to_owned())
    );
}

#[tokio::test]
async fn nobody_but_a_daemon_renews() {
    let token = Token::start().await;
    let pair = token.minted(mint_request(&token.home.clock)).await;
    let admin = person("default", &[Role::Caller, Role::Operator, Role::Admin]);
    let refusal = refused(token.renew_as(&admin, Some(&pair.daemon_token)).await);
    assert_eq!(refusal.0, Code::PermissionDenied);
}
