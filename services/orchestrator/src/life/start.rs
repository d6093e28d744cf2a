//! To READY: claim, publish, mint, attach, hydrate.
//!
//! Nothing of the conversation goes toward an instance before its claim is acknowledged. A start that stops
//! half-way leaves its instance to the end that follows, or to the reconciler.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_backend::{ClaimRequest, Claimed};
use sandgate_types::{SessionId, chain};

use super::drive::{Outcome, Patience, Pause};
use super::{ApplyError, Life};
use crate::crash::crash_point;
use crate::hub::Cell;
use crate::lifecycle::{Claim, Event};
use crate::peers::{Head, PeerError, Session};
use crate::sandbox::{Bound, Phase, Run, Sandbox};
use crate::template::Template;

/// What a start was stopped by.
enum Stopped {
    /// The row says something else by now.
    Interrupted,
    /// A peer.
    Failed(PeerError),
}

impl From<PeerError> for Stopped {
    fn from(error: PeerError) -> Self {
        Self::Failed(error)
    }
}

impl Life {
    pub(super) async fn start(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        sandbox: &Arc<Sandbox>,
        patience: &Patience,
    ) -> Result<Outcome, ApplyError> {
        let id = &sandbox.facts.id;
        if sandbox.state.awaits_environment && !self.environments.holds(id) {
            return Ok(Outcome::Parked);
        }
        crash_point!("create-recorded");
        let Some(template) = self.templates.get(&sandbox.facts.template) else {
            let gone = "its template is not configured any more".to_owned();
            self.apply(id, Event::ClaimFailed(gone)).await?;
            return Ok(Outcome::Done);
        };
        let generation = sandbox.state.generation;
        let in_this_run = |current: &Sandbox| current.state.generation == generation;
        let is_complete = sandbox.state.run.as_ref().is_some_and(|run| run.complete);
        if sandbox.state.phase == Phase::Hydrating && is_complete {
            // It runs, and only that could not be written.
            self.apply_if(id, Event::Hydrated(None), in_this_run)
                .await?;
            return Ok(Outcome::Done);
        }
        if sandbox.state.phase != Phase::Claiming || !cell.claims_first(generation) {
            // A start of this process that was stopped, by the database for one; its instance is not used again.
            self.apply_if(id, Event::StartAgain, in_this_run).await?;
            // It may have taken its identity all the same, and must not run beside the next one.
            for instance in self.instances_of(sandbox).await.into_iter().flatten() {
                self.destroy(&instance, id).await;
            }
            return Ok(Outcome::Done);
        }
        let claimed = match self.claim(sandbox).await {
            Ok(claimed) => claimed,
            Err(message) => {
                self.apply_if(id, Event::ClaimFailed(message), in_this_run)
                    .await?;
                return Ok(Outcome::Done);
            }
        };
        crash_point!("create-claimed");
        let claimed = self
            .apply_if(id, Event::Claimed(claimed), in_this_run)
            .await?;
        crash_point!("create-published");
        match self.give_identity(cell, &claimed, template, patience).await {
            Ok(hydrates) => {
                crash_point!("create-attached");
                self.apply_if(id, Event::Attached { hydrates }, in_this_run)
                    .await?;
                crash_point!("create-running");
                if hydrates {
                    self.await_files(cell, id).await?;
                } else {
                    // Whoever waits for it to run has their answer by now.
                    self.apply_if(id, Event::Hydrated(None), in_this_run)
                        .await?;
                }
                crash_point!("create-ready");
            }
            Err(Stopped::Interrupted) => {}
            // The instance may have taken it although the answer was lost; it is not used again.
            Err(Stopped::Failed(error)) if error.is_passing() && !patience.is_over() => {
                tracing::info!(sandbox = %id, %error, "a start is made again, since a peer is away");
                // The row first: an instance that ends while it is the row's was lost.
                self.apply_if(id, Event::StartAgain, in_this_run).await?;
                if let Some(run) = &claimed.state.run {
                    self.destroy(&run.instance, id).await;
                }
                return Ok(Outcome::Again);
            }
            Err(Stopped::Failed(error)) => {
                tracing::warn!(sandbox = %id, %error, "an instance did not take its identity");
                self.apply_if(id, Event::AttachFailed(error.to_string()), in_this_run)
                    .await?;
            }
        }
        Ok(Outcome::Done)
    }

