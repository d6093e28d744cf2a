//! One task for each sandbox that has an intent; it carries out what the row says until nothing is left.

use std::sync::Arc;
use std::time::Duration;

use sandgate_types::SandboxId;

use super::{ApplyError, Life};
use crate::hub::Cell;
use crate::sandbox::Intent;
use crate::store::StoreError;

/// After a database or peer that does not answer.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a start waits for peers that are away: as long as a service takes to be started again, its clients'
/// leases included.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of one intent.
pub(super) enum Outcome {
    /// The row says what is next.
    Done,
    /// The row says it again: a peer was away.
    Again,
    /// Nothing can be done until somebody brings what is missing.
    Parked,
}

/// Growing pauses between attempts.
pub(super) struct Pause(Duration);

impl Pause {
    pub(super) fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// Waits; false when the process stops waiting for anything.
    pub(super) async fn wait(&mut self, life: &Life) -> bool {
        tokio::select! {
            () = life.halt.cancelled() => false,
            () = tokio::time::sleep(self.0) => {
                self.0 = (self.0 * 2).min(PAUSE_MAX);
                true
            }
        }
    }
}

/// The time that peers have to come back.
pub(super) struct Patience(tokio::time::Instant);

impl Patience {
    fn new() -> Self {
        Self(tokio::time::Instant::now())
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.elapsed() >= PATIENCE
    }
}

impl Life {
    /// Sees to it that a task carries the sandbox's intent out.
    pub(crate) fn drive(self: &Arc<Self>, cell: &Arc<Cell>, id: &SandboxId) {
        // The one that drives looks at the row again when it is through.
        if cell.begin_driving() {
            self.go_on_driving(cell, id);
        }
    }

    /// As [`Self::drive`], for who has begun to drive already.
    pub(crate) fn go_on_driving(self: &Arc<Self>, cell: &Arc<Cell>, id: &SandboxId) {
        let (life, cell, id) = (Arc::clone(self), Arc::clone(cell), id.clone());
        self.tasks.spawn("drive", async move {
            loop {
                let parked = life.drive_to_the_end(&cell, &id).await;
                let asked = cell.stop_driving();
                if life.is_halted() {
                    return;
                }
                // An intent that was written between the last look and this line is nobody's yet.
                let left = cell
                    .view()
                    .is_some_and(|sandbox| sandbox.state.intent.is_some());
                let go_on = asked || (left && !parked);
                if !go_on || !cell.begin_driving() {
                    return;
                }
            }
        });
    }

    /// Sees to it that the intent is this process's to carry out; false while it is another's. Nothing is
    /// written for an intent that this process wrote itself, as most are.
    async fn has_lease(&self, cell: &Cell, id: &SandboxId) -> Result<bool, StoreError> {
        let lease = self.lease();
        if cell.is_leased(lease.now) {
            return Ok(true);
        }
        let taken = self.store.take(id, &lease).await?;
        if taken {
            cell.lease(lease.until);
        }
        Ok(taken)
    }

    /// Answers whether something is left that cannot be done now.
    async fn drive_to_the_end(self: &Arc<Self>, cell: &Arc<Cell>, id: &SandboxId) -> bool {
        let mut pause = Pause::new();
        let patience = Patience::new();
        loop {
            if self.is_halted() {
                return true;
            }
            let sandbox = match self.current(cell, id).await {
                Ok(sandbox) => sandbox,
                Err(ApplyError::Unknown) => return true,
                Err(error) => {
                    tracing::warn!(sandbox = %id, %error, "a sandbox could not be read");
                    if !pause.wait(self).await {
                        return true;
                    }
                    continue;
                }
            };
            let Some(intent) = sandbox.state.intent else {
                return false;
            };
            match self.has_lease(cell, id).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::debug!(sandbox = %id, "another orchestrator is at it");
                    cell.forget();
                    return true;
                }
                Err(error) => {
                    tracing::warn!(sandbox = %id, %error, "an intent could not be taken");
                    if !pause.wait(self).await {
                        return true;
                    }
                    continue;
                }
            }
            let carried_out = async {
                match intent {
                    Intent::Start => self.start(cell, &sandbox, &patience).await,
                    Intent::End => self.end(cell, &sandbox).await,
                }
            };
            // Peers that go away at the end of the process must not be taken for peers that refuse: what is
            // left half-way here is found by the next start.
            let outcome = tokio::select! {
                biased;
                () = self.halt.cancelled() => return true,
                outcome = carried_out => outcome,
            };
            match outcome {
                Ok(Outcome::Done) => pause = Pause::new(),
                Ok(Outcome::Again) => {
                    if !pause.wait(self).await {
                        return true;
                    }
                }
                Ok(Outcome::Parked) => return true,
                // The rules say that it is about something else by now: the row tells what.
                Err(ApplyError::Refused(_) | ApplyError::Other | ApplyError::Exceeded(_)) => {}
                Err(ApplyError::Unknown | ApplyError::Ending) => return true,
                Err(error @ (ApplyError::Store(_) | ApplyError::Contended)) => {
                    tracing::warn!(sandbox = %id, %error, "a transition could not be written");
                    if !pause.wait(self).await {
                        return true;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
