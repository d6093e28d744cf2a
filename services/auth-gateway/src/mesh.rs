//! The mesh listener's rules: an instance is attached only with a ticket that names it, and only once the feed
//! says that it is live, so that the first request of its session is not refused.

use std::time::Duration;

use sandgate_session::lease::Moment;
use sandgate_session::{Claims, TokenRefusal};

use crate::gate::Gate;

/// Why Attach does not go on to the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttachRefusal {
    /// `x-instance-id` is missing, doubled or no id.
    InstanceUnnamed,
    /// There are no keys yet to verify by.
    NoKeys,
    /// The ticket or a token is refused.
    Token(TokenRefusal),
    /// A token is of another session than the ticket.
    OtherSession,
    /// The session began under rules that this gate does not know.
    PolicyRevisionUnknown,
    /// The feed does not say that the instance is live.
    NotLive,
}

/// Waits until the feed has the instance of these claims live.
pub(crate) async fn wait_until_live(
    gate: &Gate,
    claims: &Claims,
    limit: Duration,
) -> Result<(), AttachRefusal> {
    let mut changes = gate.endpoints.changes();
    let live = async {
        loop {
            changes.borrow_and_update();
            if gate.endpoints.is_fresh(Moment::now()) && gate.is_current(claims) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let waited = tokio::time::timeout(limit, live).await;
    waited.map_err(|_| AttachRefusal::NotLive)
}
