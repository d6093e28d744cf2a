//! What the handlers work with once the database is there.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use rand::rngs::ThreadRng;
use sandgate_audit::Log;
use sandgate_rpc::{PageToken, Shutdown};
use sandgate_session::{Claims, Operations, RevocationTarget};
use sandgate_types::{ApiKeyId, Clock, TenantId, Timestamp};
use tokio::sync::oneshot;

use crate::api_key::{Following, Fresh};
use crate::authority::{Reach, name_of};
use crate::crash::crash_point;
use crate::feed::{Feed, Known, Moments};
use crate::keys::{self, Keys, KeysStale};
use crate::master_key::MasterKey;
use crate::records::{self, Act};
use crate::session::{Mint, Opening, Pair, SessionError};
use crate::signing::KeyringError;
use crate::store::{Added, Store, StoreError, StoredApiKey, StoredTenant};
use crate::witness::{self, Note, WitnessError};

/// Tenants that are read at once.
const PAGE: i64 = 1_000;

/// Changes are read again for this long, since clocks of replicas differ.
const CHANGES_OVERLAP: Duration = Duration::from_secs(120);
/// Why a key was revoked that has ended by itself, or at once in favour of another.
const ENDED: &str = "it has reached its end";
const FOLLOWED: &str = "another key follows it";

/// Why no key follows another.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// No randomness.
    #[error("make a secret")]
    Random(#[from] aws_lc_rs::error::Unspecified),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key before was not revoked.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
}

/// Why what is due was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TendError {
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] keys::TendError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A revocation.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// What is to be done cannot be recorded.
    #[error(transparent)]
    Unrecorded(#[from] sandgate_audit::Refused),
}

/// Why there is nothing to work with yet, or ever.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The keys, or where they are kept.
    #[error(transparent)]
    Tend(#[from] keys::TendError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The note of the feed's head.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The machine has no randomness.
    #[error("make random bytes")]
    Random(#[from] aws_lc_rs::error::Unspecified),
    /// What a start does by itself could not be put on record.
    #[error(transparent)]
    Unrecorded(#[from] sandgate_audit::Refused),
}

/// Why a revocation was not answered.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is no such API key, or it is not the caller's.
    #[error("there is no such API key")]
    ApiKeyUnknown,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The note of the feed's head.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The process ended meanwhile; the revocation may stand.
    #[error("the service is ending")]
    Ending,
}

/// A revocation that gates know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Revoked {
    /// Its number.
    pub sequence: i64,
    /// When its target was first revoked.
    pub at: Timestamp,
    /// Who knows.
    pub known: Known,
}

/// Settings of the core.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// How long tokens live.
    pub token_lifetime: Duration,
    /// How long a key signs.
    pub signing_key_age: Duration,
    /// Whether gates of an earlier start of this service may hold leases.
    pub others_may_hold_leases: bool,
    /// Where the feed's head is noted.
    pub feed_head_file: Option<PathBuf>,
}

/// Everything behind the handlers.
pub(crate) struct Core {
    /// The database.
    pub store: Store,
    /// The master key.
    pub master: Arc<MasterKey>,
    /// The signing keys.
    pub keys: Keys,
    /// The feed.
    pub feed: Feed,
    /// Signs page tokens.
    pub pages: PageToken,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Joins what outlives a call.
    pub shutdown: Shutdown,
    rules: Rules,
    grants: RwLock<HashMap<TenantId, Operations>>,
}

/// A core that comes when the database does.
pub(crate) type Pending = Arc<OnceLock<Arc<Core>>>;

