//! Suspend, as a caller asks for it: with its files stored, or not at all.
//!
//! Files that cannot be stored whatever is tried end a requested suspend before anything is stopped. What
//! changes between that look and the last sync can still be lost, and is said in the end's `not_synced`.

use std::sync::Arc;

use sandgate_types::SandboxId;

use crate::life::{ApplyError, Asked, Life};
use crate::lifecycle::Event;
use crate::peers::PeerError;
use crate::sandbox::{Phase, Reason, Sandbox};

/// Why a sandbox is not suspended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuspendError {
    /// Its files cannot be stored; it runs on.
    #[error("the files cannot be stored")]
    NotStored(#[source] PeerError),
    /// Beyond the rules.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Life {
    /// Begins to suspend a sandbox whose files can be stored.
    pub(crate) async fn suspend(
        self: &Arc<Self>,
        id: &SandboxId,
        asked: &Asked,
    ) -> Result<Arc<Sandbox>, SuspendError> {
        let sandbox = self.get(id).await.map_err(ApplyError::from)?;
        let sandbox = sandbox.ok_or(ApplyError::Unknown)?;
        if let (Phase::Ready, Some(run)) = (sandbox.state.phase, &sandbox.state.run) {
            match self.peers.sync(&run.instance, self.limits.sync).await {
                Err(error) if error.is_final() => return Err(SuspendError::NotStored(error)),
                // Whoever is away now may be back for the last sync, and an instance that is gone has nothing.
                Ok(_) | Err(_) => {}
            }
        }
        let event = Event::Suspend(Reason::Requested);
        Ok(self.apply_asked(id, event, asked, |_| true).await?)
    }
}
