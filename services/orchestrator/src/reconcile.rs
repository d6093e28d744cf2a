//! What is, against what should be: from both sides, rows without an instance and instances without a row.
//!
//! [`plan`] decides and is pure. It concludes absence only from complete answers: rows are read after the
//! backend's list, so that an instance which was claimed meanwhile has its row, and instances are listed again
//! after the rows, so that a row which became READY meanwhile has its instance. Sandboxes that a task of this
//! process is at are left to it, and so are those of another orchestrator until its lease is over.

mod compare;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use sandgate_types::{InstanceId, SandboxId};

use self::compare::{Action, Known, Listed, When, plan};
use crate::life::{ApplyError, Life};
use crate::lifecycle::Event;
use crate::records;
use crate::sandbox::Sandbox;

/// Instances that are taken away at the same time; each may wait ten seconds for a peer.
const DESTROYED_AT_ONCE: usize = 8;

/// What a comparison found to do, and the rows that it is about.
struct Found {
    actions: Vec<Action>,
    rows: HashMap<SandboxId, Arc<Sandbox>>,
}

impl Life {
    /// Compares, and does what the plan says. False when the backend or the database did not answer.
    pub(crate) async fn reconcile(self: &Arc<Self>, at_start: bool) -> bool {
        match self.compare(at_start).await {
            Some(found) => self.act_on(found).await,
            None => false,
        }
    }

    /// Compares, and has what the plan says done by a task, one at a time: peers that do not answer keep
    /// neither events nor times from being looked at.
    pub(crate) async fn reconcile_beside(self: &Arc<Self>) {
        let Ok(alone) = Arc::clone(&self.comparing).try_acquire_owned() else {
            return;
        };
        let Some(found) = self.compare(false).await else {
            return;
        };
        let life = Arc::clone(self);
        self.tasks.spawn("reconcile", async move {
            tokio::select! {
                () = life.halted() => {}
                _done = life.act_on(found) => {}
            }
            drop(alone);
        });
    }

