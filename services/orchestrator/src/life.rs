//! Carries decisions out: asks [`lifecycle::step`], writes, tells, and starts what has to be done.
//!
//! Whatever takes more than one step runs in a task of its own that no caller's leaving ends; callers wait
//! for what it comes to.

mod apply;
mod drive;
mod end;
mod start;

use std::sync::Arc;
use std::time::Duration;

use sandgate_backend::Backend;
use sandgate_rpc::Shutdown;
use sandgate_types::{Clock, SandboxId, Timestamp};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::apply::{ApplyError, Asked};
use crate::environment::Environments;
use crate::feed::Feed;
use crate::hub::{Cell, Hub};
use crate::peers::Peers;
use crate::sandbox::Sandbox;
use crate::store::{Lease, Store, StoreError};
use crate::template::Templates;

/// How long an intent belongs to who carries it out; renewed by each reconciliation.
pub(crate) const LEASE: Duration = Duration::from_secs(120);

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A claim, cold starts included.
    pub claim: Duration,
    /// Bringing a workspace in.
    pub hydrate: Duration,
    /// The last sync of a run.
    pub sync: Duration,
    /// How long ended sandboxes stay readable.
    pub retention: Duration,
    /// How long a create whose environment was lost in a restart waits for its client to come back.
    pub environment_grace: Duration,
    /// How often rows and instances are compared.
    pub reconcile: Duration,
    /// How often times are looked at.
    pub sweep: Duration,
    /// How long suspending everything may take when the process ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            claim: Duration::from_secs(60),
            hydrate: Duration::from_secs(540),
            sync: Duration::from_secs(300),
            retention: Duration::from_secs(24 * 3600),
            environment_grace: Duration::from_secs(60),
            reconcile: Duration::from_secs(30),
            sweep: Duration::from_secs(1),
            drain: Duration::from_secs(30),
        }
    }
}

/// The orchestrator at work.
pub(crate) struct Life {
    pub(crate) templates: Templates,
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) peers: Peers,
    pub(crate) feed: Feed,
    pub(crate) hub: Hub,
    pub(crate) clock: Arc<dyn Clock>,
    /// One start of one orchestrator, as intents name it.
    pub(crate) owner: String,
    pub(crate) started_at: Timestamp,
    pub(crate) environments: Environments,
    pub(crate) tasks: Shutdown,
    /// Held by the comparison whose actions are being carried out.
    pub(crate) comparing: Arc<Semaphore>,
    /// Begun when nothing more may be waited for.
    halt: Shutdown,
}

/// What [`Life`] is made of.
pub(crate) struct Parts {
    pub(crate) templates: Templates,
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) peers: Peers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) owner: String,
    pub(crate) tasks: Shutdown,
    pub(crate) halt: Shutdown,
}

impl Life {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            templates,
            limits,
            store,
            backend,
            peers,
            clock,
            owner,
            tasks,
            halt,
        } = parts;
        Arc::new(Self {
            templates,
            limits,
            store,
            backend,
            peers,
            feed: Feed::new(),
            hub: Hub::new(),
            started_at: clock.now(),
            clock,
            owner,
            environments: Environments::default(),
            tasks,
            comparing: Arc::new(Semaphore::new(1)),
            halt,
        })
    }

    pub(crate) fn lease(&self) -> Lease {
        let now = self.clock.now();
        Lease {
            owner: self.owner.clone(),
            now,
            until: now.plus(LEASE),
        }
    }

    /// Runs `work` to its end in a task of its own, and waits for it; the caller may leave.
    ///
    /// # Errors
    /// [`ApplyError::Ending`] when the process ends before the work did.
    pub(crate) async fn tracked<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ApplyError> {
        let (sender, receiver) = oneshot::channel();
        self.tasks.spawn("request", async move {
            // Whoever asked may have left; the work is done all the same.
            let _left = sender.send(work.await);
        });
        receiver.await.map_err(|_| ApplyError::Ending)
    }

    /// The sandbox as it is: its row, or what memory knows beyond it.
    pub(crate) async fn get(&self, id: &SandboxId) -> Result<Option<Arc<Sandbox>>, StoreError> {
        let Some(row) = self.store.get(id).await? else {
            return Ok(None);
        };
        Ok(Some(self.overlay(row)))
    }

    /// What memory knows beyond a row.
    pub(crate) fn overlay(&self, row: Sandbox) -> Arc<Sandbox> {
        let known = self.hub.known(&row.facts.id).and_then(|cell| cell.view());
        match known {
            Some(view) if view.revision() > row.revision() => view,
            Some(_) | None => Arc::new(row),
        }
    }

    async fn current(&self, cell: &Cell, id: &SandboxId) -> Result<Arc<Sandbox>, ApplyError> {
        if let Some(view) = cell.view() {
            return Ok(view);
        }
        let row = self.store.get(id).await?.ok_or(ApplyError::Unknown)?;
        Ok(Arc::new(row))
    }

    /// Shows a row that was just made, and begins what its intent says; who made it drives the cell already.
    pub(crate) fn begin(self: &Arc<Self>, cell: &Arc<Cell>, sandbox: &Arc<Sandbox>) {
        let lease = self.lease();
        cell.touch(lease.now);
        cell.lease(lease.until);
        cell.show(sandbox);
        self.go_on_driving(cell, &sandbox.facts.id);
    }

    /// Says whether the process stops waiting for anything.
    pub(crate) fn is_halted(&self) -> bool {
        self.halt.is_begun()
    }

    /// Waits until the process stops waiting for anything.
    pub(crate) async fn halted(&self) {
        self.halt.cancelled().await;
    }
}
