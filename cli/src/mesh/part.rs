//! One service of the mesh: what it runs in, how it is told to end, and why it did.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_rpc::Shutdown;

/// Why services ended that should not have.
pub(super) type Failures = Arc<Mutex<Vec<String>>>;

/// One service.
pub(super) struct Part {
    name: &'static str,
    shutdown: Shutdown,
    tasks: Shutdown,
}

impl Part {
    /// Starts what `serve` makes, which ends when it is told to.
    pub(super) fn start<E, F>(
        name: &'static str,
        failures: &Failures,
        serve: impl FnOnce(Shutdown) -> F,
    ) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let part = Self {
            name,
            shutdown: Shutdown::new(),
            tasks: Shutdown::new(),
        };
        let serving = serve(part.shutdown.clone());
        let (failures, tasks) = (Arc::clone(failures), part.tasks.clone());
        part.tasks.spawn(name, async move {
            if let Err(error) = serving.await {
                failures
                    .lock()
                    .push(format!("{name}: {:#}", anyhow::Error::from(error)));
            }
            tasks.begin();
        });
        part
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&self) {
        self.tasks.cancelled().await;
    }

    /// Tells it to end, and waits for that.
    pub(super) async fn end(&self, limit: Duration) {
        self.shutdown.begin();
        if !self.tasks.join(limit).await {
            tracing::warn!(service = self.name, "a service did not end in time");
        }
    }
}
