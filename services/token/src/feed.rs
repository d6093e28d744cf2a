//! Revocations as gates follow them: one feed, a copy of it in memory, and the leases of those who follow.
//!
//! The database gives the numbers. The copy only ever follows it, in order, so any number of tasks may ask it
//! to catch up. A revocation counts as known to a gate once the gate's lease request says so.
//!
//! A row that is missing is never passed over. The feed is damaged from then on: what would come behind the gap can
//! neither be applied here nor by a gate, so nothing is served until a start finds all rows.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use sandgate_session::RevocationSet;
use sandgate_session::lease::{Leases, Moment, Standing};
use tokio::sync::watch;

use crate::store::{Store, StoreError};

/// Revocations that are read at once; a page of a snapshot.
pub(crate) const PAGE: i64 = 1_000;
/// Gates that lapsed this long ago are no longer counted.
const FORGET_GATES_AFTER: Duration = Duration::from_secs(60);

/// Tells a moment; tests move it.
pub type Moments = Arc<dyn Fn() -> Moment + Send + Sync>;

/// The feed.
pub(crate) struct Feed {
    incarnation: String,
    set: RwLock<RevocationSet>,
    head: watch::Sender<i64>,
    leases: Mutex<Leases>,
    /// Changes with each lease request.
    heard: watch::Sender<u64>,
    /// The first revocation that was found missing.
    missing: watch::Sender<Option<i64>>,
    moments: Moments,
}

/// Who had heard of a revocation when it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Gates that applied it.
    pub acknowledged: u32,
    /// Gates that lost their lease first.
    pub lapsed: u32,
}

impl Feed {
    /// Reads the whole feed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn load(
        store: &Store,
        incarnation: String,
        others_may_hold_leases: bool,
        moments: Moments,
    ) -> Result<Self, StoreError> {
        let feed = Self {
            incarnation,
            set: RwLock::default(),
            head: watch::Sender::new(0),
            leases: Mutex::new(Leases::begin(moments(), others_may_hold_leases)),
            heard: watch::Sender::new(0),
            missing: watch::Sender::new(None),
            moments,
        };
        feed.catch_up(store).await?;
        Ok(feed)
    }

    /// Applies what the database has beyond the copy.
    ///
    /// # Errors
    /// See [`StoreError`]; what was applied so far stays. [`StoreError::Damaged`] stays as well.
    pub(crate) async fn catch_up(&self, store: &Store) -> Result<(), StoreError> {
        loop {
            if let Some(missing) = *self.missing.borrow() {
                return Err(StoreError::Damaged(missing));
            }
            let behind = self.set.read().head();
            let page = store.revocations_after(behind, PAGE).await?;
            if page.is_empty() {
                let kept = store.feed_head().await?;
                return if kept < behind {
                    Err(self.lacks(kept + 1))
                } else {
                    Ok(())
                };
            }
            let full = i64::try_from(page.len()).is_ok_and(|length| length == PAGE);
            {
                let mut set = self.set.write();
                for revocation in &page {
                    // Another task may have been faster.
                    if revocation.sequence > set.head() {
                        set.apply(revocation.sequence, &revocation.target)
                            .map_err(|gap| self.lacks(gap.head + 1))?;
                    }
                }
                // Within the lock, so that the head never goes back.
                self.head.send_replace(set.head());
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Takes note of a revocation that the database had, or must have, and does not.
    pub(crate) fn lacks(&self, sequence: i64) -> StoreError {
        let damaged = StoreError::Damaged(sequence);
        let first = self.missing.send_if_modified(|missing| {
            let first = missing.is_none();
            missing.get_or_insert(sequence);
            first
        });
        if first {
            tracing::error!(sequence, "nothing is served any more: {damaged}");
        }
        damaged
    }

    /// The same error; when it is of a missing revocation, that is noted.
    pub(crate) fn noting(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Damaged(sequence) => self.lacks(sequence),
            error @ (StoreError::Db(_) | StoreError::Row(_)) => error,
        }
    }

    /// Whether no revocation was found missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing.borrow().is_none()
    }

    /// The first revocation that was found missing, and when that changes.
    pub(crate) fn missing(&self) -> watch::Receiver<Option<i64>> {
        self.missing.subscribe()
    }

    /// What is revoked.
    pub(crate) fn revoked(&self) -> RwLockReadGuard<'_, RevocationSet> {
        self.set.read()
    }

    /// Which life of the feed this is.
    pub(crate) fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// The head, and each change of it.
    pub(crate) fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Grants a lease to a gate that has applied all there is; answers how long it is, and the head.
    pub(crate) fn renew_lease(
        &self,
        gate: &str,
        incarnation: &str,
        applied: i64,
    ) -> (Duration, i64) {
        let now = (self.moments)();
        // The set stays locked: a revocation is either in this head, or its wait sees this lease.
        let set = self.set.read();
        let mut leases = self.leases.lock();
        leases.forget_lapsed(now, FORGET_GATES_AFTER);
        // A gate of another incarnation has applied nothing of this one.
        let applied = if incarnation == self.incarnation {
            applied
        } else {
            -1
        };
        let lease = leases.renew(gate, applied, set.head(), now);
        self.heard
            .send_modify(|count| *count = count.wrapping_add(1));
        (lease, set.head())
    }

    /// Ends when every gate that holds a lease has applied `sequence`, or has lost its lease.
    pub(crate) async fn known(&self, sequence: i64) -> Known {
        let mut heard = self.heard.subscribe();
        loop {
            heard.mark_unchanged();
            let now = (self.moments)();
            let Standing {
                acknowledged,
                lapsed,
                waits_until,
            } = self.leases.lock().standing(sequence, now);
            let Some(until) = waits_until else {
                return Known {
                    acknowledged,
                    lapsed,
                };
            };
            // Either end of the wait leads to another look.
            let _elapsed = tokio::time::timeout(now.until(until), heard.changed()).await;
        }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("incarnation", &self.incarnation)
            .field("head", &*self.head.borrow())
            .finish()
    }
}
