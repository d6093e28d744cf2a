//! Uploads: begun, grown within bounds, settled by a commit, forgotten with age.

use sandgate_db::{Row, params};
use sandgate_types::{InstanceId, Timestamp, UploadId, VersionId, WorkspaceId};
use sandgate_workspace::BlobName;

use super::heads::ensure_workspace;
use super::rows::{count, stored};
use super::settle::{fence, settle};
use super::{AdvanceError, Store, StoreError};
use crate::version::{Commit, Run};
use crate::workspace::Workspace;

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// The version that its commit made, and the hash of what was committed.
    pub committed: Option<(VersionId, [u8; 32])>,
    /// When it was begun.
    pub created_at: Timestamp,
}

/// An upload to begin.
#[derive(Debug)]
pub struct NewUpload<'a> {
    /// Into which workspace.
    pub workspace: &'a Workspace,
    /// Whose.
    pub run: &'a Run,
    /// The version on which it is to be committed.
    pub parent: Option<&'a VersionId>,
    /// Its id.
    pub id: UploadId,
    /// How many uploads of the workspace may be open.
    pub open: u64,
    /// Those begun at or before this instant count no more.
    pub expired: Timestamp,
    /// When.
    pub now: Timestamp,
}

/// How large uploads may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadBounds {
    /// Chunks of one upload.
    pub chunks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Uploads of one workspace that have not committed.
    pub open: u64,
}

/// Why an upload was not begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// A later run of the same sandbox has synced.
    #[error("a later run of the sandbox has the workspace")]
    RunPassed,
    /// The workspace has as many open uploads as it may.
    #[error("the workspace has too many open uploads")]
    TooMany,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an upload did not grow.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// There is no such upload any more, or it has committed.
    #[error("the upload is not open")]
    NotOpen,
    /// It would pass its bounds.
    #[error("the upload would pass its bounds")]
    Full,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

macro_rules! from_database {
    ($($type:ident),*) => {
        $(impl From<sandgate_db::DbError> for $type {
            fn from(error: sandgate_db::DbError) -> Self {
                Self::Store(error.into())
            }
        })*
    };
}

from_database!(BeginError, GrowError);

const OPEN_ONE: &str = "
    SELECT upload_id, committed, fingerprint, created_at FROM uploads
    WHERE workspace_id = $1 AND instance_id = $2 AND COALESCE(parent, '') = $3 AND committed IS NULL
    AND created_at > $4 ORDER BY created_at DESC LIMIT 1";
const OPEN_COUNT: &str = "
    SELECT COUNT(*) AS uploads FROM uploads
    WHERE workspace_id = $1 AND committed IS NULL AND created_at > $2";
const ADD: &str = "
    INSERT INTO uploads (upload_id, workspace_id, instance_id, parent, chunks, bytes, created_at)
    VALUES ($1, $2, $3, $4, 0, 0, $5)";
const READ: &str = "
    SELECT upload_id, committed, fingerprint, created_at FROM uploads
    WHERE upload_id = $1 AND workspace_id = $2 AND instance_id = $3 AND created_at > $4";
const TOTALS: &str = "SELECT chunks, bytes FROM uploads WHERE upload_id = $1 AND committed IS NULL";
const GROW: &str = "UPDATE uploads SET chunks = $2, bytes = $3 WHERE upload_id = $1";
const ADD_CHUNK: &str = "
    INSERT INTO upload_chunks (upload_id, name, length) VALUES ($1, $2, $3)
    ON CONFLICT (upload_id, name) DO NOTHING";
const DROP_CHUNKS: &str = "DELETE FROM upload_chunks WHERE upload_id = $1";
const EXPIRED: &str =
    "SELECT upload_id FROM uploads WHERE created_at <= $1 ORDER BY created_at LIMIT $2";
const DROP: &str = "DELETE FROM uploads WHERE upload_id = $1";
const DROP_REQUESTS: &str = "DELETE FROM requests WHERE created_at <= $1";

