//! Revocations as gates follow them: one feed, a copy of it in memory, and the leases of those who follow.
//!
//! The database gives the numbers. The copy only ever follows it, in order, so any number of tasks may ask it
//! to catch up. A revocation counts as known to a gate once the gate's lease request says so.

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
            moments,
        };
        feed.catch_up(store).await?;
        Ok(feed)
    }

    /// Applies what the database has beyond the copy.
    ///
    /// # Errors
    /// See [`StoreError`]; what was applied so far stays.
    pub(crate) async fn catch_up(&self, store: &Store) -> Result<(), StoreError> {
        loop {
            let behind = self.set.read().head();
            let page = store.revocations_after(behind, PAGE).await?;
            let full = i64::try_from(page.len()).is_ok_and(|length| length == PAGE);
            {
                let mut set = self.set.write();
                for revocation in &page {
                    // Another task may have been faster; a gap cannot be, since rows have none.
                    if revocation.sequence > set.head() {
                        debug_assert_eq!(revocation.sequence, set.head() + 1);
                        let _gap = set.apply(revocation.sequence, &revocation.target);
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
