//! What happens by itself: instances that end, times that are up, rows that are old enough to go.

use std::sync::Arc;

use sandgate_backend::InstanceEvent;
use sandgate_rpc::Shutdown;
use sandgate_types::{InstanceId, SandboxId, Timestamp};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use crate::hub::Cell;
use crate::life::{ApplyError, Life};
use crate::lifecycle::Event;
use crate::sandbox::{Phase, Reason, Sandbox};
use crate::template::SESSION_MAX;

/// How long a request id is remembered.
pub(crate) const REQUEST_MEMORY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// Rows are removed once in so many sweeps; it is a write that nobody waits for.
const SWEEPS_PER_FORGETTING: u64 = 60;

/// Why a READY sandbox is suspended at `now`, if it is.
pub(crate) fn due(
    sandbox: &Sandbox,
    session_max: std::time::Duration,
    last_active: Timestamp,
    now: Timestamp,
) -> Option<Reason> {
    if sandbox.state.phase != Phase::Ready {
        return None;
    }
    let run = sandbox.state.run.as_ref()?;
    if now >= run.claimed_at.plus(session_max) {
        return Some(Reason::SessionMax);
    }
    let idle = sandbox.facts.idle_timeout;
    let since = last_active.max(run.claimed_at);
    (!idle.is_zero() && now >= since.plus(idle)).then_some(Reason::Idle)
}

impl Life {
    /// Hears from the backend, and compares, until the end begins.
    pub(crate) async fn attend(self: Arc<Self>, shutdown: Shutdown) {
        let mut events = self.backend.watch();
        let mut compare = tokio::time::interval(self.limits.reconcile);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        compare.reset();
        let mut sweep = tokio::time::interval(self.limits.sweep);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps: u64 = 0;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.halted() => return,
                event = events.recv() => match event {
                    Ok(event) => self.hear(event).await,
                    Err(RecvError::Lagged(_)) => {
                        self.reconcile_beside().await;
                    }
                    Err(RecvError::Closed) => {
                        tracing::error!("the backend tells nothing any more; comparing goes on");
                        events = self.backend.watch();
                        compare.tick().await;
                    }
                },
                _ = compare.tick() => {
                    self.reconcile_beside().await;
                }
                _ = sweep.tick() => {
                    self.sweep().await;
                    sweeps += 1;
                    if sweeps.is_multiple_of(SWEEPS_PER_FORGETTING) {
                        self.forget().await;
                    }
                }
            }
        }
    }

    async fn hear(self: &Arc<Self>, event: InstanceEvent) {
        match event {
            InstanceEvent::Spare { instance } => self.feed.spare(instance),
            InstanceEvent::Ended { instance } => match self.feed.sandbox_of(&instance) {
                None => self.feed.remove(&instance),
                Some(id) => {
                    let lost = self.apply_if(&id, Event::InstanceLost, |sandbox| {
                        sandbox
                            .state
                            .run
                            .as_ref()
                            .is_some_and(|run| run.instance == instance)
                    });
                    if let Err(error) = lost.await {
                        tracing::debug!(sandbox = %id, %error, "an instance ended that nobody misses");
                    }
                }
            },
        }
    }

    /// Suspends what is idle or at its maximum, and deletes what has expired.
    pub(crate) async fn sweep(self: &Arc<Self>) {
        let now = self.clock.now();
        for (id, cell) in self.hub.all() {
            let Some(sandbox) = cell.view() else { continue };
            if let Some(reason) = self.due(&sandbox, &cell) {
                // It may have been used, or resumed, between the look and its turn.
                let holds = |sandbox: &Sandbox| self.due(sandbox, &cell) == Some(reason);
                self.end_by_itself(&id, Event::Suspend(reason), holds).await;
            }
        }
        match self.store.expired(now).await {
            Ok(expired) => {
                for id in expired {
                    // It may have been extended meanwhile.
                    let holds = |sandbox: &Sandbox| sandbox.state.expires_at <= now;
                    self.end_by_itself(&id, Event::Delete(Reason::Expired), holds)
                        .await;
                }
            }
            Err(error) => tracing::warn!(%error, "expired sandboxes were not looked for"),
        }
        self.hub.prune();
    }

    fn due(&self, sandbox: &Sandbox, cell: &Cell) -> Option<Reason> {
        let session_max = self
            .templates
            .get(&sandbox.facts.template)
            .map_or(SESSION_MAX, |template| template.session_max);
        due(sandbox, session_max, cell.last_active(), self.clock.now())
    }

    async fn end_by_itself(
        self: &Arc<Self>,
        id: &SandboxId,
        event: Event,
        holds: impl Fn(&Sandbox) -> bool + Send,
    ) {
        match self.apply_if(id, event, holds).await {
            Ok(sandbox) => {
                let reason = sandbox.state.reason.as_str();
                tracing::info!(sandbox = %id, reason, "a sandbox ends by itself");
            }
            Err(ApplyError::Other) => {
                tracing::debug!(sandbox = %id, "a sandbox has got more time meanwhile");
            }
            Err(error) => {
                tracing::warn!(sandbox = %id, %error, "a sandbox whose time is up was not ended");
            }
        }
    }

    /// Removes rows and memories that are old enough.
    pub(crate) async fn forget(&self) {
        let now = self.clock.now();
        let (ended, asked) = (now.minus(self.limits.retention), now.minus(REQUEST_MEMORY));
        if let Err(error) = self.store.forget(ended, asked).await {
            tracing::warn!(%error, "old rows were not removed");
        }
    }

    /// Notes activity that a gate reports.
    pub(crate) fn active(&self, id: &SandboxId, instance: &InstanceId, at: Timestamp) {
        let runs_in = |sandbox: &Sandbox| {
            sandbox
                .state
                .run
                .as_ref()
                .is_some_and(|run| run.instance == *instance)
        };
        let cell = self.hub.known(id);
        if let Some(cell) = cell.filter(|cell| cell.view().is_some_and(|sandbox| runs_in(&sandbox)))
        {
            // A gate's clock may run ahead; nobody is active in the future.
            cell.touch(at.min(self.clock.now()));
        }
    }

    /// Suspends all that run, since their instances end with this process.
    pub(crate) async fn suspend_all(self: &Arc<Self>) {
        if self.backend.capabilities().survives_restart {
            return;
        }
        for (id, cell) in self.hub.all() {
            let runs = cell
                .view()
                .is_some_and(|sandbox| match sandbox.state.phase {
                    Phase::Claiming | Phase::Attaching | Phase::Hydrating | Phase::Ready => true,
                    Phase::Suspending
                    | Phase::Suspended
                    | Phase::Deleting
                    | Phase::Deleted
                    | Phase::Finished
                    | Phase::Failed => false,
                });
            if runs
                && let Err(error) = self
                    .apply(&id, Event::Suspend(Reason::BackendRestarted))
                    .await
            {
                tracing::warn!(sandbox = %id, %error, "it is not suspended before the end");
            }
        }
        let ending = async {
            for (_, cell) in self.hub.all() {
                let mut views = cell.follow();
                // The hub keeps the cell, so this ends by the condition alone.
                let _ended = views
                    .wait_for(|view| {
                        view.as_ref()
                            .is_none_or(|sandbox| sandbox.state.intent.is_none())
                    })
                    .await;
            }
        };
        if tokio::time::timeout(self.limits.drain, ending)
            .await
            .is_err()
        {
            tracing::warn!("not all sandboxes were suspended in time; the next start finishes it");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
