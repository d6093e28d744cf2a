//! Tenants: created once, listed by name.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use sandgate_types::RequestId;

use crate::store::{Created, Request, Store, StoreError, StoredTenant};

/// A published limit: how long a request's id is remembered.
const REQUESTS_REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Creates a tenant on behalf of `principal`; a repetition answers the same one.
///
/// # Errors
/// See [`StoreError`].
pub(crate) async fn create(
    store: &Store,
    principal: &str,
    wanted: &StoredTenant,
    id: &RequestId,
) -> Result<Created<StoredTenant>, StoreError> {
    let request = Request {
        principal,
        method: "CreateTenant",
        id,
        content: content(wanted),
        forget_before: wanted.created_at.minus(REQUESTS_REMEMBERED),
    };
    store.create_tenant(wanted, &request).await
}

/// A page of tenants behind a name, and whether there are more.
///
/// # Errors
/// See [`StoreError`].
pub(crate) async fn page(
    store: &Store,
    after: &str,
    size: usize,
) -> Result<(Vec<StoredTenant>, bool), StoreError> {
    let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
    let mut tenants = store.tenants_after(after, limit).await?;
    let more = tenants.len() > size;
    tenants.truncate(size);
    Ok((tenants, more))
}

/// What a request asked for, so that another one under its id is found out.
fn content(wanted: &StoredTenant) -> [u8; 32] {
    // Neither names nor operations have this character.
    let text = format!("{}\n{}", wanted.tenant, wanted.granted.to_list().join("\n"));
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}
