//! RevocationService: revoke, follow, go on serving.

use std::sync::Arc;

use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::revocation_service_server::RevocationService;
use sandgate_api::token::v1::watch_revocations_response::Event;
use sandgate_api::{duration_to, timestamp_to};
use sandgate_rpc::Fault;
use sandgate_session::lease::HEARTBEAT;
use sandgate_session::{RevocationScope, RevocationTarget};
use sandgate_types::Malformed;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Handlers, Reply, caller_of};
use crate::authority::{Reach, name_of};
use crate::core::Core;
use crate::crash::crash_point;
use crate::error::not_recorded;
use crate::feed::PAGE;
use crate::store::StoreError;

/// Messages that wait for a slow gate; then its stream waits for it.
const BUFFERED: usize = 64;
/// The longest reason.
const REASON_MAX: usize = 256;
/// The longest id of a gate.
const GATE_ID_MAX: usize = 64;

#[tonic::async_trait]
impl RevocationService for Handlers {
    type WatchRevocationsStream = ReceiverStream<Result<pb::WatchRevocationsResponse, Status>>;

    async fn revoke(&self, request: Request<pb::RevokeRequest>) -> Reply<pb::RevokeResponse> {
        let caller = caller_of(&request);
        let (core, recorder) = self.recorded(&request)?;
        let pb::RevokeRequest { target, reason } = request.into_inner();
        let target = target_from(target, &reason, core).map_err(Fault::from)?;
        let reach = Reach::of(caller.as_ref());
        if let RevocationTarget::Sessions { tenant, scope } = &target {
            recorder.about(tenant.as_str(), sandbox_of(scope));
            reach.check(tenant).map_err(Fault::from)?;
        }
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        crash_point!("revoke-recorded");
        let revoked = core
            .revoke(target, reason, name_of(caller.as_ref()), reach)
            .await
            .map_err(Fault::from)?;
        Ok(Response::new(pb::RevokeResponse {
            sequence: revoked.sequence,
            acknowledged: i32::try_from(revoked.known.acknowledged).unwrap_or(i32::MAX),
            lapsed: i32::try_from(revoked.known.lapsed).unwrap_or(i32::MAX),
        }))
    }

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Reply<Self::WatchRevocationsStream> {
        let core = Arc::clone(self.core()?);
        let pb::WatchRevocationsRequest {
            incarnation,
            resume_after,
        } = request.into_inner();
        let (sender, receiver) = mpsc::channel(BUFFERED);
        let shutdown = core.shutdown.clone();
        shutdown.clone().spawn("revocation feed", async move {
            let follower = Follower { core, sender };
            tokio::select! {
                ended = follower.run(&incarnation, resume_after) => follower.end(ended).await,
                // Ended without a status: the gate comes back to whoever serves then.
                () = shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn renew_lease(
        &self,
        request: Request<pb::RenewLeaseRequest>,
    ) -> Reply<pb::RenewLeaseResponse> {
        let pb::RenewLeaseRequest {
            gate_id,
            incarnation,
            applied,
        } = request.into_inner();
        let printable = gate_id.bytes().all(|byte| byte.is_ascii_graphic());
        if gate_id.is_empty() || gate_id.len() > GATE_ID_MAX || !printable {
            let rule = format!("must be 1 to {GATE_ID_MAX} printable characters");
            return Err(Fault::from(Malformed::new("gate_id", rule)).into());
        }
        let (lease, head) = self
            .core()?
            .feed
            .renew_lease(&gate_id, &incarnation, applied);
        Ok(Response::new(pb::RenewLeaseResponse {
            lease: Some(duration_to(lease)),
            head,
        }))
    }
}

/// One gate's stream.
struct Follower {
    core: Arc<Core>,
    sender: mpsc::Sender<Result<pb::WatchRevocationsResponse, Status>>,
}

/// Why a stream ended.
enum Ended {
    /// The gate is gone.
    Gone,
    /// The database gave no answer.
    Store(StoreError),
}

impl Follower {
    /// Sends what the gate lacks, then each revocation, then heartbeats while there is none.
    async fn run(&self, incarnation: &str, resume_after: i64) -> Ended {
        let feed = &self.core.feed;
        let mut head = feed.head();
        let known = incarnation == feed.incarnation()
            && (0..=*head.borrow_and_update()).contains(&resume_after);
        let sent = if known {
            Ok(resume_after)
        } else {
            self.snapshot().await
        };
        let mut sent = match sent {
            Ok(sent) => sent,
            Err(ended) => return ended,
        };
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let to = *head.borrow_and_update();
            if sent < to {
                sent = match self.send_between(sent, to).await {
                    Ok(sent) => sent,
                    Err(ended) => return ended,
                };
            }
            tokio::select! {
                _at = beat.tick() => {
                    if let Err(ended) = self.beat(sent).await {
                        return ended;
                    }
                }
                changed = head.changed() => if changed.is_err() { return Ended::Gone },
                () = self.sender.closed() => return Ended::Gone,
            }
        }
    }

    async fn snapshot(&self) -> Result<i64, Ended> {
        let feed = &self.core.feed;
        let incarnation = feed.incarnation().to_owned();
        self.send(Event::SnapshotBegin(pb::SnapshotBegin { incarnation }))
            .await?;
        let head = *feed.head().borrow();
        let head = self.send_between(0, head).await?;
        self.send(Event::SnapshotEnd(pb::SnapshotEnd { head }))
            .await?;
        Ok(head)
    }

    async fn send_between(&self, mut sent: i64, to: i64) -> Result<i64, Ended> {
        while sent < to {
            let page = self
                .core
                .store
                .revocations_after(sent, PAGE.min(to - sent))
                .await
                .map_err(Ended::Store)?;
            if page.is_empty() {
                return Err(Ended::Store(self.core.feed.lacks(sent + 1)));
            }
            for revocation in page {
                if revocation.sequence != sent + 1 {
                    return Err(Ended::Store(self.core.feed.lacks(sent + 1)));
                }
                sent = revocation.sequence;
                let revocation = pb::Revocation {
                    sequence: revocation.sequence,
                    target: Some(revocation.target.to_wire()),
                    revoked_at: Some(timestamp_to(revocation.revoked_at)),
                };
                self.send(Event::Revocation(revocation)).await?;
            }
        }
        Ok(sent)
    }

    /// A heartbeat describes what was sent, or waits until that is all.
    async fn beat(&self, sent: i64) -> Result<(), Ended> {
        let (head, hash) = {
            let set = self.core.feed.revoked();
            (set.head(), set.running_hash())
        };
        if head != sent {
            return Ok(());
        }
        self.send(Event::Heartbeat(pb::FeedHeartbeat {
            head,
            running_hash: hash.to_vec(),
        }))
        .await
    }

    async fn send(&self, event: Event) -> Result<(), Ended> {
        let message = pb::WatchRevocationsResponse { event: Some(event) };
        self.sender.send(Ok(message)).await.map_err(|_| Ended::Gone)
    }

    async fn end(&self, ended: Ended) {
        match ended {
            Ended::Gone => {}
            Ended::Store(error) => {
                // A gate that is gone needs no status.
                let _gone = self.sender.send(Err(Fault::from(error).into())).await;
            }
        }
    }
}

/// The sandbox that a revocation names itself; of an instance or a token it is not known here.
fn sandbox_of(scope: &RevocationScope) -> &str {
    match scope {
        RevocationScope::Sandbox(id) => id.as_str(),
        RevocationScope::Token(_)
        | RevocationScope::AgentOfInstance(_)
        | RevocationScope::Instance(_)
        | RevocationScope::Conversation(_)
        | RevocationScope::User(_)
        | RevocationScope::WholeTenant
        | RevocationScope::SessionsBefore(_) => "",
    }
}

fn target_from(
    target: Option<pb::RevocationTarget>,
    reason: &str,
    core: &Core,
) -> Result<RevocationTarget, Malformed> {
    let printable = reason.chars().all(|character| !character.is_control());
    if reason.is_empty() || reason.chars().count() > REASON_MAX || !printable {
        let rule = format!("must be 1 to {REASON_MAX} printable characters");
        return Err(Malformed::new("reason", rule));
    }
    let target = target.ok_or_else(|| Malformed::new("target", "must be set"))?;
    let target = RevocationTarget::from_wire("target", target)?;
    if target.lies_after(core.clock.now()) {
        return Err(Malformed::new(
            "target.sessions_before",
            "must not lie in the future",
        ));
    }
    Ok(target)
}
