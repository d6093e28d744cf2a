//! What the gate knows of tokens and keys, and for how long it may rely on it: revocations under a lease, the
//! keys by which tokens are verified, and until when each session is good.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sandgate_api::token::v1::JsonWebKey;
use sandgate_session::lease::{Lease, Moment};
use sandgate_session::revocation::FeedGap;
use sandgate_session::{
    Claims, KeySet, KeySetRefusal, LEEWAY, RevocationSet, RevocationTarget, Verifier,
};
use sandgate_types::{ApiKeyId, SessionId, Timestamp};
use tokio::sync::{Notify, watch};

/// How far the feed of revocations is applied, streams cut included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The incarnation of the feed.
    pub(crate) incarnation: String,
    /// The newest number.
    pub(crate) head: i64,
}

/// What the gate may rely on.
#[derive(Debug)]
pub(crate) struct Trust {
    revocations: RwLock<RevocationSet>,
    applied: watch::Sender<Option<Applied>>,
    lease: Mutex<Lease>,
    verifier: RwLock<Option<Arc<Verifier>>>,
    /// Rung when a token names a key that is not in the list.
    keys_wanted: Notify,
    /// Rung when a lease was granted or keys came.
    changed: watch::Sender<u64>,
    /// Until when the newest token of each session is good.
    sessions: Mutex<HashMap<SessionId, Timestamp>>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            revocations: RwLock::default(),
            applied: watch::Sender::new(None),
            lease: Mutex::new(Lease::none()),
            verifier: RwLock::new(None),
            keys_wanted: Notify::new(),
            changed: watch::Sender::new(0),
            sessions: Mutex::default(),
        }
    }
}

impl Trust {
    /// Whether the lease is held.
    pub(crate) fn is_leased(&self, now: Moment) -> bool {
        self.lease.lock().is_held(now)
    }

    /// When the lease lapses.
    pub(crate) fn leased_until(&self) -> Option<Moment> {
        self.lease.lock().until()
    }

    /// Takes a grant that was asked for when the feed of `incarnation` was applied, and answers whether it counts:
    /// what was given up meanwhile is not given back by an answer about an earlier state.
    pub(crate) fn grant(&self, incarnation: &str, sent: Moment, lease: Duration) -> bool {
        let mut held = self.lease.lock();
        // Under the lock of the lease, which who gives it up holds as well.
        let still = self.applied.borrow().clone();
        let counts = still.is_some_and(|still| still.incarnation == incarnation);
        if counts {
            held.granted(sent, lease);
        }
        drop(held);
        if counts {
            self.ring();
        }
        counts
    }

    /// Gives the lease up: the feed differs from what was applied.
    pub(crate) fn forfeit(&self) {
        let mut held = self.lease.lock();
        held.forfeit();
        self.applied.send_replace(None);
        drop(held);
        self.ring();
    }

    fn ring(&self) {
        self.changed
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    /// Rings when a lease was granted, given up, or keys came.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether a token with these claims is revoked.
    pub(crate) fn is_revoked(&self, claims: &Claims) -> bool {
        self.revocations.read().matches(claims)
    }

    /// Whether an API key is revoked.
    pub(crate) fn is_key_revoked(&self, key: &ApiKeyId) -> bool {
        self.revocations.read().matches_api_key(key)
    }

    /// Whether the feed is where a heartbeat says that it is.
    pub(crate) fn agrees_with(&self, head: i64, running_hash: &[u8]) -> bool {
        self.revocations.read().agrees_with(head, running_hash)
    }

    /// Takes one revocation in. It is acknowledged by [`Self::acknowledge`], once streams are cut.
    pub(crate) fn revoke(&self, sequence: i64, target: &RevocationTarget) -> Result<(), FeedGap> {
        self.revocations.write().apply(sequence, target)
    }

    /// Takes a snapshot in the place of what was known.
    pub(crate) fn replace(&self, set: RevocationSet) {
        *self.revocations.write() = set;
    }

    /// States that everything up to here is applied.
    pub(crate) fn acknowledge(&self, incarnation: &str) {
        let head = self.revocations.read().head();
        // No grant is taken between the two states of the feed.
        let _held = self.lease.lock();
        self.applied.send_replace(Some(Applied {
            incarnation: incarnation.to_owned(),
            head,
        }));
    }

    /// How far the feed is applied.
    pub(crate) fn applied(&self) -> watch::Receiver<Option<Applied>> {
        self.applied.subscribe()
    }

    /// By what tokens are verified.
    pub(crate) fn verifier(&self) -> Option<Arc<Verifier>> {
        self.verifier.read().clone()
    }

    /// Takes a newer list of keys, in which no known id may mean another key.
    pub(crate) fn take_keys(&self, keys: &[JsonWebKey]) -> Result<(), KeySetRefusal> {
        let current = self.verifier();
        let next = match &current {
            Some(verifier) => verifier.keys().succeeded_by(keys)?,
            None => KeySet::from_wire(keys)?,
        };
        *self.verifier.write() = Some(Arc::new(Verifier::new(next)));
        self.ring();
        Ok(())
    }

    /// Gives the keys up: they are older than may be relied on.
    pub(crate) fn drop_keys(&self) {
        *self.verifier.write() = None;
        self.ring();
    }

    /// Asks for the list of keys to be read again.
    pub(crate) fn want_keys(&self) {
        self.keys_wanted.notify_one();
    }

    /// Waits until somebody wants the keys.
    pub(crate) async fn keys_wanted(&self) {
        self.keys_wanted.notified().await;
    }

    /// Notes that a session has a token that is good until then.
    pub(crate) fn note_session(&self, claims: &Claims) {
        let mut sessions = self.sessions.lock();
        let until = sessions
            .entry(claims.session.clone())
            .or_insert(claims.expires_at);
        *until = (*until).max(claims.expires_at);
    }

    /// Whether the newest token of a session has expired.
    pub(crate) fn is_over(&self, claims: &Claims, now: Timestamp) -> bool {
        let newest = self.sessions.lock().get(&claims.session).copied();
        newest.unwrap_or(claims.expires_at).plus(LEEWAY) <= now
    }

    /// Forgets sessions that are over.
    pub(crate) fn forget_sessions(&self, now: Timestamp) {
        self.sessions
            .lock()
            .retain(|_, until| until.plus(LEEWAY) > now);
    }
}

#[cfg(test)]
mod tests {
    use sandgate_session::lease::LEASE;

    use super::*;

    #[test]
    fn a_grant_counts_for_the_feed_that_is_applied_and_for_none_that_was_given_up() {
        let trust = Trust::default();
        let now = Moment::now();
        assert!(!trust.grant("one", now, LEASE), "nothing is applied yet");
        trust.acknowledge("one");
        assert!(!trust.grant("another", now, LEASE));
        assert!(!trust.is_leased(now));
        assert!(trust.grant("one", now, LEASE));
        assert!(trust.is_leased(now));
        trust.forfeit();
        assert!(!trust.grant("one", now, LEASE), "it was asked before");
        assert!(!trust.is_leased(now));
    }
}
