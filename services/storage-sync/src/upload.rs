//! Uploads of a sandbox's daemon: the chunks that its next version refers to.
//!
//! A daemon hears "there" only of chunks that its own workspace or this upload has; so nobody learns from us what
//! another workspace holds.

use sandgate_types::{UploadId, VersionId, WorkspaceId};
use sandgate_workspace::ContentHash;

use crate::commit::ChangesError;
use crate::crash::crash_point;
use crate::objects::ObjectError;
use crate::rebuild::RebuildError;
use crate::storage::Storage;
use crate::store::{BeginError, GrowError, NewUpload, StoreError, Upload};
use crate::version::Run;
use crate::workspace::Workspace;

/// Why an upload did not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The caller has no such upload, or it is forgotten.
    #[error("there is no upload {0}")]
    Unknown(UploadId),
    /// It has committed.
    #[error("the upload has committed")]
    Committed,
    /// The parent that is named is no version of this workspace.
    #[error("there is no version {0}")]
    ParentUnknown(VersionId),
    /// The head is another version than the parent.
    #[error("the head moved")]
    HeadMoved,
    /// A later run of the same sandbox has the workspace.
    #[error("a later run of the sandbox has the workspace")]
    RunPassed,
    /// The workspace has as many open uploads as it may.
    #[error("the workspace has too many open uploads")]
    TooMany,
    /// The upload would pass its bounds.
    #[error("the upload would pass its bounds")]
    Full,
    /// What was sent breaks a rule.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// The new version.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// An object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<BeginError> for UploadError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::RunPassed => Self::RunPassed,
            BeginError::TooMany => Self::TooMany,
            BeginError::Store(error) => Self::Store(error),
        }
    }
}

/// Begins an upload on `parent`, or goes on with the one that this run has begun there.
///
/// # Errors
/// See [`UploadError`].
pub async fn begin(
    storage: &Storage,
    workspace: &Workspace,
    run: &Run,
    parent: Option<&VersionId>,
) -> Result<UploadId, UploadError> {
    if let Some(parent) = parent
        && storage
            .store
            .version(&workspace.id(), parent)
            .await?
            .is_none()
    {
        return Err(UploadError::ParentUnknown(parent.clone()));
    }
    let upload = NewUpload {
        workspace,
        run,
        parent,
        id: UploadId::random(&mut rand::rng()),
        open: storage.bounds.upload.open,
        expired: storage.expired(),
        now: storage.now(),
    };
    Ok(storage.store.begin_upload(upload).await?)
}

/// The positions of the hashes whose chunks must be sent.
///
/// # Errors
/// See [`UploadError`].
pub async fn offer(
    storage: &Storage,
    workspace: &Workspace,
    run: &Run,
    upload: &UploadId,
    hashes: &[ContentHash],
) -> Result<Vec<usize>, UploadError> {
    let id = workspace.id();
    open(storage, &id, run, upload).await?;
    let (objects, _) = storage.tenant(&workspace.tenant).await?;
    let names: Vec<_> = hashes
        .iter()
        .map(|hash| objects.keys().chunk(hash))
        .collect();
    let known = storage.store.known_chunks(&id, upload, &names).await?;
    let missing = names
        .iter()
        .enumerate()
        .filter(|(_, name)| !known.contains_key(*name));
    Ok(missing.map(|(position, _)| position).collect())
}

/// Stores chunks as the upload's own.
///
/// # Errors
/// See [`UploadError`].
pub async fn store_chunks<C: AsRef<[u8]>>(
    storage: &Storage,
    workspace: &Workspace,
    run: &Run,
    upload: &UploadId,
    chunks: &[C],
) -> Result<(), UploadError> {
    open(storage, &workspace.id(), run, upload).await?;
    let (objects, _) = storage.tenant(&workspace.tenant).await?;
    let stored = objects.put_chunks(chunks).await?;
    crash_point!("sync-chunks-stored");
    let grown = storage
        .store
        .grow_upload(upload, &stored, &storage.bounds.upload);
    grown.await.map_err(|error| match error {
        GrowError::NotOpen => UploadError::Unknown(upload.clone()),
        GrowError::Full => UploadError::Full,
        GrowError::Store(error) => UploadError::Store(error),
    })
}

/// The caller's upload, committed or not.
pub(crate) async fn found(
    storage: &Storage,
    workspace: &WorkspaceId,
    run: &Run,
    upload: &UploadId,
) -> Result<Upload, UploadError> {
    let found = storage
        .store
        .upload(workspace, &run.instance, upload, storage.expired())
        .await?;
    found.ok_or_else(|| UploadError::Unknown(upload.clone()))
}

async fn open(
    storage: &Storage,
    workspace: &WorkspaceId,
    run: &Run,
    upload: &UploadId,
) -> Result<(), UploadError> {
    match found(storage, workspace, run, upload).await?.committed {
        Some(_) => Err(UploadError::Committed),
        None => Ok(()),
    }
}
