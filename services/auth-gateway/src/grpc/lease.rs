//! Keeps the lease: renewed every second, and at once when something was applied.

use std::sync::Arc;
use std::time::Duration;

use sandgate_api::duration_from;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_service_client::RevocationServiceClient;
use sandgate_rpc::Shutdown;
use sandgate_session::lease::{HEARTBEAT, LEASE, Moment};

use crate::gate::Gate;
use crate::trust::Applied;

/// After a renewal that failed, or gave nothing.
const AGAIN: Duration = Duration::from_millis(100);

/// Renews until the shutdown begins.
pub(crate) async fn keep(gate: Arc<Gate>, shutdown: Shutdown) {
    let mut applied = gate.trust.applied();
    loop {
        let current = applied.borrow_and_update().clone();
        let wait = match current {
            Some(current) if renew(&gate, current.clone()).await => HEARTBEAT,
            Some(_) => AGAIN,
            // Nothing is applied yet; the feed rings when something is.
            None => HEARTBEAT,
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Renews once; answers whether that gave time.
async fn renew(gate: &Gate, applied: Applied) -> bool {
    let request = pb::RenewLeaseRequest {
        gate_id: gate.id.clone(),
        incarnation: applied.incarnation.clone(),
        applied: applied.head,
    };
    // Before it is sent: the lease is counted from here.
    let sent = Moment::now();
    let mut client = RevocationServiceClient::new(gate.services.token.clone());
    let answered = tokio::time::timeout(LEASE, client.renew_lease(request)).await;
    let response = match answered {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            tracing::debug!(%status, "the lease was not renewed");
            return false;
        }
        Err(_) => return false,
    };
    let pb::RenewLeaseResponse { lease, head } = response;
    let lease = lease.and_then(|lease| duration_from("lease", &lease).ok());
    let Some(lease) = lease.filter(|lease| !lease.is_zero() && head == applied.head) else {
        return false;
    };
    gate.trust.grant(&applied.incarnation, sent, lease)
}
