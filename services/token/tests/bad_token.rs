//! Tokens that are none of ours, or not any more, or somebody else's: each is refused by its own reason, whether
//! it is shown for validation or for renewal, and what was good before still is.

mod harness;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::{Token, acting, mint_request, person, session_caller};
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_target::Scope;
use sandgate_rpc::{Caller, Role, Service};
use sandgate_session::{Audience, LEEWAY};
use sandgate_types::Clock as _;
use tonic::Code;
use tonic_types::StatusExt as _;

/// Tokens live this long by default.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A session of a running service.
struct Session {
    token: Token,
    pair: pb::TokenPair,
    caller: Caller,
    instance: String,
}

impl Session {
    async fn open() -> Self {
        let token = Token::start().await;
        let request = mint_request(&token.home.clock);
        let minted = token.mint(request.clone()).await.expect("minted");
        let pair = minted.tokens.expect("tokens");
        let claims = token.claims(&pair.daemon_token, Audience::Daemon).await;
        let session = Self {
            token,
            pair,
            caller: session_caller(&claims),
            instance: request.instance_id,
        };
        // The control: the session's own token passes both doors.
        assert_eq!(session.validated(&session.pair.daemon_token).await, "");
        assert_eq!(session.renewed(&session.pair.daemon_token).await, None);
        session
    }

    /// What validation as a daemon's token says against it; nothing when it is good.
    async fn validated(&self, text: &str) -> String {
        let message = pb::ValidateTokenRequest {
            token: text.to_owned(),
            audience: pb::Audience::Daemon.into(),
        };
        let request = acting(&person("default", &[Role::Operator]), message);
        let answer = self
            .token
            .tokens(Service::AuthGateway)
            .validate_token(request)
            .await
            .expect("an answer")
            .into_inner();
        assert_eq!(answer.claims.is_some(), answer.refusal.is_empty());
        answer.refusal
    }

    /// Code and refusal of a renewal by it, as the session's own sandbox; nothing when it renews.
    async fn renewed(&self, text: &str) -> Option<(Code, String)> {
        let status = self.token.renew_as(&self.caller, Some(text)).await.err()?;
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!(info.reason, "SESSION_TOKEN_REFUSED");
        let refusal = info.metadata.get("refusal").cloned().unwrap_or_default();
        assert!(status.message().contains(&refusal), "{}", status.message());
        Some((status.code(), refusal))
    }

    /// Both doors refuse it, by this reason.
    async fn refuses(&self, text: &str, code: Code, refusal: &str) {
        assert_eq!(self.validated(text).await, refusal);
        assert_eq!(self.renewed(text).await, Some((code, refusal.to_owned())));
    }

    /// The daemon's token under another header, with a signature over both.
    async fn under(&self, header: &str, sign: impl Fn(&[u8], &[u8]) -> Vec<u8>) -> String {
        let keys = self
            .token
            .tokens(Service::AuthGateway)
            .get_jwks(pb::GetJwksRequest {})
            .await
            .expect("keys")
            .into_inner()
            .keys;
        let key = keys.first().expect("a key");
        let public = URL_SAFE_NO_PAD.decode(&key.x).expect("base64url");
        let header = URL_SAFE_NO_PAD.encode(header.replace("KID", &key.kid));
        let content = self.pair.daemon_token.split('.').nth(1).expect("content");
        let input = format!("{header}.{content}");
        let signature = URL_SAFE_NO_PAD.encode(sign(&public, input.as_bytes()));
        format!("{input}.{signature}")
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_once_its_leeway_is_over() {
    let session = Session::open().await;
    let clock = &session.token.home.clock;
    clock.advance(LIFETIME + LEEWAY - Duration::from_secs(1));
    assert_eq!(session.validated(&session.pair.daemon_token).await, "");
    clock.advance(Duration::from_secs(2));
    session
        .refuses(
            &session.pair.daemon_token,
            Code::FailedPrecondition,
            "TOKEN_EXPIRED",
        )
        .await;
}

#[tokio::test]
async fn a_token_of_the_future_is_refused() {
    let session = Session::open().await;
    let clock = &session.token.home.clock;
    clock.set(clock.now().minus(LEEWAY + Duration::from_secs(1)));
    session
        .refuses(
            &session.pair.daemon_token,
            Code::Unauthenticated,
            "TOKEN_NOT_YET_VALID",
        )
        .await;
}

#[tokio::test]
async fn the_agents_token_renews_nothing() {
    let session = Session::open().await;
    session
        .refuses(
            &session.pair.agent_token,
            Code::Unauthenticated,
            "TOKEN_AUDIENCE_MISMATCH",
        )
        .await;
}

#[tokio::test]
async fn the_token_of_another_sandbox_renews_nothing() {
    let session = Session::open().await;
    let other = session
        .token
        .minted(mint_request(&session.token.home.clock))
        .await;
    // It is good, and not for whoever shows it here.
    assert_eq!(session.validated(&other.daemon_token).await, "");
    let status = session
        .token
        .renew_as(&session.caller, Some(&other.daemon_token))
        .await
        .expect_err("another's");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(
        status.message(),
        "the daemon token is another one than the caller's"
    );
}

#[tokio::test]
async fn a_token_of_no_algorithm_is_refused_with_and_without_a_signature() {
    let session = Session::open().await;
    for signature in [&[][..], &[7; 64]] {
        let header = r#"{"alg":"none","kid":"KID","typ":"sandgate-session+jwt"}"#;
        let forged = session.under(header, |_, _| signature.to_vec()).await;
        session
            .refuses(&forged, Code::Unauthenticated, "TOKEN_ALGORITHM_REFUSED")
            .await;
    }
}

#[tokio::test]
async fn an_hmac_by_the_public_key_is_no_signature() {
    let session = Session::open().await;
    let hmac = |public: &[u8], input: &[u8]| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public);
        aws_lc_rs::hmac::sign(&key, input).as_ref().to_vec()
    };
    let header = r#"{"alg":"HS256","kid":"KID","typ":"sandgate-session+jwt"}"#;
    let forged = session.under(header, hmac).await;
    session
        .refuses(&forged, Code::Unauthenticated, "TOKEN_ALGORITHM_REFUSED")
        .await;
    // Nor under the name of the right algorithm.
    let header = r#"{"alg":"EdDSA","kid":"KID","typ":"sandgate-session+jwt"}"#;
    let forged = session.under(header, hmac).await;
    session
        .refuses(&forged, Code::Unauthenticated, "TOKEN_SIGNATURE_INVALID")
        .await;
}

#[tokio::test]
async fn a_key_that_nobody_lists_is_refused() {
    let session = Session::open().await;
    let header = r#"{"alg":"EdDSA","kid":"nobodys","typ":"sandgate-session+jwt"}"#;
    let forged = session.under(header, |_, _| vec![7; 64]).await;
    session
        .refuses(&forged, Code::Unauthenticated, "TOKEN_KEY_UNKNOWN")
        .await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_cannot_be_renewed() {
    let session = Session::open().await;
    session
        .token
        .revoke("default", Scope::InstanceId(session.instance.clone()))
        .await;
    let daemon = &session.pair.daemon_token;
    assert_eq!(session.validated(daemon).await, "TOKEN_REVOKED");
    let refused = session
        .token
        .renew_as(&session.caller, Some(daemon))
        .await
        .map(|pair| pair.expires_at);
    assert_eq!(
        harness::refused(refused),
        (Code::FailedPrecondition, "SESSION_REVOKED".to_owned())
    );
}
