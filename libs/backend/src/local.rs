//! Sandboxes on this machine: namespaces, with no daemon and no privilege.
//!
//! Every instance is two processes beside its own: a keeper, outside, and the parent of the sandbox's first
//! process. All are started by one thread that lives as long as the backend, and die with it; so nothing
//! outlives the process, however it ends. There is no weaker mode: a machine whose kernel refuses something
//! gets a [`StartError`].

mod config;
mod instance;
mod kills;
mod launcher;
mod memory;
mod pool;
mod processes;
mod registry;
mod supervisor;

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use sandgate_rpc::Shutdown;
use sandgate_session::link::InstanceLink;
use sandgate_types::InstanceId;
use tokio::sync::{Notify, broadcast, mpsc};

use self::instance::Instance;
use self::launcher::Launcher;
use self::registry::{Registry, Role};
use crate::{
    Backend, BackendError, Bound, Capabilities, ClaimRequest, Claimed, InstanceEvent,
    InstanceState, PoolState,
};

pub use config::{Limits, LocalConfig, LocalTemplate};

/// The most instances at a time: each is three processes and a dozen descriptors of ours.
pub(crate) const INSTANCES_MAX: usize = 1_000;
/// Events that a watcher may be behind.
const EVENTS: usize = 1_024;
/// Links that may wait for the gate; it takes each at once.
const LINKS: usize = INSTANCES_MAX;
/// How long the end of everything may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// When it looks again for what was just being started.
const STOP_AGAIN: Duration = Duration::from_millis(10);

/// Why this machine cannot run sandboxes.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to execute as sandboxd.
    #[error("open the binary of sandboxd")]
    Binary(#[source] std::io::Error),
    /// The thread that starts processes could not be made.
    #[error("start a thread")]
    Thread(#[source] std::io::Error),
    /// A template asks for what this machine cannot give or bound.
    #[error("template {template}: {rule}")]
    Template {
        /// Which.
        template: sandgate_types::TemplateName,
        /// What it would have to be.
        rule: String,
    },
    /// A first sandbox could not be made.
    #[error(
        "this machine cannot isolate a sandbox: {0}; Sandgate needs Linux 5.12 with user namespaces for this user \
         (user.max_user_namespaces above 0; on Debian kernel.unprivileged_userns_clone=1, on Ubuntu \
         kernel.apparmor_restrict_unprivileged_userns=0), seccomp, and for root that fs.suid_dumpable is not 1"
    )]
    Isolation(String),
}

/// The backend of one machine.
#[derive(Debug)]
pub struct LocalBackend {
    /// For tasks that outlive whoever asked for their work.
    me: Weak<Self>,
    config: LocalConfig,
    launcher: Arc<Launcher>,
    registry: Registry,
    events: broadcast::Sender<InstanceEvent>,
    links: parking_lot::Mutex<Option<mpsc::Sender<InstanceLink>>>,
    refill: Notify,
    /// When an instance was claimed last.
    claimed_at: parking_lot::Mutex<Option<tokio::time::Instant>>,
    shutdown: Shutdown,
}