impl Core {
    /// Reads everything.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub(crate) async fn load(
        store: Store,
        master: Arc<MasterKey>,
        rules: Rules,
        log: &Log,
        moments: Moments,
        clock: Arc<dyn Clock>,
        shutdown: Shutdown,
    ) -> Result<Self, LoadError> {
        let keys = Keys::load(
            store.clone(),
            Arc::clone(&master),
            Arc::clone(&moments),
            rules.signing_key_age,
        )
        .await?;
        keys.tend(log, clock.now()).await?;
        let incarnation = store.incarnation().await?.ok_or(KeyringError::Empty)?;
        let incarnation = match &rules.feed_head_file {
            None => incarnation,
            Some(path) => {
                let (note, fresh) = (witness::read(path)?, crate::gen_secret()?);
                if witness::has_lost(&store, note, &incarnation).await? {
                    records::done(log, Act::RevokeAllSessions, None).await?;
                    records::done(log, Act::RevokeAllApiKeys, None).await?;
                    witness::begin_anew(&store, &fresh, clock.now()).await?;
                    fresh
                } else {
                    incarnation
                }
            }
        };
        let feed = Feed::load(&store, incarnation, rules.others_may_hold_leases, moments).await?;
        let mut page_key = [0; 32];
        aws_lc_rs::rand::fill(&mut page_key)?;
        let core = Self {
            grants: RwLock::new(grants(&store, Timestamp::EPOCH).await?),
            store,
            master,
            keys,
            feed,
            pages: PageToken::new(&page_key),
            clock,
            shutdown,
            rules,
        };
        core.note_head().await?;
        Ok(core)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub(crate) fn open_session(&self, opening: Opening) -> Result<(Pair, String), SessionError> {
        let granted = self.granted_to(&opening.tenant);
        self.minting(granted, |mint| mint.open(opening))?
    }

    /// Renews the session of a daemon token that was verified.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub(crate) fn renew_session(&self, daemon: Claims) -> Result<Pair, SessionError> {
        let granted = self.granted_to(&daemon.tenant);
        self.minting(granted, |mint| mint.renew(daemon))?
    }

    fn granted_to(&self, tenant: &TenantId) -> Option<Operations> {
        self.grants.read().get(tenant).cloned()
    }

    fn minting<T>(
        &self,
        granted: Option<Operations>,
        work: impl FnOnce(&mut Mint<'_, ThreadRng>) -> T,
    ) -> Result<T, KeysStale> {
        let (keys, revoked) = (self.keys.current()?, self.feed.revoked());
        Ok(work(&mut Mint {
            keys: &keys,
            revoked: &revoked,
            granted,
            lifetime: self.rules.token_lifetime,
            now: self.clock.now(),
            rng: &mut rand::rng(),
        }))
    }

    /// Takes note of what a new tenant is granted.
    pub(crate) fn granted(&self, tenant: &StoredTenant) {
        self.grants
            .write()
            .insert(tenant.tenant.clone(), tenant.granted.clone());
    }

    /// Revokes, and ends once every gate that holds a lease knows. The work goes on when the caller goes away:
    /// what is in the database has to reach the feed.
    ///
    /// # Errors
    /// See [`RevokeError`].
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        target: RevocationTarget,
        reason: String,
        by: String,
        reach: Reach,
    ) -> Result<Revoked, RevokeError> {
        let core = Arc::clone(self);
        self.finish("revoke", async move {
            let now = core.clock.now();
            let added = Added {
                reason: &reason,
                by: &by,
                at: now,
                above: *core.feed.head().borrow(),
            };
            let (sequence, at) = match &target {
                RevocationTarget::ApiKey(id) => {
                    let may = |key: &StoredApiKey| reach.covers(&key.tenant);
                    let revoked = core.store.revoke_api_key(id, &added, may).await;
                    let revoked = revoked.map_err(|error| core.feed.noting(error))?;
                    revoked.ok_or(RevokeError::ApiKeyUnknown)?
                }
                RevocationTarget::Sessions { .. } => {
                    let sequence = core.store.revoke(&target, &added).await;
                    (sequence.map_err(|error| core.feed.noting(error))?, now)
                }
            };
            crash_point!("revoke-committed");
            core.feed.catch_up(&core.store).await?;
            core.note_head().await?;
            crash_point!("revoke-noted");
            let known = core.feed.known(sequence).await;
            Ok(Revoked {
                sequence,
                at,
                known,
            })
        })
        .await
    }

    /// Makes the key that follows another, which ends at the instant that is answered.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub(crate) async fn follow_api_key(
        self: &Arc<Self>,
        following: Following,
        by: String,
    ) -> Result<(Fresh, Timestamp), FollowError> {
        let (id, now) = (ApiKeyId::random(&mut rand::rng()), self.clock.now());
        let fresh = following.fresh(id, &self.master, now)?;
        let Following { before, overlap } = following;
        let own = before.expires_at;
        let end = now.plus(overlap.unwrap_or_default());
        let end = own.map_or(end, |own| own.min(end));
        self.store
            .follow_api_key(&before.id, end, &fresh.kept)
            .await?;
        if overlap.is_none() {
            let target = RevocationTarget::ApiKey(before.id);
            self.revoke(target, FOLLOWED.to_owned(), by, Reach::Mesh)
                .await?;
        }
        Ok((fresh, end))
    }

    /// Does what time makes due, and takes what other replicas have changed: signing keys, API keys that have ended,
    /// grants.
    ///
    /// # Errors
    /// See [`TendError`].
    pub(crate) async fn tend(self: &Arc<Self>, log: &Log) -> Result<(), TendError> {
        let now = self.clock.now();
        self.keys.tend(log, now).await?;
        for key in self.store.ended_api_keys(now, PAGE).await? {
            records::done(log, Act::RevokeApiKey, Some(&key.tenant)).await?;
            let target = RevocationTarget::ApiKey(key.id);
            let by = name_of(None);
            self.revoke(target, ENDED.to_owned(), by, Reach::Mesh)
                .await?;
        }
        let since = now.minus(CHANGES_OVERLAP);
        let changed = grants(&self.store, since).await?;
        self.grants.write().extend(changed);
        Ok(())
    }

    async fn note_head(&self) -> Result<(), WitnessError> {
        let Some(path) = self.rules.feed_head_file.clone() else {
            return Ok(());
        };
        let incarnation = self.feed.incarnation().to_owned();
        let head = self.feed.revoked().head();
        witness::write(path, Note { incarnation, head }).await
    }

    async fn finish<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, RevokeError>> + Send + 'static,
    ) -> Result<T, RevokeError> {
        let (answer, answered) = oneshot::channel();
        self.shutdown.spawn(name, async move {
            // Nobody may be waiting any more.
            drop(answer.send(work.await));
        });
        answered.await.unwrap_or(Err(RevokeError::Ending))
    }
}

/// What the tenants are granted that changed since an instant.
async fn grants(
    store: &Store,
    since: Timestamp,
) -> Result<HashMap<TenantId, Operations>, StoreError> {
    let mut grants = HashMap::new();
    let mut after = String::new();
    loop {
        let page = store.tenants_changed_since(since, &after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(grants);
        };
        last.tenant.as_str().clone_into(&mut after);
        grants.extend(
            page.into_iter()
                .map(|tenant| (tenant.tenant, tenant.granted)),
        );
    }
}
