//! What the calls have in common: whose sandbox it is, the change, and the wait for it.

use std::sync::Arc;

use sandgate_rpc::{Caller, Fault};
use sandgate_types::SandboxId;

use super::Services;
use crate::caller::Scope;
use crate::error;
use crate::life::{Asked, Life};
use crate::lifecycle::Event;
use crate::records::By;
use crate::sandbox::Sandbox;
use crate::wait::Wait;

/// As records name it.
const SERVICE: &str = "sandgate.orchestrator.v1.SandboxService";

impl Services {
    /// The sandbox of a request, if it is the caller's; the rest of all is unknown to them, and that they asked
    /// is on record. Another's and nobody's are recorded alike, so that the answer takes as long for both.
    pub(super) async fn find(
        &self,
        rpc: &str,
        caller: &Caller,
        scope: &Scope,
        id: &SandboxId,
    ) -> Result<Arc<Sandbox>, Fault> {
        let found = self.life()?.get(id).await?;
        match found.filter(|sandbox| scope.covers(&sandbox.facts)) {
            Some(sandbox) => Ok(sandbox),
            None => {
                let method = format!("{SERVICE}/{rpc}");
                Err(self.refused(&method, caller, error::unknown(id)).await)
            }
        }
    }
}

/// Applies an event in a task that the caller's leaving does not end.
pub(super) async fn apply(
    life: &Arc<Life>,
    scope: &Scope,
    id: &SandboxId,
    event: Event,
) -> Result<Arc<Sandbox>, Fault> {
    let (task, sandbox) = (Arc::clone(life), id.clone());
    let asked = Asked::by(By::Principal(scope.principal.clone()));
    let applied = life
        .tracked(async move { task.apply_asked(&sandbox, event, &asked, |_| true).await })
        .await;
    applied
        .and_then(|applied| applied)
        .map_err(|error| error::of_apply(error, id))
}

/// Answers once a start is where `wait` says, or says why it cannot come.
pub(super) async fn started(
    life: &Life,
    id: &SandboxId,
    wait: Wait,
) -> Result<Arc<Sandbox>, Fault> {
    let sandbox = life
        .wait_until(id, |state| wait.is_over(state))
        .await
        .map_err(|error| error::of_apply(error, id))?;
    match error::not_started(&sandbox) {
        Some(fault) if wait != Wait::None => Err(fault),
        Some(_) | None => Ok(sandbox),
    }
}