impl Store {
    /// Begins an upload, or goes on with the one that the same run began on the same parent.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin_upload(&self, upload: NewUpload<'_>) -> Result<UploadId, BeginError> {
        let NewUpload {
            workspace,
            run,
            parent,
            id: fresh,
            open: most,
            expired,
            now,
        } = upload;
        let id = workspace.id();
        let mut write = self.database.begin_write().await?;
        ensure_workspace(&mut write, workspace, now).await?;
        fence(&mut write, &id, run)
            .await
            .map_err(|error| match error {
                AdvanceError::Store(error) => BeginError::Store(error),
                AdvanceError::RunPassed
                | AdvanceError::HeadMoved
                | AdvanceError::Remembered
                | AdvanceError::UploadNotOpen => BeginError::RunPassed,
            })?;
        let of = parent.map(VersionId::as_str).unwrap_or_default();
        let values = params![id.as_str(), run.instance.as_str(), of, expired];
        if let Some(row) = write.fetch_optional(OPEN_ONE, values).await? {
            let begun = self::upload(&row)?;
            write.commit().await?;
            return Ok(begun.id);
        }
        let row = write
            .fetch_one(OPEN_COUNT, params![id.as_str(), expired])
            .await?;
        if row.integer("uploads")? >= stored(most) {
            return Err(BeginError::TooMany);
        }
        let parent = parent.map(|parent| parent.as_str().to_owned());
        let (instance, upload) = (run.instance.as_str(), fresh.as_str());
        write
            .execute(ADD, params![upload, id.as_str(), instance, parent, now])
            .await?;
        write.commit().await?;
        Ok(fresh)
    }

    /// An upload of this instance into this workspace that was begun after `expired`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn upload(
        &self,
        workspace: &WorkspaceId,
        instance: &InstanceId,
        id: &UploadId,
        expired: Timestamp,
    ) -> Result<Option<Upload>, StoreError> {
        let values = params![id.as_str(), workspace.as_str(), instance.as_str(), expired];
        let row = self.database.fetch_optional(READ, values).await?;
        row.as_ref().map(upload).transpose()
    }

    /// Notes chunks that are stored as the upload's own.
    ///
    /// # Errors
    /// See [`GrowError`]; nothing was noted.
    pub async fn grow_upload(
        &self,
        id: &UploadId,
        chunks: &[(BlobName, u32)],
        bounds: &UploadBounds,
    ) -> Result<(), GrowError> {
        let mut write = self.database.begin_write().await?;
        let row = write.fetch_optional(TOTALS, params![id.as_str()]).await?;
        let row = row.ok_or(GrowError::NotOpen)?;
        let mut total_chunks = count("uploads", row.integer("chunks")?)?;
        let mut total_bytes = count("uploads", row.integer("bytes")?)?;
        for (name, length) in chunks {
            let values = params![id.as_str(), name.as_bytes(), *length];
            // What is sent twice is stored and counted once.
            let added = write.execute(ADD_CHUNK, values).await?;
            total_chunks = total_chunks.saturating_add(added);
            total_bytes = total_bytes.saturating_add(added.saturating_mul(u64::from(*length)));
        }
        if total_chunks > bounds.chunks || total_bytes > bounds.bytes {
            return Err(GrowError::Full);
        }
        let values = params![id.as_str(), stored(total_chunks), stored(total_bytes)];
        write.execute(GROW, values).await?;
        write.commit().await?;
        Ok(())
    }

    /// Settles an upload whose commit changed nothing: `version` is its answer.
    ///
    /// # Errors
    /// See [`AdvanceError`].
    pub async fn settle_unchanged(
        &self,
        workspace: &WorkspaceId,
        commit: &Commit,
        version: &VersionId,
    ) -> Result<(), AdvanceError> {
        let mut write = self.database.begin_write().await?;
        fence(&mut write, workspace, &commit.run).await?;
        settle(&mut write, workspace, commit, version).await?;
        write.commit().await?;
        Ok(())
    }

    /// Forgets at most `limit` uploads that were begun at or before `expired`, and all requests of that age; says
    /// how many uploads. Their chunks stay in the object store: other workspaces of the tenant may have them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget(&self, expired: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut write = self.database.begin_write().await?;
        let rows = write.fetch_all(EXPIRED, params![expired, limit]).await?;
        for row in &rows {
            let id = row.text("upload_id")?;
            write.execute(DROP_CHUNKS, params![&id]).await?;
            write.execute(DROP, params![&id]).await?;
        }
        write.execute(DROP_REQUESTS, params![expired]).await?;
        write.commit().await?;
        Ok(rows.len())
    }
}

fn upload(row: &Row) -> Result<Upload, StoreError> {
    let damaged = |rule: String| StoreError::damaged("uploads", rule);
    let committed: Option<String> = row.get("committed")?;
    let fingerprint: Option<Vec<u8>> = row.get("fingerprint")?;
    let committed = match (committed, fingerprint) {
        (Some(version), Some(fingerprint)) => {
            let version = VersionId::parse("committed", &version);
            let fingerprint = fingerprint.try_into();
            let fingerprint =
                fingerprint.map_err(|_| damaged("fingerprint must have 32 bytes".into()))?;
            Some((
                version.map_err(|malformed| damaged(malformed.to_string()))?,
                fingerprint,
            ))
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(damaged("committed must have a fingerprint".into()));
        }
    };
    let id = UploadId::parse("upload_id", &row.text("upload_id")?);
    Ok(Upload {
        id: id.map_err(|malformed| damaged(malformed.to_string()))?,
        committed,
        created_at: row.get("created_at")?,
    })
}
