//! The contract between the orchestrator and whatever runs sandboxes.

use async_trait::async_trait;
use sandgate_types::{Generation, InstanceId, SandboxId, TemplateName};
use tokio::sync::broadcast;

/// Runs instances.
///
/// *Guarantees:* an instance is claimed at most once and never pooled again, whatever becomes of the claim;
/// release answers only when no process, mount or folder of the instance is left; an instance that ends by
/// itself is an [`InstanceEvent::Ended`] and no longer listed.
#[async_trait]
pub trait Backend: Send + Sync + std::fmt::Debug + 'static {
    /// Makes an instance this sandbox's: a spare when there is one, else one that is started for it. Dropping
    /// the future may leave the instance claimed; it is in [`Backend::list`] then.
    ///
    /// # Errors
    /// [`BackendError`]; then nothing is claimed.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, BackendError>;

    /// Destroys an instance. Repeating it, or naming one that never was, changes nothing.
    ///
    /// # Errors
    /// [`BackendError::Stuck`], when something of it could not be ended yet; ask again.
    async fn release(&self, instance: &InstanceId) -> Result<(), BackendError>;

    /// All instances that exist, spares included: complete and current.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`]; absence must not be concluded then.
    async fn list(&self) -> Result<Vec<InstanceState>, BackendError>;

    /// How full the pools are.
    async fn pools(&self) -> Vec<PoolState>;

    /// What happens from now on. Whoever lags lists again.
    fn watch(&self) -> broadcast::Receiver<InstanceEvent>;

    /// What differs between backends.
    fn capabilities(&self) -> Capabilities;

    /// Ends every instance, for the end of the process.
    async fn stop(&self);
}

/// Whose an instance becomes.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// What it is made of.
    pub template: TemplateName,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The run of it.
    pub generation: Generation,
}

/// An instance that is claimed.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Which.
    pub instance: InstanceId,
    /// Whether it was started for this claim, since there was no spare.
    pub cold: bool,
    /// What bounds it.
    pub bounds: Vec<Bound>,
}

/// A resource that is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// `processes`, `memory`, `descriptors`, `output`, or a place that can be written: `disk` (the workspace),
    /// `home`, `tmp`, `shm`.
    pub resource: &'static str,
    /// The most, in bytes or as a count.
    pub limit: i64,
    /// What enforces it.
    pub mechanism: &'static str,
}

/// An instance that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// Which.
    pub instance: InstanceId,
    /// Whose; nobody's when it is a spare.
    pub sandbox: Option<SandboxId>,
    /// Which run.
    pub generation: Option<Generation>,
}

/// A pool of spares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolState {
    /// Of which template.
    pub template: TemplateName,
    /// How many there should be.
    pub size: usize,
    /// How many there are.
    pub ready: usize,
}

/// What happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceEvent {
    /// A spare is there.
    Spare {
        /// Which.
        instance: InstanceId,
    },
    /// It is gone, asked for or not.
    Ended {
        /// Which.
        instance: InstanceId,
    },
}

/// What differs between backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether instances live on while nobody of ours runs.
    pub survives_restart: bool,
}

/// Why a backend did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no such template.
    #[error("no template is called {0}")]
    UnknownTemplate(TemplateName),
    /// As many instances exist as may.
    #[error("as many sandboxes run here as may ({0})")]
    Full(usize),
    /// An instance could not be started.
    #[error("a sandbox could not be started: {0}")]
    Launch(String),
    /// Something of an instance is still there.
    #[error("a sandbox could not be ended yet")]
    Stuck,
    /// The backend cannot say at the moment.
    #[error("the backend is not available")]
    Unavailable,
}

impl BackendError {
    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Full(_) | Self::Launch(_) | Self::Stuck | Self::Unavailable => true,
            Self::UnknownTemplate(_) => false,
        }
    }
}
