//! Reads the keys by which tokens are verified: at the start, every ten seconds, and when a token names one
//! that is not in the list.

use std::sync::Arc;
use std::time::Duration;

use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_rpc::Shutdown;
use tokio::time::Instant;

use crate::gate::Gate;

/// While there are keys.
const REFRESH: Duration = Duration::from_secs(10);
/// While there are none.
const AGAIN: Duration = Duration::from_millis(200);
/// Between two readings, whoever wants them: unknown keys are free to name.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// The last good list is kept this long.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Reads keys until the shutdown begins.
pub(crate) async fn follow(gate: Arc<Gate>, shutdown: Shutdown) {
    let mut good_until: Option<Instant> = None;
    loop {
        let wait = if read(&gate).await {
            good_until = Some(Instant::now() + AGE_MAX);
            REFRESH
        } else {
            if good_until.is_some_and(|until| until <= Instant::now()) {
                tracing::error!("the keys are too old to be relied on");
                gate.trust.drop_keys();
                good_until = None;
            }
            if good_until.is_some() {
                AT_MOST_EVERY
            } else {
                AGAIN
            }
        };
        let wanted = async {
            tokio::time::sleep(AT_MOST_EVERY).await;
            gate.trust.keys_wanted().await;
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = wanted => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn read(gate: &Gate) -> bool {
    let mut client = TokenServiceClient::new(gate.services.token.clone());
    match client.get_jwks(pb::GetJwksRequest {}).await {
        Ok(response) => {
            let pb::GetJwksResponse { keys } = response.into_inner();
            match gate.trust.take_keys(&keys) {
                Ok(()) => true,
                Err(refusal) => {
                    tracing::error!(%refusal, "token's list of keys is refused");
                    false
                }
            }
        }
        Err(status) => {
            tracing::debug!(%status, "the keys could not be read");
            false
        }
    }
}
