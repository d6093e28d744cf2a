//! Rows of signing keys and roots, and the beginning of a database's trust.

use sandgate_db::{Row, Value, Write, params};
use sandgate_types::Timestamp;

use super::{Store, StoreError, StoredApiKey, StoredTenant, api_keys, tenants};
use crate::master_key::Sealed;

/// A signing key as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct StoredSigningKey {
    /// The `kid`.
    pub key_id: String,
    /// The `alg`.
    pub algorithm: String,
    /// The raw public key.
    pub public_key: Vec<u8>,
    /// The sealed private key.
    pub sealed: Sealed,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its place among the keys, from 1.
    pub ordinal: i64,
    /// From when on it signs, until the next one does.
    pub signs_from: Timestamp,
}

/// A certificate authority as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct StoredRoot {
    /// What it signs.
    pub name: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its sealed private key.
    pub sealed: Sealed,
    /// When it was made.
    pub created_at: Timestamp,
}

/// All that the first `init` puts into an empty database.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// The incarnation of the feed.
    pub incarnation: String,
    /// The first signing key.
    pub signing_key: StoredSigningKey,
    /// The root of service certificates.
    pub root: StoredRoot,
    /// The first tenant.
    pub tenant: StoredTenant,
    /// The first API key.
    pub api_key: StoredApiKey,
}

const INCARNATION: &str = "feed_incarnation";
/// Is there while the first API key has to be made anew.
const FIRST_API_KEY: &str = "first_api_key";
const WANTED: &str = "wanted";
const FACT: &str = "SELECT value FROM facts WHERE name = $1";
const ADD_FACT: &str = "INSERT INTO facts (name, value) VALUES ($1, $2)";
const SET_FACT: &str = "UPDATE facts SET value = $2 WHERE name = $1";
const WANT_FACT: &str =
    "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
const DROP_FACT: &str = "DELETE FROM facts WHERE name = $1";
const SIGNING_KEYS: &str =
    "SELECT key_id, algorithm, public_key, sealed, master_key_id, created_at, ordinal, signs_from
    FROM signing_keys ORDER BY ordinal";
const ADD_SIGNING_KEY: &str = "INSERT INTO signing_keys
    (key_id, algorithm, public_key, sealed, master_key_id, created_at, ordinal, signs_from)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const DROP_SIGNING_KEY: &str = "DELETE FROM signing_keys WHERE key_id = $1";
const SIGN_FROM: &str =
    "UPDATE signing_keys SET signs_from = $2 WHERE key_id = $1 AND signs_from > $2";
/// Two replicas that make the next key at once make two of one ordinal.
const BY_ORDINAL: &str = "signing_keys_by_ordinal";
const ROOT: &str =
    "SELECT name, certificate, sealed, master_key_id, created_at FROM roots WHERE name = $1";
const ADD_ROOT: &str = "INSERT INTO roots (name, certificate, sealed, master_key_id, created_at)
    VALUES ($1, $2, $3, $4, $5)";

