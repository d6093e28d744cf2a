//! When a create or resume answers.

use std::sync::Arc;

use sandgate_types::SandboxId;

use crate::life::{ApplyError, Life};
use crate::sandbox::{Phase, Sandbox, State};

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// That it is on record.
    None,
    /// An instance under the conversation's identity.
    Running,
    /// That the files are there, which is READY.
    Ready,
}

impl Wait {
    /// Whether `state` is what was waited for, or it cannot come.
    pub(crate) fn is_over(self, state: &State) -> bool {
        match (self, state.phase) {
            (Self::None, _) | (Self::Running, Phase::Hydrating) => true,
            // What is on its way out is worth the wait too: a suspended sandbox can be resumed at once.
            (
                Self::Running | Self::Ready,
                Phase::Claiming | Phase::Attaching | Phase::Suspending | Phase::Deleting,
            )
            | (Self::Ready, Phase::Hydrating) => false,
            (
                Self::Running | Self::Ready,
                Phase::Ready | Phase::Suspended | Phase::Deleted | Phase::Finished | Phase::Failed,
            ) => true,
        }
    }
}

impl Life {
    /// Waits until the sandbox is what `over` says, and answers it.
    pub(crate) async fn wait_until(
        &self,
        id: &SandboxId,
        over: impl Fn(&State) -> bool + Send,
    ) -> Result<Arc<Sandbox>, ApplyError> {
        let cell = self.hub.cell(id);
        let mut views = cell.follow();
        loop {
            let view = views.borrow_and_update().clone();
            let sandbox = match view {
                Some(view) => view,
                None => self.get(id).await?.ok_or(ApplyError::Unknown)?,
            };
            if over(&sandbox.state) {
                return Ok(sandbox);
            }
            if views.changed().await.is_err() {
                return Err(ApplyError::Ending);
            }
        }
    }
}
