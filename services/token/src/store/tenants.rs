//! Rows of tenants, and of the requests that made them.

use sandgate_db::{Row, Write, params};
use sandgate_session::Operations;
use sandgate_types::{RequestId, TenantId, Timestamp};

use super::{Store, StoreError};

/// A tenant as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTenant {
    /// Its name.
    pub tenant: TenantId,
    /// What its sandboxes may be granted.
    pub granted: Operations,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A request that creates something, so that its repetition is known.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Who asked.
    pub principal: &'a str,
    /// Which method.
    pub method: &'static str,
    /// The name that they gave the request.
    pub id: &'a RequestId,
    /// A hash of what they asked for.
    pub content: [u8; 32],
    /// Requests before this instant are forgotten.
    pub forget_before: Timestamp,
}

/// What became of a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Created<T> {
    /// It is new, or was made by the same request or with the same content.
    Is(T),
    /// It exists with other content.
    Differs,
    /// The request's id was used for another request.
    IdReused,
}

const TENANT: &str = "SELECT tenant, granted_operations, created_at FROM tenants WHERE tenant = $1";
const TENANTS_AFTER: &str = "SELECT tenant, granted_operations, created_at FROM tenants
    WHERE tenant > $1 ORDER BY tenant LIMIT $2";
const ADD_TENANT: &str = "INSERT INTO tenants (tenant, granted_operations, created_at, updated_at) VALUES ($1, $2, $3, $3)";
const SET_GRANTED: &str =
    "UPDATE tenants SET granted_operations = $2, updated_at = $3 WHERE tenant = $1";
const TENANTS_CHANGED: &str = "SELECT tenant, granted_operations, created_at FROM tenants
    WHERE updated_at >= $1 AND tenant > $2 ORDER BY tenant LIMIT $3";
const REQUEST: &str = "SELECT content_hash FROM requests
    WHERE principal = $1 AND method = $2 AND request_id = $3";
const ADD_REQUEST: &str =
    "INSERT INTO requests (principal, method, request_id, content_hash, created_at)
    VALUES ($1, $2, $3, $4, $5)";
const FORGET_REQUESTS: &str = "DELETE FROM requests WHERE created_at < $1";

/// Between operations of one row; no operation has it.
const BETWEEN: &str = ",";

impl Store {
    /// Creates a tenant, unless it is there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn create_tenant(
        &self,
        tenant: &StoredTenant,
        request: &Request<'_>,
    ) -> Result<Created<StoredTenant>, StoreError> {
        let mut write = self.database.begin_write().await?;
        write
            .execute(FORGET_REQUESTS, params![request.forget_before])
            .await?;
        let key = params![request.principal, request.method, request.id.as_str()];
        if let Some(row) = write.fetch_optional(REQUEST, key).await?
            && row.bytes("content_hash")? != request.content
        {
            write.rollback().await?;
            return Ok(Created::IdReused);
        }
        if let Some(row) = write
            .fetch_optional(TENANT, params![tenant.tenant.as_str()])
            .await?
        {
            write.rollback().await?;
            let found = read(&row)?;
            return Ok(if found.granted == tenant.granted {
                Created::Is(found)
            } else {
                Created::Differs
            });
        }
        insert(&mut write, tenant).await?;
        let values = params![
            request.principal,
            request.method,
            request.id.as_str(),
            request.content,
            tenant.created_at,
        ];
        write.execute(ADD_REQUEST, values).await?;
        write.commit().await?;
        Ok(Created::Is(tenant.clone()))
    }

    /// Sets what a tenant is granted; `None` when it does not exist.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn set_granted(
        &self,
        tenant: &TenantId,
        granted: &Operations,
        now: Timestamp,
    ) -> Result<Option<StoredTenant>, StoreError> {
        let mut write = self.database.begin_write().await?;
        let values = params![tenant.as_str(), granted.to_list().join(BETWEEN), now];
        write.execute(SET_GRANTED, values).await?;
        let row = write
            .fetch_optional(TENANT, params![tenant.as_str()])
            .await?;
        write.commit().await?;
        row.as_ref().map(read).transpose()
    }

    /// At most `limit` tenants that changed since an instant, by name, behind `after`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn tenants_changed_since(
        &self,
        since: Timestamp,
        after: &str,
        limit: i64,
    ) -> Result<Vec<StoredTenant>, StoreError> {
        self.database
            .fetch_all(TENANTS_CHANGED, params![since, after, limit])
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// At most `limit` tenants by name, behind `after`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn tenants_after(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<StoredTenant>, StoreError> {
        self.database
            .fetch_all(TENANTS_AFTER, params![after, limit])
            .await?
            .iter()
            .map(read)
            .collect()
    }
}

pub(super) async fn insert(write: &mut Write, tenant: &StoredTenant) -> Result<(), StoreError> {
    let granted = tenant.granted.to_list().join(BETWEEN);
    write
        .execute(
            ADD_TENANT,
            params![tenant.tenant.as_str(), granted, tenant.created_at],
        )
        .await?;
    Ok(())
}

fn read(row: &Row) -> Result<StoredTenant, StoreError> {
    let granted = row.text("granted_operations")?;
    let names: Vec<&str> = granted
        .split(BETWEEN)
        .filter(|name| !name.is_empty())
        .collect();
    Ok(StoredTenant {
        tenant: TenantId::parse("tenant", &row.text("tenant")?)?,
        granted: Operations::parse("granted_operations", &names)?,
        created_at: row.get("created_at")?,
    })
}
