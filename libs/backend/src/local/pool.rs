//! Starts and ends instances, and keeps the pools filled.
//!
//! A start or an end runs to its end in a task of its own: whoever asked for it may go away in the middle.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_types::InstanceId;
use tokio::sync::oneshot;

use super::LocalBackend;
use super::config::LocalTemplate;
use super::instance::Instance;
use super::registry::{Found, Role};
use crate::{BackendError, InstanceEvent};

/// After a start failed, the pool waits this long; claims try by themselves.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// A claim's own work, from its tokens to its first command, goes before the spare that replaces what was claimed: it
/// takes four to eight milliseconds of a small machine, and a start as much again.
const AFTER_CLAIM: Duration = Duration::from_millis(10);
/// How long what is left of a lost instance is let alone before it is ended again.
const AFTER_STUCK: Duration = Duration::from_secs(1);

/// The answer to what runs by itself.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, BackendError>>;

impl LocalBackend {
    /// Starts an instance and waits until it is ready. What fails leaves nothing; what nobody waits for any more
    /// is listed.
    pub(super) async fn launch(
        &self,
        template: &LocalTemplate,
        role: Role,
    ) -> Result<InstanceId, BackendError> {
        let (me, template) = (self.me()?, template.clone());
        let answer = self.run(
            "launch",
            async move { me.launch_here(&template, role).await },
        );
        answer.await.map_err(|_| BackendError::Unavailable)?
    }

    /// Destroys an instance and takes it off the list once nothing is left.
    pub(super) async fn end(&self, id: &InstanceId) -> Result<(), BackendError> {
        let answer = self.begin_end(id)?;
        answer.await.map_err(|_| BackendError::Unavailable)?
    }

    /// [`Self::end`], for who does not wait at once.
    pub(super) fn begin_end(&self, id: &InstanceId) -> Result<Answer<()>, BackendError> {
        let (me, id) = (self.me()?, id.clone());
        Ok(self.run("end", async move { me.end_here(&id).await }))
    }

    fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, BackendError>> + Send + 'static,
    ) -> Answer<T> {
        let (tell, answer) = oneshot::channel();
        self.shutdown.spawn(name, async move {
            // Whoever asked may be gone; the work counts all the same.
            drop(tell.send(work.await));
        });
        answer
    }

    async fn launch_here(
        self: Arc<Self>,
        template: &LocalTemplate,
        role: Role,
    ) -> Result<InstanceId, BackendError> {
        let id = InstanceId::random(&mut StdRng::from_os_rng());
        let is_spare = matches!(role, Role::Spare);
        self.registry.enter(&id, &template.name, role)?;
        let started = Instance::start(&self.launcher, id.clone(), &template.limits).await;
        let instance = match started {
            Ok(instance) => Arc::new(instance),
            Err(message) => {
                self.registry.remove(&id);
                return Err(BackendError::Launch(message));
            }
        };
        let wanted = self.registry.set_ready(Arc::clone(&instance));
        self.follow(Arc::clone(&instance));
        if !wanted {
            self.end_here(&id).await?;
            return Err(BackendError::Unavailable);
        }
        self.link(&instance);
        if is_spare {
            // Nobody may be watching.
            drop(self.events.send(InstanceEvent::Spare {
                instance: id.clone(),
            }));
        }
        Ok(id)
    }

    async fn end_here(&self, id: &InstanceId) -> Result<(), BackendError> {
        match self.registry.doom(id) {
            Found::Nothing => return Ok(()),
            // Whoever starts it ends it, once it is there.
            Found::Starting => return Err(BackendError::Stuck),
            Found::Ready(instance) if !instance.end().await => return Err(BackendError::Stuck),
            Found::Ready(_) => {}
        }
        if self.registry.remove(id) {
            drop(self.events.send(InstanceEvent::Ended {
                instance: id.clone(),
            }));
            self.refill.notify_one();
        }
        Ok(())
    }

    /// Watches an instance until it ends by itself, and clears up after it.
    fn follow(self: &Arc<Self>, instance: Arc<Instance>) {
        let me = Arc::clone(self);
        self.shutdown.spawn("instance", async move {
            tokio::select! {
                () = instance.lost() => {}
                () = me.shutdown.cancelled() => return,
            }
            while let Err(error) = me.end_here(&instance.id).await {
                tracing::warn!(%error, instance = %instance.id, "a lost instance could not be ended");
                tokio::select! {
                    () = tokio::time::sleep(AFTER_STUCK) => {}
                    () = me.shutdown.cancelled() => return,
                }
            }
            tracing::debug!(instance = %instance.id, "an instance ended");
        });
    }

    /// How long the next spare of a template may wait.
    fn rest(&self, template: &LocalTemplate) -> Duration {
        let since_claim = self.claimed_at.lock().map(|at| at.elapsed());
        let spares = self.registry.spares(&template.name);
        rest(spares, template.pool_size, since_claim)
    }

    /// Starts spares, one at a time, for as long as there are too few.
    pub(super) async fn keep_filled(&self) {
        loop {
            let lacking = self
                .config
                .templates
                .iter()
                .find(|template| self.registry.spares(&template.name) < template.pool_size);
            let pause = match lacking {
                Some(template) if !self.rest(template).is_zero() => self.rest(template),
                Some(template) => match self.launch(template, Role::Spare).await {
                    Ok(_) => continue,
                    Err(BackendError::Unavailable) => return,
                    Err(error) => {
                        tracing::warn!(%error, "a spare could not be started");
                        AFTER_FAILURE
                    }
                },
                None => Duration::MAX,
            };
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.refill.notified() => {}
            }
        }
    }
}

fn rest(spares: usize, size: usize, since_claim: Option<Duration>) -> Duration {
    let is_urgent = spares <= size / 2;
    match since_claim {
        Some(since) if !is_urgent => AFTER_CLAIM.saturating_sub(since),
        Some(_) | None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_waits_for_the_claim_before_it_but_not_when_half_of_the_pool_is_gone() {
        let just_now = Some(Duration::from_millis(5));
        assert_eq!(rest(7, 8, just_now), Duration::from_millis(5));
        assert_eq!(rest(5, 8, just_now), Duration::from_millis(5));
        assert_eq!(rest(4, 8, just_now), Duration::ZERO);
        assert_eq!(rest(7, 8, Some(AFTER_CLAIM)), Duration::ZERO);
        assert_eq!(rest(7, 8, None), Duration::ZERO, "nobody has claimed");
        assert_eq!(
            rest(0, 1, just_now),
            Duration::ZERO,
            "the next would be cold"
        );
    }
}