    async fn claim(&self, sandbox: &Sandbox) -> Result<Claim, String> {
        let request = ClaimRequest {
            template: sandbox.facts.template.clone(),
            sandbox: sandbox.facts.id.clone(),
            generation: sandbox.state.generation,
        };
        let claiming = self.backend.claim(request);
        let Claimed {
            instance,
            cold,
            bounds,
        } = match tokio::time::timeout(self.limits.claim, claiming).await {
            Ok(Ok(claimed)) => claimed,
            Ok(Err(error)) => {
                tracing::warn!(sandbox = %sandbox.facts.id, error = %chain(&error), "no instance");
                return Err(error.to_string());
            }
            Err(_) => return Err("the backend has no instance ready; try again later".to_owned()),
        };
        let bounds = bounds.into_iter().map(|bound| Bound {
            resource: bound.resource.to_owned(),
            limit: bound.limit,
            mechanism: bound.mechanism.to_owned(),
        });
        Ok(Claim {
            instance,
            session: SessionId::random(&mut StdRng::from_os_rng()),
            cold,
            bounds: bounds.collect(),
        })
    }

    /// Mints and attaches. Answers whether there are files to bring in.
    async fn give_identity(
        &self,
        cell: &Arc<Cell>,
        sandbox: &Arc<Sandbox>,
        template: &Template,
        patience: &Patience,
    ) -> Result<bool, Stopped> {
        let Some(run) = &sandbox.state.run else {
            return Err(Stopped::Interrupted);
        };
        let given = async {
            let (session, head) = self.session(sandbox, run, template, patience).await?;
            crash_point!("create-minted");
            let hydrates = head.version.is_some();
            let environment = self.environments.variables(&sandbox.facts.id);
            self.peers
                .attach(sandbox, run, template, session, head, environment)
                .await?;
            Ok(hydrates)
        };
        tokio::select! {
            given = given => given,
            () = interrupted(cell, sandbox) => Err(Stopped::Interrupted),
        }
    }

    /// Asks for what is attached. The instance knows nothing of it yet, so whoever is away is asked again.
    async fn session(
        &self,
        sandbox: &Sandbox,
        run: &Run,
        template: &Template,
        patience: &Patience,
    ) -> Result<(Session, Head), PeerError> {
        let mut pause = Pause::new();
        loop {
            let asked = tokio::try_join!(
                self.peers.mint(sandbox, run, template),
                self.peers.head(sandbox)
            );
            match asked {
                Err(error) if error.is_passing() && !patience.is_over() => {
                    tracing::debug!(sandbox = %sandbox.facts.id, %error, "a start waits for a peer");
                    if !pause.wait(self).await {
                        return Err(error);
                    }
                }
                asked => return asked,
            }
        }
    }

    /// Waits until the keeper has reported the files, or the row says something else.
    async fn await_files(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        id: &sandgate_types::SandboxId,
    ) -> Result<(), ApplyError> {
        let mut views = cell.follow();
        let arrived = views.wait_for(|view| {
            view.as_ref()
                .is_none_or(|sandbox| sandbox.state.phase != Phase::Hydrating)
        });
        let in_time = tokio::select! {
            arrived = tokio::time::timeout(self.limits.hydrate, arrived) => arrived.is_ok(),
            () = self.halt.cancelled() => return Err(ApplyError::Ending),
        };
        if !in_time {
            let message = "the files did not arrive in time; create it again".to_owned();
            self.apply(id, Event::HydrateFailed(message)).await?;
        }
        Ok(())
    }
}

/// Waits until the sandbox is not starting in this generation any more.
async fn interrupted(cell: &Arc<Cell>, sandbox: &Sandbox) {
    let generation = sandbox.state.generation;
    let mut views = cell.follow();
    let ended = views.wait_for(|view| {
        view.as_ref().is_none_or(|view| {
            view.state.generation != generation
                || !view.state.is_starting() && view.state.phase != Phase::Ready
        })
    });
    // The cell outlives whoever waits on it, so this ends by the condition alone.
    let _ended = ended.await;
}
