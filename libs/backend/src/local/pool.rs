//! Starts and ends instances, and keeps the pools filled.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_types::InstanceId;

use super::LocalBackend;
use super::config::LocalTemplate;
use super::instance::Instance;
use super::registry::Role;
use crate::{BackendError, InstanceEvent};

/// After a start failed, the pool waits this long; claims try by themselves.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

impl LocalBackend {
    /// Starts an instance and waits until it is ready. What fails leaves nothing.
    pub(super) async fn launch(
        &self,
        template: &LocalTemplate,
        role: Role,
    ) -> Result<InstanceId, BackendError> {
        let id = InstanceId::random(&mut StdRng::from_os_rng());
        self.registry.enter(&id, &template.name, role)?;
        let started = Instance::start(&self.launcher, id.clone(), &template.limits).await;
        let instance = match started {
            Ok(instance) => Arc::new(instance),
            Err(message) => {
                self.registry.remove(&id);
                return Err(BackendError::Launch(message));
            }
        };
        if !self.registry.set_ready(Arc::clone(&instance)) {
            instance.end().await;
            return Err(BackendError::Unavailable);
        }
        self.link(&instance);
        self.follow(instance);
        // Nobody may be watching.
        drop(self.events.send(InstanceEvent::Spare {
            instance: id.clone(),
        }));
        Ok(id)
    }

    /// Destroys an instance and takes it off the list once nothing is left.
    pub(super) async fn end(&self, id: &InstanceId) -> Result<(), BackendError> {
        if let Some(instance) = self.registry.find(id)
            && !instance.end().await
        {
            return Err(BackendError::Stuck);
        }
        if self.registry.remove(id) {
            drop(self.events.send(InstanceEvent::Ended {
                instance: id.clone(),
            }));
            self.refill.notify_one();
        }
        Ok(())
    }

    /// Watches an instance until it ends by itself, or we do.
    fn follow(&self, instance: Arc<Instance>) {
        let (registry_events, shutdown) = (self.events.clone(), self.shutdown.clone());
        self.shutdown.spawn("instance", async move {
            tokio::select! {
                () = instance.lost() => {
                    tracing::info!(instance = %instance.id, "an instance ended");
                    drop(registry_events.send(InstanceEvent::Ended { instance: instance.id.clone() }));
                }
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Starts spares, one at a time, for as long as there are too few.
    pub(super) async fn keep_filled(&self) {
        let mut events = self.events.subscribe();
        loop {
            let lacking = self
                .config
                .templates
                .iter()
                .find(|template| self.registry.spares(&template.name) < template.pool_size);
            let pause = match lacking {
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
                event = events.recv() => if let Ok(InstanceEvent::Ended { instance }) = event {
                    // One that was lost is ended for good here; whoever claimed it hears by the same event.
                    if let Err(error) = self.end(&instance).await {
                        tracing::warn!(%error, %instance, "what is left of an instance could not be ended");
                    }
                },
            }
        }
    }
}
