//! Both tokens of a session, from token.

use std::time::Duration;

use sandgate_api::timestamp_from;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_types::Malformed;

use super::PeerError;
use crate::keeper::gate::DaemonChannel;
use crate::keeper::identity::{NotAToken, Token, Tokens};

/// Why there are no newer tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenewError {
    /// Token refused.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// There was no answer within the limit.
    #[error("the token service did not answer")]
    Silent,
    /// Token answered what no session has.
    #[error("the token service answered what no session has")]
    Malformed(#[from] Malformed),
    /// Or something else in place of a token.
    #[error(transparent)]
    NotAToken(#[from] NotAToken),
}

/// Asks for the pair that follows the current one.
///
/// # Errors
/// [`RenewError`]; the pair that there is goes on.
pub(crate) async fn renew(channel: DaemonChannel, limit: Duration) -> Result<Tokens, RenewError> {
    let mut client = TokenServiceClient::new(channel);
    let mut request = tonic::Request::new(pb::RenewSessionRequest {});
    request.set_timeout(limit);
    let answer = tokio::time::timeout(limit, client.renew_session(request))
        .await
        .map_err(|_| RenewError::Silent)?
        .map_err(PeerError::of("the token service"))?;
    let pb::RenewSessionResponse { tokens } = answer.into_inner();
    let pb::TokenPair {
        agent_token,
        daemon_token,
        expires_at,
    } = tokens.ok_or_else(|| missing("tokens"))?;
    let expires_at = expires_at.ok_or_else(|| missing("tokens.expires_at"))?;
    Ok(Tokens {
        agent: Token::new(agent_token)?,
        daemon: Token::new(daemon_token)?,
        expires_at: timestamp_from("tokens.expires_at", &expires_at)?,
    })
}

fn missing(field: &str) -> Malformed {
    Malformed::new(field, "must be set")
}
