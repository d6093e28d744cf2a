//! Rows of revocations. The number of a new one is given in the transaction that writes it, and there is one
//! writer at a time, so numbers follow commits without gaps.

use sandgate_db::{Row, Write, params};
use sandgate_session::RevocationTarget;
use sandgate_types::{ApiKeyId, Timestamp};

use super::{Store, StoreError, StoredApiKey, api_keys, keys};

/// A revocation as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRevocation {
    /// Its number.
    pub sequence: i64,
    /// What it matches.
    pub target: RevocationTarget,
    /// When it was made.
    pub revoked_at: Timestamp,
}

/// Who revokes, when and why.
#[derive(Debug, Clone)]
pub(crate) struct Added<'a> {
    /// Why.
    pub reason: &'a str,
    /// A service, or an API key's id.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// Up to this number the database is known to have had rows.
    pub above: i64,
}

const HEAD: &str = "SELECT COALESCE(MAX(sequence), 0) AS head FROM revocations";
const BY_TARGET: &str =
    "SELECT sequence FROM revocations WHERE kind = $1 AND tenant = $2 AND value = $3";
const AFTER: &str = "SELECT sequence, kind, tenant, value, revoked_at FROM revocations
    WHERE sequence > $1 ORDER BY sequence LIMIT $2";
const ADD: &str =
    "INSERT INTO revocations (sequence, kind, tenant, value, reason, revoked_by, revoked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const API_KEY: &str = "SELECT api_key_id, tenant, user_name, roles, may_name_users, description,
    secret_hash, created_at, revoked_at, expires_at, lifetime FROM api_keys WHERE api_key_id = $1";
const LIVING_API_KEYS: &str =
    "SELECT api_key_id FROM api_keys WHERE revoked_at IS NULL ORDER BY created_at, api_key_id";
const REVOKE_API_KEY: &str =
    "UPDATE api_keys SET revoked_at = $2 WHERE api_key_id = $1 AND revoked_at IS NULL";

impl Store {
    /// Adds a revocation and answers its number; that of the first one when the same target was revoked before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn revoke(
        &self,
        target: &RevocationTarget,
        added: &Added<'_>,
    ) -> Result<i64, StoreError> {
        let mut write = self.database.begin_write().await?;
        let sequence = add(&mut write, target, added).await?;
        write.commit().await?;
        Ok(sequence)
    }

    /// Revokes an API key: the key's row and the feed, together. Answers the number and when it first was;
    /// `None` when there is no such key, or `may` says that it is not the caller's to revoke.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn revoke_api_key(
        &self,
        id: &ApiKeyId,
        added: &Added<'_>,
        may: impl Fn(&StoredApiKey) -> bool + Send,
    ) -> Result<Option<(i64, Timestamp)>, StoreError> {
        let mut write = self.database.begin_write().await?;
        let found = write.fetch_optional(API_KEY, params![id.as_str()]).await?;
        let found = found.as_ref().map(api_keys::read).transpose()?.filter(may);
        let Some(key) = found else {
            write.rollback().await?;
            return Ok(None);
        };
        write
            .execute(REVOKE_API_KEY, params![id.as_str(), added.at])
            .await?;
        let sequence = add(&mut write, &RevocationTarget::ApiKey(id.clone()), added).await?;
        write.commit().await?;
        Ok(Some((sequence, key.revoked_at.unwrap_or(added.at))))
    }

    /// Revokes every API key that is not revoked, and notes that the first one has to be made anew: all or nothing.
    /// Answers how many there were.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn revoke_all_api_keys(&self, added: &Added<'_>) -> Result<usize, StoreError> {
        let mut write = self.database.begin_write().await?;
        let living = write.fetch_all(LIVING_API_KEYS, params![]).await?;
        for row in &living {
            let id = ApiKeyId::parse("api_key_id", &row.text("api_key_id")?)?;
            write
                .execute(REVOKE_API_KEY, params![id.as_str(), added.at])
                .await?;
            add(&mut write, &RevocationTarget::ApiKey(id), added).await?;
        }
        keys::want_first_api_key(&mut write).await?;
        write.commit().await?;
        Ok(living.len())
    }

    /// The number of the newest revocation; 0 when there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn feed_head(&self) -> Result<i64, StoreError> {
        Ok(self
            .database
            .fetch_one(HEAD, params![])
            .await?
            .integer("head")?)
    }

    /// At most `limit` revocations behind a number, in order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn revocations_after(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<StoredRevocation>, StoreError> {
        self.database
            .fetch_all(AFTER, params![after, limit])
            .await?
            .iter()
            .map(read)
            .collect()
    }
}

async fn add(
    write: &mut Write,
    target: &RevocationTarget,
    added: &Added<'_>,
) -> Result<i64, StoreError> {
    let (kind, tenant, value) = target.to_parts();
    if let Some(row) = write
        .fetch_optional(BY_TARGET, params![kind, tenant, &value])
        .await?
    {
        return Ok(row.integer("sequence")?);
    }
    let sequence = write.fetch_one(HEAD, params![]).await?.integer("head")? + 1;
    let Added {
        reason,
        by,
        at,
        above,
    } = added;
    // A number that was given before must not be given again: gates that heard of the first never hear of this.
    if sequence <= *above {
        return Err(StoreError::Damaged(sequence));
    }
    let values = params![sequence, kind, tenant, &value, *reason, *by, *at];
    write.execute(ADD, values).await?;
    Ok(sequence)
}

fn read(row: &Row) -> Result<StoredRevocation, StoreError> {
    let (kind, tenant, value) = (row.text("kind")?, row.text("tenant")?, row.text("value")?);
    Ok(StoredRevocation {
        sequence: row.integer("sequence")?,
        target: RevocationTarget::from_parts(&kind, &tenant, &value)?,
        revoked_at: row.get("revoked_at")?,
    })
}
