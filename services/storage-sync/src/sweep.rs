//! Forgetting what was begun and never committed.

use std::sync::Arc;
use std::time::Duration;

use sandgate_rpc::Shutdown;

use crate::storage::Storage;
use crate::store::StoreError;

/// How often. What is past its age is refused by then already; this only frees its rows.
const INTERVAL: Duration = Duration::from_secs(600);
/// Uploads forgotten in one transaction, so that commits are not kept waiting.
const AT_ONCE: usize = 32;

/// Forgets uploads and request ids of more than 24 h, until the end begins.
pub async fn run(storage: Arc<Storage>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _tick = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        match sweep(&storage).await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "forgot uploads that never committed"),
            Err(error) => tracing::warn!(error = %error, "could not forget old uploads"),
        }
    }
}

/// Forgets what is too old now; says how many uploads.
///
/// # Errors
/// See [`StoreError`].
pub async fn sweep(storage: &Storage) -> Result<usize, StoreError> {
    let mut forgotten = 0;
    loop {
        let some = storage.store.forget(storage.expired(), AT_ONCE).await?;
        forgotten += some;
        if some < AT_ONCE {
            return Ok(forgotten);
        }
    }
}
