//! A client that follows a sandbox to READY, or to why it cannot come.

use std::sync::Arc;

use futures_util::{Stream, stream};
use sandgate_api::orchestrator::v1 as pb;
use sandgate_rpc::{Fault, Shutdown};
use sandgate_types::SandboxId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;

use super::wire;
use crate::error;
use crate::hub::Cell;
use crate::life::{ApplyError, Life};
use crate::sandbox::{Phase, Sandbox};

/// A client that watches.
pub(super) struct Watching {
    pub(super) life: Arc<Life>,
    pub(super) id: SandboxId,
    /// Held so that it is told.
    pub(super) _cell: Arc<Cell>,
    pub(super) changes: Receiver<Arc<Sandbox>>,
    pub(super) next: Option<Arc<Sandbox>>,
    pub(super) seen: i64,
    pub(super) shutdown: Shutdown,
}

/// Whether nothing can follow that leads to READY.
fn is_last(sandbox: &Sandbox) -> bool {
    match sandbox.state.phase {
        Phase::Ready | Phase::Suspended | Phase::Deleted | Phase::Finished | Phase::Failed => true,
        Phase::Claiming
        | Phase::Attaching
        | Phase::Hydrating
        | Phase::Suspending
        | Phase::Deleting => false,
    }
}

/// What a client that watches is told, as a stream that ends by itself.
pub(super) fn watching(
    watching: Watching,
) -> impl Stream<Item = Result<pb::WatchSandboxResponse, Status>> + Send {
    stream::unfold(Some(watching), |watching| async move {
        let mut watching = watching?;
        match watching.next_change().await {
            Ok(sandbox) => {
                let item = pb::WatchSandboxResponse {
                    sandbox: Some(wire::sandbox_to(&sandbox)),
                };
                let rest = (!is_last(&sandbox)).then_some(watching);
                Some((Ok(item), rest))
            }
            Err(fault) => Some((Err(fault.into()), None)),
        }
    })
}

impl Watching {
    async fn next_change(&mut self) -> Result<Arc<Sandbox>, Fault> {
        loop {
            let sandbox = match self.next.take() {
                Some(sandbox) => sandbox,
                None => tokio::select! {
                    change = self.changes.recv() => match change {
                        Ok(sandbox) => sandbox,
                        // It was behind: the latest says more than what was missed.
                        Err(RecvError::Lagged(_)) => self.latest().await?,
                        Err(RecvError::Closed) => return Err(error::ending()),
                    },
                    () = self.shutdown.cancelled() => return Err(error::ending()),
                },
            };
            if sandbox.revision() > self.seen {
                self.seen = sandbox.revision();
                return Ok(sandbox);
            }
        }
    }

    async fn latest(&self) -> Result<Arc<Sandbox>, Fault> {
        let found = self.life.get(&self.id).await?;
        found.ok_or_else(|| error::of_apply(ApplyError::Unknown, &self.id))
    }
}
