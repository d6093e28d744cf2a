//! What every operation needs: the store, the objects, the bounds, and the tenant's keys.

use std::sync::Arc;
use std::time::Duration;

use rand::RngCore as _;
use sandgate_types::{Clock, TenantId, Timestamp, VersionId, WorkspaceId};
use sandgate_workspace::{ChunkingSeed, HASH_BYTES, NameKeys};

use crate::objects::{Objects, TenantObjects};
use crate::store::{Store, StoreError, UploadBounds};
use crate::version::Version;

/// How long uploads and request ids are remembered, as published.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// The bounds of what callers may send.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of uploads.
    pub upload: UploadBounds,
    /// The largest file that may be written without a sandbox.
    pub write_bytes: u64,
}

/// Everything that operations on workspaces share.
#[derive(Debug)]
pub struct Storage {
    /// The database.
    pub store: Store,
    /// The object store.
    pub objects: Objects,
    /// The bounds.
    pub bounds: Bounds,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Storage {
    /// The present.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What was begun at or before this instant is forgotten.
    pub fn expired(&self) -> Timestamp {
        self.now().minus(REMEMBERED)
    }

    /// A tenant's objects, and the seed of its chunk boundaries.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tenant(
        &self,
        tenant: &TenantId,
    ) -> Result<(TenantObjects, ChunkingSeed), StoreError> {
        let mut fresh = [0; HASH_BYTES];
        rand::rng().fill_bytes(&mut fresh);
        let secret = self.store.tenant_secret(tenant, fresh, self.now()).await?;
        let objects = self.objects.of_tenant(tenant, NameKeys::derive(&secret));
        Ok((objects, ChunkingSeed::derive(&secret)))
    }

    /// A version, or the head when none is named; nothing where there is no such version.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn version(
        &self,
        workspace: &WorkspaceId,
        version: Option<&VersionId>,
    ) -> Result<Option<Version>, StoreError> {
        match version {
            Some(version) => self.store.version(workspace, version).await,
            None => self.store.head(workspace).await,
        }
    }
}
