//! Renews both tokens of the session well before they expire.

use std::sync::Arc;
use std::time::Duration;

use sandgate_types::{Clock, Timestamp};

use super::gate::DaemonChannel;
use super::identity::SharedIdentity;
use super::peers::renew;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// After a failed attempt; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(2);
/// But no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// And no shorter, however little is left.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// A pair is renewed no more often than this, whatever its lifetime.
const REST_MIN: Duration = Duration::from_millis(500);

/// Renews for as long as it is polled, and gives up when the pair has expired: nobody would take it any more.
///
/// The gate ends whatever a pair opened when that expires, so a session that cannot be renewed is cut off there.
pub(crate) async fn keep(identity: SharedIdentity, channel: DaemonChannel, clock: Arc<dyn Clock>) {
    while let Some(expires_at) = identity.expires_at() {
        tokio::time::sleep(rest(clock.now(), expires_at)).await;
        let mut backoff = PAUSE;
        loop {
            match renew(channel.clone(), ATTEMPT).await {
                Ok(tokens) => {
                    identity.renew(tokens);
                    break;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the session's tokens could not be renewed"
                    );
                }
            }
            let now = clock.now();
            if now >= expires_at {
                tracing::warn!("the session's tokens have expired");
                return;
            }
            tokio::time::sleep(pause(backoff, now, expires_at)).await;
            backoff = (backoff * 2).min(PAUSE_MAX);
        }
    }
}

/// Two thirds of what is left of a pair; then there is time for many attempts.
fn rest(now: Timestamp, expires_at: Timestamp) -> Duration {
    (expires_at.since(now) * 2 / 3).max(REST_MIN)
}

/// Until the next attempt: `backoff`, or a quarter of what is left where that is less, so that no pair expires
/// during a pause.
fn pause(backoff: Duration, now: Timestamp, expires_at: Timestamp) -> Duration {
    backoff.min(expires_at.since(now) / 4).max(PAUSE_MIN)
}

#[cfg(test)]
mod tests {
    use sandgate_rpc::Shutdown;
    use tokio::time::Instant;

    use super::super::gate::Gate;
    use super::super::identity::{Identity, Token, Tokens};
    use super::*;

    /// Goes with the runtime's time, which stands still but for sleeps.
    #[derive(Debug)]
    struct RuntimeClock(Instant);

    impl Clock for RuntimeClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_seconds(1000).plus(self.0.elapsed())
        }
    }

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

    #[test]
    fn pauses_grow_but_not_beyond_what_is_left() {
        let now = Timestamp::from_seconds(1000);
        let in_seconds = |seconds| now.plus(Duration::from_secs(seconds));
        assert_eq!(pause(PAUSE_MAX, now, in_seconds(1200)), PAUSE_MAX);
        assert_eq!(
            pause(PAUSE_MAX, now, in_seconds(20)),
            Duration::from_secs(5)
        );
        assert_eq!(pause(PAUSE, now, now), PAUSE_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_is_given_up_when_the_pair_has_expired_and_not_before() {
        let life = Duration::from_secs(3600);
        let clock = RuntimeClock(Instant::now());
        let token = |name: &str| Token::new(name.to_owned()).expect("printable");
        let identity = SharedIdentity::new(Identity::default());
        identity.attach(Tokens {
            agent: token("agent"),
            daemon: token("daemon"),
            expires_at: clock.now().plus(life),
        });
        // Nobody ever connects this gate.
        let gate = Arc::new(Gate::new(Shutdown::new()));
        let channel = DaemonChannel::new(gate, identity.clone());
        let began = Instant::now();
        keep(identity, channel, Arc::new(clock)).await;
        let took = began.elapsed();
        assert!(
            took >= life && took < life + ATTEMPT + PAUSE_MIN,
            "{took:?}"
        );
    }
}
