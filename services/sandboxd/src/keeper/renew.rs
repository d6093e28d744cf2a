//! Renews both tokens of the session well before they expire.

use std::sync::Arc;
use std::time::Duration;

use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_types::{Clock, Malformed, Timestamp};

use super::gate::DaemonChannel;
use super::identity::{SharedIdentity, Token, Tokens};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// After a failed attempt.
const PAUSE: Duration = Duration::from_secs(2);
/// But no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A pair is renewed no more often than this, whatever its lifetime.
const REST_MIN: Duration = Duration::from_millis(500);

/// Renews for as long as it is polled, and gives up when the pair has expired: nobody would take it any more.
pub(crate) async fn keep(identity: SharedIdentity, channel: DaemonChannel, clock: Arc<dyn Clock>) {
    let mut pause = PAUSE;
    while let Some(expires_at) = identity.expires_at() {
        tokio::time::sleep(rest(clock.now(), expires_at)).await;
        match renew(channel.clone()).await {
            Ok(tokens) => {
                identity.renew(tokens);
                pause = PAUSE;
                continue;
            }
            Err(error) => {
                tracing::warn!(error = &*error, "the session's tokens could not be renewed")
            }
        }
        if clock.now() >= expires_at {
            tracing::warn!("the session's tokens have expired");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Two thirds of what is left of a pair; then there is time for many attempts.
fn rest(now: Timestamp, expires_at: Timestamp) -> Duration {
    (expires_at.since(now) * 2 / 3).max(REST_MIN)
}

async fn renew(channel: DaemonChannel) -> Result<Tokens, Box<dyn std::error::Error + Send + Sync>> {
    let mut client = TokenServiceClient::new(channel);
    let mut request = tonic::Request::new(pb::RenewSessionRequest {});
    request.set_timeout(ATTEMPT);
    let answer = tokio::time::timeout(ATTEMPT, client.renew_session(request)).await??;
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
        expires_at: sandgate_api::timestamp_from("tokens.expires_at", &expires_at)?,
    })
}

fn missing(field: &str) -> Malformed {
    Malformed::new(field, "must be set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_renewed_with_a_third_of_its_life_left_and_never_in_a_rush() {
        let now = Timestamp::from_seconds(1000);
        assert_eq!(
            rest(now, now.plus(Duration::from_secs(3600))),
            Duration::from_secs(2400)
        );
        assert_eq!(rest(now, now), REST_MIN);
        assert_eq!(rest(now, now.minus(Duration::from_secs(60))), REST_MIN);
    }
}
