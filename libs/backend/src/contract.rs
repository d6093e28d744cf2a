//! What every backend promises.

use async_trait::async_trait;
use tokio::sync::broadcast;

use sandgate_types::{Generation, InstanceId, SandboxId, TemplateName};

/// Where sandboxes run.
///
/// # Guarantees
/// - An instance serves one claim. Once claimed, even half, it is destroyed and never pooled.
/// - [`release`](Self::release) answers once nothing of the instance is left, and has looked.
/// - An instance that ends by itself is announced by [`watch`](Self::watch) and leaves [`list`](Self::list).
///
/// # Caveats
/// A claim that was not answered may have happened: look for its sandbox in [`list`](Self::list).
#[async_trait]
pub trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// Takes an instance of the template for a sandbox: a spare when there is one, else a new one.
    ///
    /// # Errors
    /// [`BackendError`] says whether another try can help.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, BackendError>;

    /// Destroys an instance. One that is unknown is gone already, and that is success.
    ///
    /// # Errors
    /// When something of it is left. Call again.
    async fn release(&self, instance: &InstanceId) -> Result<(), BackendError>;

    /// Every instance that exists, spares included: complete, or an error.
    ///
    /// # Errors
    /// When the answer would not be complete; nothing may be concluded from absence then.
    async fn list(&self) -> Result<Vec<InstanceState>, BackendError>;

    /// The warm pools, one for each template.
    async fn pools(&self) -> Vec<PoolState>;

    /// What happens to instances from now on. A receiver that lags must [`list`](Self::list) again.
    fn watch(&self) -> broadcast::Receiver<InstanceEvent>;

    /// How this backend differs from others.
    fn capabilities(&self) -> Capabilities;

    /// Ends everything, and answers once it is gone.
    async fn stop(&self);
}

/// For which sandbox an instance is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The template to run.
    pub template: TemplateName,
    /// The sandbox that it will be a run of.
    pub sandbox: SandboxId,
    /// Which run.
    pub generation: Generation,
}

/// An instance that belongs to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The instance.
    pub instance: InstanceId,
    /// No spare was there, and the caller waited for a start.
    pub cold: bool,
    /// What the instance may use at most, and what holds it to that.
    pub bounds: Vec<Bound>,
}

/// A bound on an instance and the mechanism that enforces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// What is bounded: `memory`, `disk`, `tmp`, `processes`, `descriptors`.
    pub resource: &'static str,
    /// The most of it, in bytes or as a count.
    pub limit: i64,
    /// What enforces it, like `cgroup v2`.
    pub mechanism: &'static str,
}

/// An instance, as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// The instance.
    pub instance: InstanceId,
    /// Its template.
    pub template: TemplateName,
    /// Whose it is; `None` for a spare.
    pub sandbox: Option<SandboxId>,
    /// Which run of that sandbox; `None` for a spare.
    pub generation: Option<Generation>,
}

/// A warm pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolState {
    /// Whose spares these are.
    pub template: TemplateName,
    /// How many there should be.
    pub size: u32,
    /// How many can be claimed at once.
    pub ready: u32,
}

/// Something that happened to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceEvent {
    /// It is a spare now, and can be claimed.
    Spare {
        /// The instance.
        instance: InstanceId,
    },
    /// It is gone, whoever ended it.
    Ended {
        /// The instance.
        instance: InstanceId,
    },
}

/// How a backend differs from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Instances outlive a restart of the backend's process.
    pub survives_restart: bool,
}

/// Why a backend did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No such template is configured.
    #[error("the backend has no template {0}")]
    UnknownTemplate(TemplateName),
    /// The most instances that this backend can run exist already.
    #[error("the backend runs {0} instances, which is its limit")]
    Full(usize),
    /// The backend is ending.
    #[error("the backend is stopping")]
    Stopping,
    /// An instance did not come up.
    #[error("an instance did not start: {0}")]
    Launch(String),
    /// Something of an instance is still there.
    #[error("instance {instance} is not gone: {what}")]
    Remains {
        /// The instance.
        instance: InstanceId,
        /// What is left of it.
        what: String,
    },
}

impl BackendError {
    /// Another try may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Full(_) | Self::Launch(_) | Self::Remains { .. } => true,
            Self::UnknownTemplate(_) | Self::Stopping => false,
        }
    }
}
