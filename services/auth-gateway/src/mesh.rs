//! The mesh listener's rules: an instance is attached only with a ticket that names it, and only once the feed
//! says that it is live, so that the first request of its session is not refused.

use std::sync::Arc;
use std::time::Duration;

use sandgate_session::lease::Moment;
use sandgate_session::{Claims, Ticket, TokenRefusal, Verifier};

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

/// Verifies a ticket, and answers by what, for the tokens beside it. One by a key that is not in the list waits until the
/// list was read again: the key may be so new that this gate has not heard of it yet.
pub(crate) async fn verify_ticket(
    gate: &Gate,
    ticket: &str,
    limit: Duration,
) -> Result<(Arc<Verifier>, Ticket), AttachRefusal> {
    let mut changes = gate.trust.changes();
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        changes.borrow_and_update();
        let verifier = gate.trust.verifier().ok_or(AttachRefusal::NoKeys)?;
        match verifier.verify_ticket(ticket, gate.clock.now()) {
            Ok(ticket) => return Ok((verifier, ticket)),
            Err(refusal @ TokenRefusal::KeyUnknown) => {
                gate.trust.want_keys();
                let changed = tokio::time::timeout_at(deadline, changes.changed()).await;
                // The trust lives as long as the gate does.
                if !matches!(changed, Ok(Ok(()))) {
                    return Err(AttachRefusal::Token(refusal));
                }
            }
            Err(refusal) => return Err(AttachRefusal::Token(refusal)),
        }
    }
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