impl LocalBackend {
    /// Starts the backend: makes a first sandbox, to see that this machine can, and then fills the pools.
    /// The tasks end with `shutdown`, which should begin after [`Backend::stop`].
    ///
    /// # Errors
    /// [`StartError`], which says what to enable.
    pub async fn start(config: LocalConfig, shutdown: Shutdown) -> Result<Arc<Self>, StartError> {
        let launcher = Arc::new(Launcher::start(&config)?);
        launcher.check(&config.templates)?;
        let backend = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            registry: Registry::default(),
            config,
            launcher,
            events: broadcast::Sender::new(EVENTS),
            links: parking_lot::Mutex::new(None),
            refill: Notify::new(),
            claimed_at: parking_lot::Mutex::new(None),
            shutdown: shutdown.clone(),
        });
        if let Some(template) = backend.config.templates.first() {
            let isolation = |error: BackendError| StartError::Isolation(error.to_string());
            let trial = backend
                .launch(template, Role::Spare)
                .await
                .map_err(isolation)?;
            if template.pool_size == 0 {
                backend.end(&trial).await.map_err(isolation)?;
            }
        }
        let pool = Arc::clone(&backend);
        shutdown.spawn("pool", async move { pool.keep_filled().await });
        Ok(backend)
    }

    fn me(&self) -> Result<Arc<Self>, BackendError> {
        self.me.upgrade().ok_or(BackendError::Unavailable)
    }

    /// The gate's ends of all instances' links: those that exist, and those to come. The latest subscriber gets
    /// them; the one before gets no more.
    pub fn links(&self) -> mpsc::Receiver<InstanceLink> {
        let (sender, receiver) = mpsc::channel(LINKS);
        *self.links.lock() = Some(sender);
        for instance in self.registry.ready() {
            self.link(&instance);
        }
        receiver
    }

    /// What bounds the sandboxes of the first template, for whoever tells people.
    pub fn bounds(&self) -> Vec<Bound> {
        let first = self.config.templates.first();
        first
            .map(|template| self.launcher.bounds(&template.limits))
            .unwrap_or_default()
    }

    /// Makes an instance a pair of links, when somebody takes them.
    fn link(&self, instance: &Arc<Instance>) {
        let Some(sender) = self.links.lock().clone() else {
            return;
        };
        match instance.new_link() {
            Ok(link) => {
                if let Err(error) = sender.try_send(link) {
                    tracing::warn!(%error, "the gate does not take links");
                }
            }
            Err(error) => {
                tracing::warn!(%error, instance = %instance.id, "an instance could not be linked")
            }
        }
    }
}

#[async_trait]
impl Backend for LocalBackend {
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, BackendError> {
        let ClaimRequest {
            template,
            sandbox,
            generation,
        } = request;
        let known = self
            .config
            .templates
            .iter()
            .find(|known| known.name == template);
        let template = known.ok_or(BackendError::UnknownTemplate(template))?;
        let bounds = self.launcher.bounds(&template.limits);
        let role = Role::Claimed {
            sandbox,
            generation,
        };
        let (instance, cold) = match self.registry.claim(&template.name, &role) {
            Some(spare) => (spare, false),
            None => (self.launch(template, role).await?, true),
        };
        *self.claimed_at.lock() = Some(tokio::time::Instant::now());
        self.refill.notify_one();
        Ok(Claimed {
            instance,
            cold,
            bounds,
        })
    }

    async fn release(&self, instance: &InstanceId) -> Result<(), BackendError> {
        self.end(instance).await
    }

    async fn list(&self) -> Result<Vec<InstanceState>, BackendError> {
        // What an earlier mesh left was perhaps still ending when this one started.
        self.launcher.memory.sweep();
        Ok(self.registry.list())
    }

    async fn pools(&self) -> Vec<PoolState> {
        let pool = |template: &LocalTemplate| PoolState {
            template: template.name.clone(),
            size: template.pool_size,
            ready: self.registry.spares(&template.name),
        };
        self.config.templates.iter().map(pool).collect()
    }

    fn watch(&self) -> broadcast::Receiver<InstanceEvent> {
        self.events.subscribe()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            survives_restart: false,
        }
    }

    async fn stop(&self) {
        let ends = async {
            loop {
                let all = self.registry.close();
                if all.is_empty() {
                    return;
                }
                // All at once; one that is still starting is met again.
                let begun: Vec<_> = all
                    .iter()
                    .map(|instance| self.begin_end(instance))
                    .collect();
                for (instance, answer) in all.iter().zip(begun.into_iter().flatten()) {
                    if let Ok(Err(error)) = answer.await {
                        tracing::debug!(%error, %instance, "an instance has not ended yet");
                    }
                }
                tokio::time::sleep(STOP_AGAIN).await;
            }
        };
        if tokio::time::timeout(STOP_LIMIT, ends).await.is_err() {
            tracing::warn!("some instances are left to the kernel");
        }
    }
}
