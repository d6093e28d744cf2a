//! The end of a process: everything that was spawned hears of it, and is waited for.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::RequestName;

/// Where tasks are spawned and from where they hear that the end has begun. Clones are the same shutdown.
///
/// *Begun* means that no new work is taken; *joined* that all tasks have ended.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    begun: CancellationToken,
    /// Our own tasks first, then those of whoever we are a part of.
    trackers: Vec<TaskTracker>,
}

impl Shutdown {
    /// One that has not begun and has no tasks.
    pub fn new() -> Self {
        Self {
            begun: CancellationToken::new(),
            trackers: vec![TaskTracker::new()],
        }
    }

    /// A part that begins to end with the whole, or alone; its tasks are joined by both.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut trackers = vec![TaskTracker::new()];
        trackers.extend(self.trackers.iter().cloned());
        Self {
            begun: self.begun.child_token(),
            trackers,
        }
    }

    /// Begins to end. Repeating it changes nothing.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether the end has begun.
    pub fn is_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until the end begins.
    pub async fn cancelled(&self) {
        self.begun.cancelled().await;
    }

    /// Spawns a task that is joined, in the current span and for the current request. It has to end by itself
    /// soon after the end began.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = task.in_current_span();
        match RequestName::current() {
            Some(request) => self.spawn_apart(name, request.scope(task)),
            None => self.spawn_apart(name, task),
        }
    }

    /// Spawns a task that is joined and belongs to no span or request, however it came about: what lives longer
    /// than the call that began it would keep that call's span open.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that spawns: it tracks"
    )]
    pub fn spawn_apart(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let tokens: Vec<_> = self.trackers.iter().map(TaskTracker::token).collect();
        let tracked = async move {
            task.await;
            drop(tokens);
            tracing::trace!(name, "a task ended");
        };
        // Nobody waits for the handle: the trackers do.
        drop(tokio::spawn(tracked));
    }

    /// Waits until all tasks have ended; `false` when they have not after `limit`.
    pub async fn join(&self, limit: Duration) -> bool {
        let Some(own) = self.trackers.first() else {
            return true;
        };
        own.close();
        tokio::time::timeout(limit, own.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_spawned_is_waited_for() {
        let shutdown = Shutdown::new();
        let ending = shutdown.clone();
        shutdown.spawn("waits", async move { ending.cancelled().await });
        assert!(!shutdown.join(Duration::from_millis(1)).await);
        shutdown.begin();
        assert!(shutdown.join(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_part_ends_alone_and_the_whole_waits_for_its_parts() {
        let whole = Shutdown::new();
        let part = whole.child();
        let ending = part.clone();
        part.spawn("waits", async move { ending.cancelled().await });
        assert!(!whole.join(Duration::from_millis(1)).await);
        part.begin();
        assert!(!whole.is_begun());
        assert!(whole.join(Duration::from_secs(5)).await);
        let other = whole.child();
        whole.begin();
        assert!(other.is_begun());
    }
}
