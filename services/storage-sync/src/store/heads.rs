//! Versions, and the head that moves by compare-and-swap.

use sandgate_db::{Write, params};
use sandgate_types::{Timestamp, VersionId, WorkspaceId};

use super::rows::{self, stored};
use super::{Store, StoreError, chunks, settle};
use crate::version::{Advance, Memo, Settles, Version};
use crate::workspace::Workspace;

/// What became of a request that named itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The hash of that request.
    pub fingerprint: [u8; 32],
    /// The version that came of it.
    pub version: Version,
}

/// Why a head did not move.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// The head is another version than the new one was made from.
    #[error("the head moved")]
    HeadMoved,
    /// There is no such upload any more, or it has committed.
    #[error("the upload is not open")]
    UploadNotOpen,
    /// The request has been done meanwhile.
    #[error("the request is done")]
    Remembered,
    /// A later run of the same sandbox has synced.
    #[error("a later run of the sandbox has the workspace")]
    RunPassed,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sandgate_db::DbError> for AdvanceError {
    fn from(error: sandgate_db::DbError) -> Self {
        Self::Store(error.into())
    }
}

const HEAD: &str = "
    SELECT versions.* FROM workspaces JOIN versions ON versions.version_id = workspaces.head
    WHERE workspaces.workspace_id = $1";
const VERSION: &str = "SELECT * FROM versions WHERE workspace_id = $1 AND version_id = $2";
const VERSIONS: &str = "
    SELECT * FROM versions WHERE workspace_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3";
const ADD_WORKSPACE: &str = "
    INSERT INTO workspaces (workspace_id, tenant, user_name, conversation, version, generation, created_at)
    VALUES ($1, $2, $3, $4, 0, 0, $5) ON CONFLICT (workspace_id) DO NOTHING";