impl Store {
    /// Puts the beginning into a database that has none; `false` when it has one already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn begin(&self, beginning: &Beginning) -> Result<bool, StoreError> {
        let Beginning {
            incarnation,
            signing_key,
            root,
            tenant,
            api_key,
        } = beginning;
        let mut write = self.database.begin_write().await?;
        if write
            .fetch_optional(SIGNING_KEYS, params![])
            .await?
            .is_some()
        {
            write.rollback().await?;
            return Ok(false);
        }
        write
            .execute(ADD_FACT, params![INCARNATION, incarnation])
            .await?;
        write
            .execute(ADD_SIGNING_KEY, &values_of(signing_key))
            .await?;
        let StoredRoot {
            name,
            certificate,
            sealed,
            created_at,
        } = root;
        let values = params![
            name,
            certificate,
            &sealed.bytes,
            &sealed.master_key_id,
            *created_at
        ];
        write.execute(ADD_ROOT, values).await?;
        tenants::insert(&mut write, tenant).await?;
        api_keys::insert(&mut write, api_key).await?;
        write.commit().await?;
        Ok(true)
    }

    /// Whether nothing was begun yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self
            .database
            .fetch_optional(SIGNING_KEYS, params![])
            .await?
            .is_none())
    }

    /// The incarnation of the feed; `None` before the beginning.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn incarnation(&self) -> Result<Option<String>, StoreError> {
        let row = self
            .database
            .fetch_optional(FACT, params![INCARNATION])
            .await?;
        Ok(row.map(|row| row.text("value")).transpose()?)
    }

    /// Gives the feed another incarnation.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn set_incarnation(&self, incarnation: &str) -> Result<(), StoreError> {
        self.database
            .execute(SET_FACT, params![INCARNATION, incarnation])
            .await?;
        Ok(())
    }

    /// Whether the first API key has to be made anew.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn wants_first_api_key(&self) -> Result<bool, StoreError> {
        let wanted = self
            .database
            .fetch_optional(FACT, params![FIRST_API_KEY])
            .await?;
        Ok(wanted.is_some())
    }

    /// Adds the first API key that was made anew; `false` when another one was meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn add_first_api_key(&self, key: &StoredApiKey) -> Result<bool, StoreError> {
        let mut write = self.database.begin_write().await?;
        if write.execute(DROP_FACT, params![FIRST_API_KEY]).await? != 1 {
            write.rollback().await?;
            return Ok(false);
        }
        api_keys::insert(&mut write, key).await?;
        write.commit().await?;
        Ok(true)
    }

    /// All signing keys, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn signing_keys(&self) -> Result<Vec<StoredSigningKey>, StoreError> {
        let rows = self.database.fetch_all(SIGNING_KEYS, params![]).await?;
        rows.iter()
            .map(|row| {
                Ok(StoredSigningKey {
                    key_id: row.text("key_id")?,
                    algorithm: row.text("algorithm")?,
                    public_key: row.bytes("public_key")?,
                    sealed: sealed(row)?,
                    created_at: row.get("created_at")?,
                    ordinal: row.get("ordinal")?,
                    signs_from: row.get("signs_from")?,
                })
            })
            .collect()
    }

    /// Adds the next signing key; `false` when another replica has added one in its place.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn add_signing_key(&self, key: &StoredSigningKey) -> Result<bool, StoreError> {
        let added = self
            .database
            .execute(ADD_SIGNING_KEY, &values_of(key))
            .await;
        match added {
            Ok(_) => Ok(true),
            Err(error) if error.is_unique_violation_on(BY_ORDINAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a signing key; `false` when it was not there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn drop_signing_key(&self, key_id: &str) -> Result<bool, StoreError> {
        let dropped = self
            .database
            .execute(DROP_SIGNING_KEY, params![key_id])
            .await?;
        Ok(dropped == 1)
    }

    /// Removes the signing key that signs, in whose place the upcoming one signs from `now` on; `false` when either
    /// is not there, or signs already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn replace_signing_key(
        &self,
        key_id: &str,
        upcoming: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut write = self.database.begin_write().await?;
        let replaced = write.execute(SIGN_FROM, params![upcoming, now]).await? == 1
            && write.execute(DROP_SIGNING_KEY, params![key_id]).await? == 1;
        if replaced {
            write.commit().await?;
        } else {
            write.rollback().await?;
        }
        Ok(replaced)
    }

    /// A root by name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn root(&self, name: &str) -> Result<Option<StoredRoot>, StoreError> {
        let Some(row) = self.database.fetch_optional(ROOT, params![name]).await? else {
            return Ok(None);
        };
        Ok(Some(StoredRoot {
            name: row.text("name")?,
            certificate: row.text("certificate")?,
            sealed: sealed(&row)?,
            created_at: row.get("created_at")?,
        }))
    }
}

pub(super) async fn want_first_api_key(write: &mut Write) -> Result<(), StoreError> {
    write
        .execute(WANT_FACT, params![FIRST_API_KEY, WANTED])
        .await?;
    Ok(())
}

fn values_of(key: &StoredSigningKey) -> [Value; 8] {
    let StoredSigningKey {
        key_id,
        algorithm,
        public_key,
        sealed,
        created_at,
        ordinal,
        signs_from,
    } = key;
    [
        key_id.into(),
        algorithm.into(),
        public_key.into(),
        (&sealed.bytes).into(),
        (&sealed.master_key_id).into(),
        (*created_at).into(),
        (*ordinal).into(),
        (*signs_from).into(),
    ]
}

fn sealed(row: &Row) -> Result<Sealed, StoreError> {
    Ok(Sealed {
        master_key_id: row.text("master_key_id")?,
        bytes: row.bytes("sealed")?,
    })
}
