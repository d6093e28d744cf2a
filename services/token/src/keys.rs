//! The signing keys of this replica: how it keeps up with the rows, and how they change.
//!
//! Rows say what signs and verifies, and any replica may change them; so each reads them again and again, and one that
//! could not for too long neither signs nor answers the list of keys.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sandgate_audit::{Log, Refused};
use sandgate_session::Algorithm;
use sandgate_session::lease::Moment;
use sandgate_types::Timestamp;

use crate::feed::Moments;
use crate::master_key::{MasterKey, SealError};
use crate::records::{self, Act};
use crate::rotation::{LEAD, Phase, ROWS_AGE_MAX, due, phases};
use crate::signing::{Keyring, KeyringError, generate};
use crate::store::{Store, StoreError, StoredSigningKey};

/// The rows were read too long ago to be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing keys could not be read for too long")]
pub struct KeysStale;

/// Why the keys are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum TendError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The next key cannot be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What is to be done cannot be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Refused),
}

/// Why a key does not leave.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// There is none of this id.
    #[error("there is no such signing key")]
    Unknown,
    /// It signs, and no other is there to take its place.
    #[error("the key signs, and no other is there in its place: rotate first")]
    Alone,
    /// The rows changed meanwhile.
    #[error("the signing keys changed meanwhile")]
    Changed,
    /// The keys cannot be read again.
    #[error(transparent)]
    Tend(#[from] TendError),
}

/// A key as it is told: never what is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// The `kid`.
    pub key_id: String,
    /// The `alg`.
    pub algorithm: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it signs.
    pub signs_from: Timestamp,
}

/// The keys as they were read last.
pub(crate) struct Keys {
    read: RwLock<Read>,
    store: Store,
    master: Arc<MasterKey>,
    moments: Moments,
    age: Duration,
}

struct Read {
    keyring: Arc<Keyring>,
    /// When the rows were asked for.
    at: Moment,
}

impl Keys {
    /// Reads and opens all keys, of which each signs for `age`.
    ///
    /// # Errors
    /// See [`TendError`].
    pub(crate) async fn load(
        store: Store,
        master: Arc<MasterKey>,
        moments: Moments,
        age: Duration,
    ) -> Result<Self, TendError> {
        let at = moments();
        let keyring = Keyring::open(&master, &store.signing_keys().await?)?;
        let keyring = Arc::new(keyring);
        Ok(Self {
            read: RwLock::new(Read { keyring, at }),
            store,
            master,
            moments,
            age,
        })
    }

    /// The keys to sign and verify by.
    ///
    /// # Errors
    /// [`KeysStale`], until the rows can be read again.
    pub(crate) fn current(&self) -> Result<Arc<Keyring>, KeysStale> {
        let read = self.read.read();
        if (self.moments)() < read.at.plus(ROWS_AGE_MAX) {
            Ok(Arc::clone(&read.keyring))
        } else {
            Err(KeysStale)
        }
    }