const ADD_VERSION: &str = "
    INSERT INTO versions (version_id, workspace_id, number, parent, root, entries, bytes, origin, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const LOCK: &str = "SELECT head, version FROM workspaces WHERE workspace_id = $1";
const MOVE: &str = "
    UPDATE workspaces SET head = $2, version = version + 1 WHERE workspace_id = $1 AND version = $3";
const REMEMBERED: &str = "
    SELECT versions.*, requests.fingerprint AS fingerprint
    FROM requests JOIN versions ON versions.version_id = requests.version_id
    WHERE requests.scope = $1 AND requests.request_id = $2";
const REMEMBER: &str = "
    INSERT INTO requests (scope, request_id, fingerprint, version_id, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (scope, request_id) DO NOTHING";

impl Store {
    /// The newest version; none when nothing was ever written.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn head(&self, workspace: &WorkspaceId) -> Result<Option<Version>, StoreError> {
        let row = self
            .database
            .fetch_optional(HEAD, params![workspace.as_str()])
            .await?;
        row.as_ref().map(rows::version).transpose()
    }

    /// A version of this workspace.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn version(
        &self,
        workspace: &WorkspaceId,
        id: &VersionId,
    ) -> Result<Option<Version>, StoreError> {
        let values = params![workspace.as_str(), id.as_str()];
        let row = self.database.fetch_optional(VERSION, values).await?;
        row.as_ref().map(rows::version).transpose()
    }

    /// At most `limit` versions below number `before`, the newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn versions(
        &self,
        workspace: &WorkspaceId,
        before: i64,
        limit: usize,
    ) -> Result<Vec<Version>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![workspace.as_str(), before, limit];
        self.database
            .fetch_all(VERSIONS, values)
            .await?
            .iter()
            .map(rows::version)
            .collect()
    }

    /// Makes a workspace's row, unless it is there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ensure_workspace(
        &self,
        workspace: &Workspace,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.database.begin_write().await?;
        ensure_workspace(&mut write, workspace, now).await?;
        write.commit().await?;
        Ok(())
    }

    /// What became of a request that named itself, whatever workspace it was about.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remembered(&self, memo: &Memo) -> Result<Option<Remembered>, StoreError> {
        let values = params![memo.scope.as_str(), memo.request.as_str()];
        let Some(row) = self.database.fetch_optional(REMEMBERED, values).await? else {
            return Ok(None);
        };
        let fingerprint = row.bytes("fingerprint")?.try_into();
        Ok(Some(Remembered {
            fingerprint: fingerprint
                .map_err(|_| StoreError::damaged("requests", "fingerprint must have 32 bytes"))?,
            version: rows::version(&row)?,
        }))
    }

    /// Notes that a request found the head to be what it asked for: `head` is its answer, while it is the head.
    ///
    /// # Errors
    /// See [`AdvanceError`]; nothing was noted.
    pub async fn remember(
        &self,
        workspace: &WorkspaceId,
        memo: &Memo,
        head: &VersionId,
        now: Timestamp,
    ) -> Result<(), AdvanceError> {
        let mut write = self.database.begin_write().await?;
        let row = write
            .fetch_optional(LOCK, params![workspace.as_str()])
            .await?;
        let row = row.ok_or(AdvanceError::HeadMoved)?;
        let found: Option<String> = row.get("head")?;
        if found.as_deref() != Some(head.as_str()) {
            return Err(AdvanceError::HeadMoved);
        }
        remember(&mut write, memo, head, now).await?;
        write.commit().await?;
        Ok(())
    }

    /// Makes a version the head, and settles what brought it, in one transaction or not at all.
    ///
    /// # Errors
    /// See [`AdvanceError`]; nothing has changed.
    pub async fn advance(&self, advance: &Advance) -> Result<Version, AdvanceError> {
        let Advance {
            workspace,
            id,
            parent,
            root,
            origin,
            settles,
            now,
        } = advance;
        let mut write = self.database.begin_write().await?;
        let row = write
            .fetch_optional(LOCK, params![workspace.as_str()])
            .await?;
        let row = row.ok_or(AdvanceError::HeadMoved)?;
        let head: Option<String> = row.get("head")?;
        let number = row.integer("version")?;
        if head.as_deref() != parent.as_ref().map(VersionId::as_str) {
            return Err(AdvanceError::HeadMoved);
        }
        match settles {
            Settles::Upload(commit) => {
                settle::fence(&mut write, workspace, &commit.run).await?;
                settle::settle(&mut write, workspace, commit, id).await?;
            }
            Settles::Request { memo, chunks } => {
                chunks::add(&mut write, workspace, chunks).await?;
                if let Some(memo) = memo {
                    remember(&mut write, memo, id, *now).await?;
                }
            }
        }
        let version = Version {
            id: id.clone(),
            number: number + 1,
            parent: parent.clone(),
            root: *root,
            origin: *origin,
            created_at: *now,
        };
        let values = params![
            id.as_str(),
            workspace.as_str(),
            version.number,
            parent.as_ref().map(|parent| parent.as_str().to_owned()),
            root.name.as_bytes(),
            stored(root.entries),
            stored(root.bytes),
            origin.number(),
            *now,
        ];
        write.execute(ADD_VERSION, values).await?;
        let moved = write
            .execute(MOVE, params![workspace.as_str(), id.as_str(), number])
            .await?;
        if moved != 1 {
            return Err(AdvanceError::HeadMoved);
        }
        write.commit().await?;
        Ok(version)
    }
}

async fn remember(
    write: &mut Write,
    memo: &Memo,
    version: &VersionId,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    let Memo {
        scope,
        request,
        fingerprint,
    } = memo;
    let (scope, request) = (scope.as_str(), request.as_str());
    let values = params![scope, request, fingerprint, version.as_str(), now];
    if write.execute(REMEMBER, values).await? != 1 {
        return Err(AdvanceError::Remembered);
    }
    Ok(())
}

pub(super) async fn ensure_workspace(
    write: &mut Write,
    workspace: &Workspace,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Workspace {
        tenant,
        user,
        conversation,
    } = workspace;
    let id = workspace.id();
    let values = params![
        id.as_str(),
        tenant.as_str(),
        user.as_str(),
        conversation.as_str(),
        now
    ];
    write.execute(ADD_WORKSPACE, values).await?;
    Ok(())
}
