//! Follows the feed of revocations. Each is applied, what it matches is cut, and only then acknowledged.

use std::sync::Arc;
use std::time::Duration;

use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_service_client::RevocationServiceClient;
use sandgate_api::token::v1::watch_revocations_response::Event;
use sandgate_rpc::Shutdown;
use sandgate_session::lease::LEASE;
use sandgate_session::{RevocationSet, RevocationTarget};

use crate::gate::Gate;

/// After a stream ended or could not be opened.
const AGAIN: Duration = Duration::from_millis(200);

/// Why a stream is given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the feed answered {0}")]
    Status(#[from] tonic::Status),
    #[error("the feed ended")]
    Ended,
    #[error("the feed was silent")]
    Silent,
    #[error("the feed says what it cannot: {0}")]
    Nonsense(&'static str),
}

/// Where in which feed we are.
#[derive(Debug, Default)]
struct Place {
    incarnation: String,
    head: i64,
    snapshot: Option<(String, RevocationSet)>,
}

/// Follows the feed until the shutdown begins.
pub(crate) async fn follow(gate: Arc<Gate>, shutdown: Shutdown) {
    let mut place = Place::default();
    loop {
        let lost = tokio::select! {
            () = shutdown.cancelled() => return,
            lost = follow_once(&gate, &mut place) => lost,
        };
        tracing::debug!(%lost, "the feed of revocations was lost");
        place.snapshot = None;
        if matches!(lost, Lost::Nonsense(_)) {
            // What we hold is not what token has: serve nothing on it, and take everything anew.
            tracing::error!(%lost, "the feed of revocations differs; taking a snapshot");
            gate.trust.forfeit();
            place = Place::default();
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn follow_once(gate: &Gate, place: &mut Place) -> Lost {
    match try_follow(gate, place).await {
        Ok(()) => Lost::Ended,
        Err(lost) => lost,
    }
}

async fn try_follow(gate: &Gate, place: &mut Place) -> Result<(), Lost> {
    let request = pb::WatchRevocationsRequest {
        incarnation: place.incarnation.clone(),
        resume_after: place.head,
    };
    let mut client = RevocationServiceClient::new(gate.services.token.clone());
    let mut events = client.watch_revocations(request).await?.into_inner();
    loop {
        let next = tokio::time::timeout(LEASE, events.message()).await;
        let Some(message) = next.map_err(|_| Lost::Silent)?? else {
            return Ok(());
        };
        let event = message.event.ok_or(Lost::Nonsense("an empty message"))?;
        take(gate, place, event)?;
    }
}

fn take(gate: &Gate, place: &mut Place, event: Event) -> Result<(), Lost> {
    match event {
        Event::SnapshotBegin(pb::SnapshotBegin { incarnation }) => {
            place.snapshot = Some((incarnation, RevocationSet::new()));
        }
        Event::Revocation(pb::Revocation {
            sequence,
            target,
            revoked_at: _,
        }) => {
            let target = target.ok_or(Lost::Nonsense("a revocation of nothing"))?;
            let target = RevocationTarget::from_wire("target", target)
                .map_err(|_| Lost::Nonsense("a revocation that cannot be read"))?;
            let gap = |_| Lost::Nonsense("a revocation out of order");
            if let Some((_, set)) = &mut place.snapshot {
                set.apply(sequence, &target).map_err(gap)?;
            } else {
                gate.trust.revoke(sequence, &target).map_err(gap)?;
                place.head = sequence;
                acknowledge(gate, place);
            }
        }
        Event::SnapshotEnd(pb::SnapshotEnd { head }) => {
            let (incarnation, set) = place
                .snapshot
                .take()
                .ok_or(Lost::Nonsense("the end of no snapshot"))?;
            if set.head() != head {
                return Err(Lost::Nonsense("a snapshot with gaps"));
            }
            gate.trust.replace(set);
            gate.api_keys.forget();
            *place = Place {
                incarnation,
                head,
                snapshot: None,
            };
            acknowledge(gate, place);
        }
        Event::Heartbeat(pb::FeedHeartbeat { head, running_hash }) => {
            let settled = place.snapshot.is_none() && !place.incarnation.is_empty();
            if settled && !gate.trust.agrees_with(head, &running_hash) {
                return Err(Lost::Nonsense("another history than ours"));
            }
        }
    }
    Ok(())
}

/// Cuts what is revoked, and then says so.
fn acknowledge(gate: &Gate, place: &Place) {
    gate.cut_what_ended();
    gate.trust.acknowledge(&place.incarnation);
}
