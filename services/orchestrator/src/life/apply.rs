//! From an event to a row, and what follows from it: asked of the rules, written with its record, told, driven.

use std::sync::Arc;

use sandgate_types::SandboxId;

use super::Life;
use crate::hub::Cell;
use crate::lifecycle::{self, Effect, Event, Refusal};
use crate::quota::{self, Exceeded};
use crate::records::{self, By};
use crate::sandbox::{Reason, Sandbox};
use crate::store::{Beside, Memo, RequestKey, Saved, StoreError};

/// Writes that may fail their compare-and-swap before the caller is asked to come back.
const ATTEMPTS: usize = 8;

/// Why an event did not become a change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// There is no such sandbox.
    #[error("there is no such sandbox")]
    Unknown,
    /// It is not what the event is about.
    #[error("the event is about another run")]
    Other,
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A quota is in the way.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// Others wrote the row each time.
    #[error("the row was written by others")]
    Contended,
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// Who asks for a change, and under which request id.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) by: By,
    pub(crate) request: Option<(RequestKey, Memo)>,
}

impl Asked {
    /// Without a request id.
    pub(crate) fn by(by: By) -> Self {
        Self { by, request: None }
    }
}

/// What an event uses of quotas. What the orchestrator does by itself uses what it has to.
fn uses_of(event: &Event, next: &Sandbox) -> Option<quota::Asked> {
    match event {
        Event::Resume(_) => Some(quota::Asked::Start {
            memory: next.facts.memory,
        }),
        Event::Suspend(Reason::Requested) => Some(quota::Asked::Suspend),
        Event::Suspend(_)
        | Event::Claimed(_)
        | Event::ClaimFailed(_)
        | Event::Attached { .. }
        | Event::AttachFailed(_)
        | Event::Hydrated(_)
        | Event::HydrateFailed(_)
        | Event::Synced(_)
        | Event::CommandEnded { .. }
        | Event::InstanceLost
        | Event::BackendRestarted
        | Event::StartAgain
        | Event::EnvironmentLost
        | Event::Extend(_)
        | Event::Delete(_)
        | Event::Ended { .. } => None,
    }
}

impl Life {
    /// Makes what `event`, for which nobody asked, makes of a sandbox, and answers it.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        id: &SandboxId,
        event: Event,
    ) -> Result<Arc<Sandbox>, ApplyError> {
        self.apply_if(id, event, |_| true).await
    }

    /// As [`Self::apply`], if the sandbox is still what `holds` says when its turn comes.
    pub(crate) async fn apply_if(
        self: &Arc<Self>,
        id: &SandboxId,
        event: Event,
        holds: impl Fn(&Sandbox) -> bool + Send,
    ) -> Result<Arc<Sandbox>, ApplyError> {
        self.apply_asked(id, event, &Asked::by(By::Itself), holds)
            .await
    }

    /// As [`Self::apply_if`], for who asked for it. It is on record before anything of it is done.
    pub(crate) async fn apply_asked(
        self: &Arc<Self>,
        id: &SandboxId,
        event: Event,
        asked: &Asked,
        holds: impl Fn(&Sandbox) -> bool + Send,
    ) -> Result<Arc<Sandbox>, ApplyError> {
        let cell = self.hub.cell(id);
        let _turn = cell.turn.acquire().await.map_err(|_| ApplyError::Ending)?;
        for _ in 0..ATTEMPTS {
            let current = self.current(&cell, id).await?;
            if !holds(&current) {
                return Err(ApplyError::Other);
            }
            let (state, effects) =
                lifecycle::step(&current.state, event.clone(), self.clock.now())?;
            if effects.is_empty() {
                self.remember(asked).await?;
                return Ok(current);
            }
            let writes = effects.contains(&Effect::Write);
            let next = Sandbox {
                facts: current.facts.clone(),
                state,
                version: current.version + i64::from(writes),
            };
            if writes {
                match self.write(&cell, &next, &event, asked).await? {
                    Saved::Written => {}
                    Saved::Stale => {
                        cell.forget();
                        continue;
                    }
                    Saved::Exceeds(exceeded) => return Err(exceeded.into()),
                }
            }
            let next = Arc::new(next);
            self.carry_out(&cell, &next, &effects);
            return Ok(next);
        }
        Err(ApplyError::Contended)
    }

    /// Remembers a request that changed nothing: repeated after something else did, it gets this answer and
    /// not another change.
    pub(crate) async fn remember(&self, asked: &Asked) -> Result<(), StoreError> {
        match &asked.request {
            Some((key, memo)) => self.store.remember(key, memo, self.clock.now()).await,
            None => Ok(()),
        }
    }

    /// Writes what `event` made, with its record, if the row is still the one before it and quotas admit it.
    async fn write(
        &self,
        cell: &Cell,
        next: &Sandbox,
        event: &Event,
        asked: &Asked,
    ) -> Result<Saved, StoreError> {
        let beside = Beside {
            entry: records::of_change(event, next, &asked.by),
            request: asked
                .request
                .as_ref()
                .map(|(key, memo)| (key, memo.clone())),
            uses: uses_of(event, next),
        };
        // In memory before the row is: whoever finds the row drives it.
        let id = &next.facts.id;
        if let Event::Resume(environment) = event {
            self.environments.keep(id, environment.clone());
        }
        let lease = self.lease();
        let saved = self.store.save(next, &lease, beside).await;
        let is_written = matches!(saved, Ok(Saved::Written));
        if is_written {
            cell.lease(lease.until);
        }
        if matches!(event, Event::Resume(_)) && !is_written {
            self.environments.forget(id);
        }
        saved
    }

    fn carry_out(self: &Arc<Self>, cell: &Arc<Cell>, sandbox: &Arc<Sandbox>, effects: &[Effect]) {
        for effect in effects {
            match effect {
                // What gates know comes before whoever waits goes on.
                Effect::Publish => self.feed.live(sandbox),
                Effect::Withdraw => self.feed.ending(sandbox),
                Effect::ForgetEnvironment => {
                    self.environments.forget(&sandbox.facts.id);
                }
                // Written before, told by showing, driven after.
                Effect::Write | Effect::Show | Effect::Interrupt | Effect::Drive => {}
            }
        }
        cell.show(sandbox);
        if effects.contains(&Effect::Drive) {
            self.drive(cell, &sandbox.facts.id);
        }
    }
}