    /// `None` when the backend or the database did not answer.
    async fn compare(self: &Arc<Self>, at_start: bool) -> Option<Found> {
        let instances_survive = self.backend.capabilities().survives_restart;
        // Instances that end with their process have one orchestrator at a time: whoever was at them is gone,
        // and nobody waits for the end of a lease.
        if at_start
            && !instances_survive
            && let Err(error) = self.store.seize(&self.lease()).await
        {
            tracing::warn!(%error, "the intents of the start before were not taken");
            return None;
        }
        let listed = self.listed().await?;
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let batch = match self.store.live_after(after.as_ref()).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(%error, "the rows were not read");
                    return None;
                }
            };
            let Some((last, _)) = batch.last() else { break };
            after = Some(last.facts.id.clone());
            let now = self.clock.now();
            rows.extend(batch.into_iter().map(|(row, lessee)| {
                let driven = self
                    .hub
                    .known(&row.facts.id)
                    .is_some_and(|cell| cell.is_driven());
                Known {
                    sandbox: self.overlay(row),
                    driven,
                    elsewhere: lessee.is_some_and(|lessee| lessee.is_other(&self.owner, now)),
                }
            }));
        }
        let there = self.listed().await?;
        let there = there.into_iter().map(|listed| listed.instance).collect();
        let when = When {
            at_start,
            instances_survive,
        };
        self.follow_spares(&listed);
        for known in rows.iter().filter(|known| known.driven) {
            let (id, lease) = (&known.sandbox.facts.id, self.lease());
            match self.store.take(id, &lease).await {
                Ok(true) => self.hub.cell(id).lease(lease.until),
                // It is done by now, or somebody else's.
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "a lease was not renewed"),
            }
        }
        let actions = plan(&rows, &listed, &there, when);
        let rows = rows
            .into_iter()
            .map(|known| (known.sandbox.facts.id.clone(), known.sandbox));
        Some(Found {
            actions,
            rows: rows.collect(),
        })
    }

    /// Does what a comparison found. False when the process stops before all of it is done.
    async fn act_on(self: &Arc<Self>, found: Found) -> bool {
        let Found { actions, rows } = found;
        let mut unwanted = Vec::new();
        let mut others = Vec::new();
        for action in actions {
            match action {
                Action::Destroy(instance, owner) => unwanted.push((instance, owner)),
                other @ (Action::Adopt(_) | Action::Tell(..) | Action::Drive(_)) => {
                    others.push(other);
                }
            }
        }
        // Before a start is made again, its last instance is gone if it can be.
        stream::iter(unwanted)
            .for_each_concurrent(DESTROYED_AT_ONCE, |(instance, owner)| async move {
                if !self.is_halted() {
                    self.destroy(&instance, &owner).await;
                }
            })
            .await;
        for action in others {
            // Tasks that were at a sandbox have stopped with the process, and look like none.
            if self.is_halted() {
                return false;
            }
            self.act(action, &rows).await;
        }
        true
    }

    /// What the backend lists; `None` when it does not answer.
    async fn listed(&self) -> Option<Vec<Listed>> {
        let listed = match self.backend.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "the backend did not list its instances");
                return None;
            }
        };
        let listed = listed.into_iter().map(|state| Listed {
            instance: state.instance,
            claim: state.sandbox.map(|sandbox| (sandbox, state.generation)),
        });
        Some(listed.collect())
    }

    /// Gates learn of spares that are there, and of spares that are not.
    fn follow_spares(&self, listed: &[Listed]) {
        let there: HashSet<&InstanceId> = listed.iter().map(|listed| &listed.instance).collect();
        for spare in self.feed.spares() {
            if !there.contains(&spare) {
                self.feed.remove(&spare);
            }
        }
        for listed in listed.iter().filter(|listed| listed.claim.is_none()) {
            self.feed.spare(listed.instance.clone());
        }
    }

    async fn act(self: &Arc<Self>, action: Action, rows: &HashMap<SandboxId, Arc<Sandbox>>) {
        let row = |id: &SandboxId| rows.get(id).cloned();
        match action {
            Action::Destroy(instance, owner) => self.destroy(&instance, &owner).await,
            Action::Adopt(id) => {
                let Some(row) = row(&id) else { return };
                let cell = self.hub.cell(&id);
                cell.touch(self.clock.now());
                if cell.view().is_none() {
                    cell.show(&row);
                    self.feed.live(&row);
                }
            }
            Action::Tell(id, event) => {
                let Some(row) = row(&id) else { return };
                let lost = event == Event::StartAgain && self.lost_environment(&id, &row);
                let event = if lost { Event::EnvironmentLost } else { event };
                tracing::info!(sandbox = %id, ?event, "a row without its instance");
                // What was compared may have gone on since: a start that a client has woken must not be made
                // again under its feet, and one whose task has stopped with the process is the next one's.
                let cell = self.hub.cell(&id);
                let holds = |current: &Sandbox| {
                    !cell.is_driven() && !self.is_halted() && current.revision() == row.revision()
                };
                match self.apply_if(&id, event, holds).await {
                    Ok(_) => {}
                    Err(ApplyError::Other) => {
                        tracing::debug!(sandbox = %id, "the row has gone on meanwhile");
                    }
                    Err(error) => {
                        tracing::warn!(sandbox = %id, %error, "the row was not changed");
                    }
                }
            }
            Action::Drive(id) => {
                let Some(row) = row(&id) else { return };
                let cell = self.hub.cell(&id);
                if cell.view().is_none() {
                    cell.show(&row);
                }
                self.drive(&cell, &id);
            }
        }
    }

    /// Revokes and releases an instance that no row wants. What fails is tried again by the next comparison.
    pub(crate) async fn destroy(&self, instance: &InstanceId, owner: &SandboxId) {
        tracing::info!(%instance, sandbox = %owner, "an instance that no row wants is destroyed");
        let row = match self.store.get(owner).await {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(%instance, %error, "its row was not read, so it stays for now");
                return;
            }
        };
        let tenant = row.as_ref().map(|row| &row.facts.tenant);
        let entry = records::of_destroyed(owner, tenant);
        if let Err(error) = self.store.record(entry).await {
            tracing::warn!(%instance, %error, "its end is not on record, so it stays for now");
            return;
        }
        // Without a row nobody has minted for it: tokens come after the row.
        if let Some(row) = row
            && let Err(error) = self.peers.revoke_instance(&row, instance).await
        {
            // Once it is released nobody lists it, and so nobody would try again.
            tracing::warn!(%instance, %error, "it is not revoked yet, so it stays for now");
            return;
        }
        match self.backend.release(instance).await {
            Ok(()) => self.feed.remove(instance),
            Err(error) => tracing::warn!(%instance, %error, "it is not released yet"),
        }
    }

    /// Whether a start waits for an environment that its client has had time enough to bring again.
    fn lost_environment(&self, id: &SandboxId, row: &Sandbox) -> bool {
        row.state.awaits_environment
            && !self.environments.holds(id)
            && self.clock.now().since(self.started_at) > self.limits.environment_grace
    }
}