    /// Does what is due by `now`, each on record first, and takes the rows as they are then.
    ///
    /// # Errors
    /// See [`TendError`]; the keys that were read before go on, for a while.
    pub(crate) async fn tend(&self, log: &Log, now: Timestamp) -> Result<(), TendError> {
        let stored = self.store.signing_keys().await?;
        let due = due(&stored, now, self.age);
        if due.make
            && let Some(newest) = stored.last()
        {
            let next = self.next(newest, None, now)?;
            records::done(log, Act::RotateSigningKey, None).await?;
            // Where another replica was faster, its key is the next one.
            if self.store.add_signing_key(&next).await? {
                tracing::info!(key_id = next.key_id, "the next signing key is published");
            }
        }
        for key_id in &due.remove {
            records::done(log, Act::RetireSigningKey, None).await?;
            if self.store.drop_signing_key(key_id).await? {
                tracing::info!(key_id, "a signing key has left");
            }
        }
        self.reread().await.map(drop)
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    /// See [`TendError`].
    pub(crate) async fn list(&self, now: Timestamp) -> Result<Vec<Told>, TendError> {
        let stored = self.reread().await?;
        Ok(told(stored, now))
    }

    /// Publishes the next key, of an algorithm or that of the newest; where one is upcoming already, that is the one.
    /// Answers all keys.
    ///
    /// # Errors
    /// See [`TendError`].
    pub(crate) async fn rotate(
        &self,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<Vec<Told>, TendError> {
        let stored = self.store.signing_keys().await?;
        let upcoming = phases(&stored, now).last() == Some(&Phase::Upcoming);
        if !upcoming && let Some(newest) = stored.last() {
            let next = self.next(newest, algorithm, now)?;
            self.store.add_signing_key(&next).await?;
        }
        self.list(now).await
    }

    /// Takes a key out of the list at once, with all that it signed; where it is the one that signs, the upcoming one
    /// signs from now on. Answers the keys that are left.
    ///
    /// # Errors
    /// See [`RetireError`].
    pub(crate) async fn retire(
        &self,
        key_id: &str,
        now: Timestamp,
    ) -> Result<Vec<Told>, RetireError> {
        let stored = self.store.signing_keys().await.map_err(TendError::from)?;
        let phases = phases(&stored, now);
        let place = stored.iter().position(|key| key.key_id == key_id);
        let place = place.ok_or(RetireError::Unknown)?;
        let retired = match phases[place] {
            Phase::Active => {
                let upcoming = stored.get(place + 1).ok_or(RetireError::Alone)?;
                let replaced = self
                    .store
                    .replace_signing_key(key_id, &upcoming.key_id, now);
                replaced.await
            }
            Phase::Upcoming | Phase::Retiring(_) => self.store.drop_signing_key(key_id).await,
        };
        if !retired.map_err(TendError::from)? {
            return Err(RetireError::Changed);
        }
        Ok(self.list(now).await?)
    }

    fn next(
        &self,
        newest: &StoredSigningKey,
        algorithm: Option<Algorithm>,
        now: Timestamp,
    ) -> Result<StoredSigningKey, TendError> {
        let algorithm = algorithm.or_else(|| Algorithm::named(&newest.algorithm));
        let algorithm = algorithm.ok_or(KeyringError::Algorithm(newest.key_id.clone()))?;
        let key = generate(&self.master, algorithm, now)?;
        Ok(key.following(newest, now.plus(LEAD)))
    }

    async fn reread(&self) -> Result<Vec<StoredSigningKey>, TendError> {
        let at = (self.moments)();
        let stored = self.store.signing_keys().await?;
        let known = Arc::clone(&self.read.read().keyring);
        let keyring = if known.is_of(&stored) {
            known
        } else {
            Arc::new(Keyring::open(&self.master, &stored)?)
        };
        let mut read = self.read.write();
        // Another task may have read later.
        if read.at <= at {
            *read = Read { keyring, at };
        }
        Ok(stored)
    }
}

fn told(stored: Vec<StoredSigningKey>, now: Timestamp) -> Vec<Told> {
    let phases = phases(&stored, now);
    let keys = stored.into_iter().zip(phases);
    keys.map(|(key, phase)| Told {
        key_id: key.key_id,
        algorithm: key.algorithm,
        phase,
        created_at: key.created_at,
        signs_from: key.signs_from,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use sandgate_rpc::config::SecretFile;

    use super::*;
    use crate::{InitConfig, init};

    #[tokio::test]
    async fn keys_that_were_not_read_for_too_long_are_relied_on_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = InitConfig {
            database: sandgate_db::DatabaseUrl::sqlite(folder.path().join("token.db")),
            master_key_file: folder.path().join("master-key"),
            api_key_file: folder.path().join("api-key"),
            audit_dir: folder.path().join("audit"),
            certificates: None,
        };
        let clock = sandgate_testkit::TestClock::new();
        init(&config, clock.shared()).await.expect("init");
        let store = Store::open(&config.database).await.expect("a database");
        let master = MasterKey::read(&SecretFile::from(config.master_key_file)).expect("a key");
        let moment = Arc::new(Mutex::new(Moment::since_boot(Duration::ZERO)));
        let told = Arc::clone(&moment);
        let keys = Keys::load(
            store,
            Arc::new(master),
            Arc::new(move || *told.lock()),
            Duration::from_secs(24 * 3600),
        );
        let keys = keys.await.expect("keys");
        assert!(keys.current().is_ok());
        *moment.lock() = Moment::since_boot(ROWS_AGE_MAX);
        assert_eq!(keys.current().err(), Some(KeysStale));
        let now = sandgate_types::Clock::now(&clock);
        assert_eq!(keys.list(now).await.expect("keys").len(), 1);
        assert!(keys.current().is_ok());
    }
}
