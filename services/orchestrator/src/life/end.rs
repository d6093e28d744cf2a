//! To no instance: withdraw, drain, revoke the agent, sync, revoke the instance, release, verify.
//!
//! A step that fails is said and does not keep the next ones from being done; only that nothing is left, and
//! that nothing minted is accepted any more, must be certain before the row says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use sandgate_types::{InstanceId, VersionId, chain};

use super::drive::{Outcome, Pause};
use super::{ApplyError, Life};
use crate::crash::crash_point;
use crate::hub::Cell;
use crate::lifecycle::Event;
use crate::peers::Stored;
use crate::sandbox::{Run, Sandbox};

/// What the last sync came to.
#[derive(Default)]
struct Synced {
    version: Option<VersionId>,
    not_synced: String,
}

impl Life {
    pub(super) async fn end(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        sandbox: &Arc<Sandbox>,
    ) -> Result<Outcome, ApplyError> {
        crash_point!("end-recorded");
        let Some(mut instances) = self.instances_of(sandbox).await else {
            return Ok(Outcome::Parked);
        };
        let mut synced = Synced::default();
        if let Some(run) = &sandbox.state.run {
            self.feed.ending(sandbox);
            crash_point!("end-withdrawn");
            synced = if run.gone || !instances.contains(&run.instance) {
                lost(run)
            } else {
                self.quiet(sandbox, run).await
            };
            instances.insert(run.instance.clone());
        }
        if !self.take_away(sandbox, &instances).await {
            return Ok(Outcome::Parked);
        }
        crash_point!("end-verified");
        let version = match synced.version {
            Some(version) => Some(version),
            // The keeper's last version may have been stored though nobody heard of it.
            None => self
                .peers
                .head(sandbox)
                .await
                .ok()
                .and_then(|head| head.version),
        };
        // The row may have become a delete's meanwhile; its end is the same.
        let ended = Event::Ended {
            version,
            not_synced: synced.not_synced,
        };
        let generation = sandbox.state.generation;
        self.apply_if(&sandbox.facts.id, ended, |current| {
            current.state.generation == generation
        })
        .await?;
        crash_point!("end-written");
        debug_assert!(cell.view().is_some());
        Ok(Outcome::Done)
    }

    /// Every instance that the backend holds for the sandbox; `None` when the process ends first.
    pub(super) async fn instances_of(&self, sandbox: &Sandbox) -> Option<BTreeSet<InstanceId>> {
        let mut pause = Pause::new();
        loop {
            match self.backend.list().await {
                Ok(all) => {
                    let own = all
                        .into_iter()
                        .filter(|state| state.sandbox.as_ref() == Some(&sandbox.facts.id));
                    return Some(own.map(|state| state.instance).collect());
                }
                Err(error) => {
                    tracing::warn!(sandbox = %sandbox.facts.id, error = %chain(&error), "the backend did not list");
                }
            }
            if !pause.wait(self).await {
                return None;
            }
        }
    }

    /// Stops what runs and stores what it left. What fails is said.
    async fn quiet(&self, sandbox: &Sandbox, run: &Run) -> Synced {
        let id = &sandbox.facts.id;
        let grace = self
            .templates
            .get(&sandbox.facts.template)
            .map_or(std::time::Duration::ZERO, |template| template.stop_grace);
        let drained = self.peers.drain(&run.instance, grace).await;
        if let Err(error) = &drained {
            tracing::warn!(sandbox = %id, %error, "the processes were not stopped before the sync");
        }
        crash_point!("end-drained");
        if let Err(error) = self.peers.revoke_agent(sandbox, &run.instance).await {
            // The whole instance is revoked below, and that is not given up.
            tracing::warn!(sandbox = %id, %error, "the agent's token was not revoked before the sync");
        }
        crash_point!("end-agent-revoked");
        if !run.complete {
            // Half a tree must not become a version.
            return Synced::default();
        }
        let synced = match self.peers.sync(&run.instance, self.limits.sync).await {
            Ok(Stored { version, skipped }) => Synced {
                version,
                not_synced: left_out(skipped),
            },
            Err(error) => {
                tracing::warn!(sandbox = %id, %error, "the last sync failed");
                Synced {
                    version: None,
                    not_synced: format!("changes since the last version; {error}"),
                }
            }
        };
        crash_point!("end-synced");
        synced
    }

    /// Revokes and releases the instances, until both are certain. False when the process ends first.
    async fn take_away(&self, sandbox: &Sandbox, instances: &BTreeSet<InstanceId>) -> bool {
        let id = &sandbox.facts.id;
        let mut to_revoke = instances.clone();
        let mut to_release = instances.clone();
        let mut pause = Pause::new();
        loop {
            for instance in to_revoke.clone() {
                match self.peers.revoke_instance(sandbox, &instance).await {
                    Ok(()) => {
                        to_revoke.remove(&instance);
                    }
                    Err(error) => {
                        tracing::warn!(sandbox = %id, %instance, %error, "an instance is not revoked yet");
                    }
                }
            }
            crash_point!("end-revoked");
            // An instance of an earlier run is known by the backend's list alone: released before it is revoked,
            // a crash would leave it accepted.
            for instance in to_release
                .difference(&to_revoke)
                .cloned()
                .collect::<Vec<_>>()
            {
                match self.backend.release(&instance).await {
                    Ok(()) => {
                        self.feed.remove(&instance);
                        to_release.remove(&instance);
                    }
                    Err(error) => {
                        tracing::warn!(sandbox = %id, %instance, error = %chain(&error), "an instance is not released yet");
                    }
                }
            }
            crash_point!("end-released");
            if to_revoke.is_empty() && to_release.is_empty() {
                // Absence is what the backend says, not what we asked for.
                let Some(left) = self.instances_of(sandbox).await else {
                    return false;
                };
                if left.is_empty() {
                    return true;
                }
                to_revoke = left.clone();
                to_release = left;
            }
            if !pause.wait(self).await {
                return false;
            }
        }
    }
}

/// What is said of entries that a version does not have.
fn left_out(skipped: u64) -> String {
    match skipped {
        0 => String::new(),
        1 => "1 entry was not stored".to_owned(),
        more => format!("{more} entries were not stored"),
    }
}

/// What is said of a run whose instance is gone already.
fn lost(run: &Run) -> Synced {
    let not_synced = if run.complete {
        "changes since the last version; the instance was gone before they could be stored"
    } else {
        ""
    };
    Synced {
        version: None,
        not_synced: not_synced.to_owned(),
    }
}
