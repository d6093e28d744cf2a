//! Rows of signing keys and roots, and the beginning of a database's trust.

use sandgate_db::{Row, Write, params};
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
const SIGNING_KEYS: &str = "SELECT key_id, algorithm, public_key, sealed, master_key_id, created_at
    FROM signing_keys ORDER BY created_at, key_id";
const ADD_SIGNING_KEY: &str = "INSERT INTO signing_keys
    (key_id, algorithm, public_key, sealed, master_key_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
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
            .execute(
                ADD_SIGNING_KEY,
                params![
                    &signing_key.key_id,
                    &signing_key.algorithm,
                    &signing_key.public_key,
                    &signing_key.sealed.bytes,
                    &signing_key.sealed.master_key_id,
                    signing_key.created_at,
                ],
            )
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
                })
            })
            .collect()
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

fn sealed(row: &Row) -> Result<Sealed, StoreError> {
    Ok(Sealed {
        master_key_id: row.text("master_key_id")?,
        bytes: row.bytes("sealed")?,
    })
}
