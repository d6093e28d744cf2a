//! Rows of API keys. The secret itself is never among them.

use std::time::Duration;

use sandgate_db::{Row, Write, params};
use sandgate_rpc::Role;
use sandgate_types::{ApiKeyId, Malformed, TenantId, Timestamp, UserId};

use super::{Store, StoreError};

/// An API key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredApiKey {
    /// The public id.
    pub id: ApiKeyId,
    /// The tenant.
    pub tenant: TenantId,
    /// The user; an application key has none.
    pub user: Option<UserId>,
    /// The roles.
    pub roles: Vec<Role>,
    /// Whether it may name users.
    pub may_name_users: bool,
    /// What people call it.
    pub description: String,
    /// The keyed hash of its secret.
    pub secret_hash: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// How long it was made for; it ends earlier where another one follows it.
    pub lifetime: Option<Duration>,
}

impl StoredApiKey {
    /// Whether it is good at `now`.
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Where a page of keys begins: behind this key, newest first.
#[derive(Debug, Clone)]
pub(crate) struct KeyPage {
    /// When the last key of the page before was made.
    pub created_at: Timestamp,
    /// Its id.
    pub id: ApiKeyId,
}

const COLUMNS_BY_ID: &str =
    "SELECT api_key_id, tenant, user_name, roles, may_name_users, description,
    secret_hash, created_at, revoked_at, expires_at, lifetime FROM api_keys WHERE api_key_id = $1";
const NEWEST: &str = "SELECT api_key_id, tenant, user_name, roles, may_name_users, description,
    secret_hash, created_at, revoked_at, expires_at, lifetime FROM api_keys WHERE tenant = $1
    ORDER BY created_at DESC, api_key_id DESC LIMIT $2";
const BEFORE: &str = "SELECT api_key_id, tenant, user_name, roles, may_name_users, description,
    secret_hash, created_at, revoked_at, expires_at, lifetime FROM api_keys
    WHERE tenant = $1 AND (created_at < $3 OR (created_at = $3 AND api_key_id < $4))
    ORDER BY created_at DESC, api_key_id DESC LIMIT $2";
const ADD: &str =
    "INSERT INTO api_keys (api_key_id, tenant, user_name, roles, may_name_users, description,
    secret_hash, created_at, revoked_at, expires_at, lifetime)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const END: &str = "UPDATE api_keys SET expires_at = $2
    WHERE api_key_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
const ENDED: &str = "SELECT api_key_id, tenant, user_name, roles, may_name_users, description,
    secret_hash, created_at, revoked_at, expires_at, lifetime FROM api_keys
    WHERE expires_at IS NOT NULL AND revoked_at IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2";
const TENANT_EXISTS: &str = "SELECT tenant FROM tenants WHERE tenant = $1";

/// Between roles of one row; no role's name has it.
const BETWEEN: &str = ",";

impl Store {
    /// Adds a key; `false` when its tenant does not exist.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn add_api_key(&self, key: &StoredApiKey) -> Result<bool, StoreError> {
        let mut write = self.database.begin_write().await?;
        if write
            .fetch_optional(TENANT_EXISTS, params![key.tenant.as_str()])
            .await?
            .is_none()
        {
            write.rollback().await?;
            return Ok(false);
        }
        insert(&mut write, key).await?;
        write.commit().await?;
        Ok(true)
    }

    /// Adds a key that follows another, which ends at an instant, or earlier where it would have.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn follow_api_key(
        &self,
        before: &ApiKeyId,
        end: Timestamp,
        key: &StoredApiKey,
    ) -> Result<(), StoreError> {
        let mut write = self.database.begin_write().await?;
        write.execute(END, params![before.as_str(), end]).await?;
        insert(&mut write, key).await?;
        write.commit().await?;
        Ok(())
    }

    /// At most `limit` keys that have ended by themselves and are not revoked yet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn ended_api_keys(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredApiKey>, StoreError> {
        let rows = self.database.fetch_all(ENDED, params![now, limit]).await?;
        rows.iter().map(read).collect()
    }

    /// A key by its id, given as text: whoever presents a key may write anything there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn api_key(&self, id: &str) -> Result<Option<StoredApiKey>, StoreError> {
        let row = self
            .database
            .fetch_optional(COLUMNS_BY_ID, params![id])
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// At most `limit` keys of a tenant, newest first, from the first or behind a page.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn api_keys(
        &self,
        tenant: &TenantId,
        behind: Option<&KeyPage>,
        limit: i64,
    ) -> Result<Vec<StoredApiKey>, StoreError> {
        let rows = match behind {
            None => {
                self.database
                    .fetch_all(NEWEST, params![tenant.as_str(), limit])
                    .await?
            }
            Some(KeyPage { created_at, id }) => {
                let values = params![tenant.as_str(), limit, *created_at, id.as_str()];
                self.database.fetch_all(BEFORE, values).await?
            }
        };
        rows.iter().map(read).collect()
    }
}

pub(super) async fn insert(write: &mut Write, key: &StoredApiKey) -> Result<(), StoreError> {
    let StoredApiKey {
        id,
        tenant,
        user,
        roles,
        may_name_users,
        description,
        secret_hash,
        created_at,
        revoked_at,
        expires_at,
        lifetime,
    } = key;
    let lifetime = lifetime.map(|lifetime| i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX));
    let roles: Vec<&str> = roles.iter().map(Role::as_str_name).collect();
    let values = params![
        id.as_str(),
        tenant.as_str(),
        user.as_ref().map(|user| user.as_str().to_owned()),
        roles.join(BETWEEN),
        *may_name_users,
        description,
        secret_hash,
        *created_at,
        *revoked_at,
        *expires_at,
        lifetime,
    ];
    write.execute(ADD, values).await?;
    Ok(())
}

pub(super) fn read(row: &Row) -> Result<StoredApiKey, StoreError> {
    let role = |name: &str| {
        Role::from_str_name(name).ok_or_else(|| Malformed::new("roles", "must be roles"))
    };
    let user: Option<String> = row.get("user_name")?;
    let lifetime: Option<i64> = row.get("lifetime")?;
    let lifetime = lifetime.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    Ok(StoredApiKey {
        id: ApiKeyId::parse("api_key_id", &row.text("api_key_id")?)?,
        tenant: TenantId::parse("tenant", &row.text("tenant")?)?,
        user: user
            .map(|user| UserId::parse("user_name", &user))
            .transpose()?,
        roles: row
            .text("roles")?
            .split(BETWEEN)
            .map(role)
            .collect::<Result<_, _>>()?,
        may_name_users: row.get("may_name_users")?,
        description: row.text("description")?,
        secret_hash: row.bytes("secret_hash")?,
        created_at: row.get("created_at")?,
        revoked_at: row.get("revoked_at")?,
        expires_at: row.get("expires_at")?,
        lifetime,
    })
}
