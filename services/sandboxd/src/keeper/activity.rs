//! That something may have changed the workspace: what the next sync waits for.

use std::sync::Arc;

use tokio::sync::watch;

/// Touched by whatever may change files. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    touched: u64,
    running: usize,
}

impl Activity {
    /// Notes that files may have changed.
    pub(crate) fn touch(&self) {
        self.0.send_modify(|state| state.touched += 1);
    }

    /// Notes that a process runs, which may change files at any time.
    pub(crate) fn started(&self) {
        self.0.send_modify(|state| {
            state.touched += 1;
            state.running += 1;
        });
    }

    /// Notes that one ended.
    pub(crate) fn ended(&self) {
        self.0.send_modify(|state| {
            state.touched += 1;
            state.running = state.running.saturating_sub(1);
        });
    }

    /// How often it was touched.
    pub(crate) fn count(&self) -> u64 {
        self.0.borrow().touched
    }

    /// Whether any process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.0.borrow().running > 0
    }

    /// Waits until it was touched more than `count` times.
    pub(crate) async fn beyond(&self, count: u64) {
        // The sender is `self`, so waiting cannot fail while anybody waits.
        let mut states = self.0.subscribe();
        let _touched = states.wait_for(|state| state.touched > count).await;
    }
}
