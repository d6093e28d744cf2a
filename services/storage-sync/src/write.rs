//! Writing without a sandbox: a file, or an older version as the newest.
//!
//! Both are allowed while a sandbox runs: its next commit finds that the head moved, and is made again on the new
//! one. A request that names itself is done once, also when it is repeated at the same time.

mod making;

use bytes::Bytes;
use futures_util::Stream;
use sandgate_types::{Malformed, VersionId};
use sandgate_workspace::tree::Mtime;
use sandgate_workspace::{BlobName, Entry, Node, TreePath};

use self::making::{Making, Next};
use crate::content::ReadError;
use crate::crash::crash_point;
use crate::ingest::store_content;
use crate::objects::ObjectError;
use crate::rebuild::RebuildError;
use crate::storage::Storage;
use crate::store::{AdvanceError, StoreError};
use crate::version::{Advance, Memo, Settles, Version};
use crate::workspace::Workspace;

/// How often a head that moves is followed before the caller is told to.
const ATTEMPTS: usize = 16;

/// What is written where.
#[derive(Debug)]
pub struct FileToWrite {
    /// Where; missing directories above it are made.
    pub path: TreePath,
    /// Its permission bits.
    pub mode: u32,
    /// The head must be this version.
    pub expected: Option<VersionId>,
    /// The request, when it named itself; its fingerprint is made here.
    pub memo: Option<Memo>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The head is another version than the caller expected, or kept moving.
    #[error("the head moved")]
    HeadMoved,
    /// There is no such version.
    #[error("there is no version {0}")]
    VersionUnknown(VersionId),
    /// A directory has that path.
    #[error("a directory has this path")]
    IsDirectory,
    /// Something that is no directory stands above the path.
    #[error("something above this path is no directory")]
    NotDirectory,
    /// The file is larger than one may be.
    #[error("the file is too large")]
    TooLarge,
    /// The request id named another request.
    #[error("the request id named another request")]
    RequestReused,
    /// Whoever sent the content is gone.
    #[error("the content was cut off")]
    Cut,
    /// The content breaks a rule.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The new version.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// An old version.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a file into a new version.
///
/// # Errors
/// See [`WriteError`]; the head has not moved.
pub async fn write_file(
    storage: &Storage,
    workspace: &Workspace,
    file: FileToWrite,
    content: impl Stream<Item = Result<Bytes, WriteError>>,
) -> Result<Version, WriteError> {
    let FileToWrite {
        path,
        mode,
        expected,
        memo,
    } = file;
    let written = store_content(storage, workspace, content).await?;
    crash_point!("write-chunks-stored");
    let memo = memo.map(|memo| {
        let expected = expected.as_ref().map(VersionId::as_str).unwrap_or_default();
        let mode = mode.to_le_bytes();
        let id = workspace.id();
        let parts = [
            id.as_str().as_bytes(),
            path.as_bytes(),
            &mode,
            expected.as_bytes(),
            &written.hash,
        ];
        Memo {
            fingerprint: fingerprint(&parts),
            ..memo
        }
    });
    let now = storage.now();
    let entry = Entry {
        path,
        mode,
        mtime: Mtime {
            seconds: now.as_seconds(),
            nanos: now.subsecond_nanos(),
        },
        node: Node::File {
            size: written.size,
            content: written.pieces.clone(),
        },
    };
    let making = Making::File { entry, expected };
    follow_head(storage, workspace, making, memo, written.chunks).await
}

/// Makes an older version's content the newest; the head itself stays what it is.
///
/// # Errors
/// See [`WriteError`]; the head has not moved.
pub async fn restore(
    storage: &Storage,
    workspace: &Workspace,
    version: &VersionId,
    memo: Option<Memo>,
) -> Result<Version, WriteError> {
    let id = workspace.id();
    let old = storage.store.version(&id, version).await?;
    let old = old.ok_or_else(|| WriteError::VersionUnknown(version.clone()))?;
    let parts = [id.as_str().as_bytes(), version.as_str().as_bytes()];
    let memo = memo.map(|memo| Memo {
        fingerprint: fingerprint(&parts),
        ..memo
    });
    follow_head(storage, workspace, Making::Restored(old), memo, Vec::new()).await
}

async fn follow_head(
    storage: &Storage,
    workspace: &Workspace,
    making: Making,
    memo: Option<Memo>,
    chunks: Vec<(BlobName, u32)>,
) -> Result<Version, WriteError> {
    let id = workspace.id();
    let (objects, _) = storage.tenant(&workspace.tenant).await?;
    storage
        .store
        .ensure_workspace(workspace, storage.now())
        .await?;
    let mut settles = Settles::Request {
        memo: memo.clone(),
        chunks,
    };
    for _ in 0..ATTEMPTS {
        if let Some(memo) = &memo
            && let Some(before) = storage.store.remembered(memo).await?
        {
            let same = before.fingerprint == memo.fingerprint;
            return if same {
                Ok(before.version)
            } else {
                Err(WriteError::RequestReused)
            };
        }
        let head = storage.store.head(&id).await?;
        let root = match (making.on(&objects, head.as_ref()).await?, head.as_ref()) {
            (Next::Version(root), _) => root,
            (Next::Head, Some(head)) => {
                // Remembered like any other: repeated after the head moved on, it must not go back to this one.
                let Some(memo) = &memo else {
                    return Ok(head.clone());
                };
                let noted = storage.store.remember(&id, memo, &head.id, storage.now());
                match noted.await {
                    Ok(()) => return Ok(head.clone()),
                    Err(AdvanceError::Store(error)) => return Err(error.into()),
                    Err(
                        AdvanceError::HeadMoved
                        | AdvanceError::Remembered
                        | AdvanceError::UploadNotOpen
                        | AdvanceError::RunPassed,
                    ) => continue,
                }
            }
            (Next::Head, None) => return Err(WriteError::HeadMoved),
        };
        crash_point!("write-pages-stored");
        let advance = Advance {
            workspace: id.clone(),
            id: VersionId::random(&mut rand::rng()),
            parent: head.map(|head| head.id),
            root,
            origin: making.origin(),
            settles,
            now: storage.now(),
        };
        match storage.store.advance(&advance).await {
            Ok(version) => {
                crash_point!("write-head-moved");
                return Ok(version);
            }
            Err(AdvanceError::Store(error)) => return Err(error.into()),
            // Read again; a request that was done meanwhile is found at the top.
            Err(
                AdvanceError::HeadMoved
                | AdvanceError::Remembered
                | AdvanceError::UploadNotOpen
                | AdvanceError::RunPassed,
            ) => settles = advance.settles,
        }
    }
    Err(WriteError::HeadMoved)
}

/// A hash of a request's parts, each with its length.
fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("sandgate 2025 storage.v1 request");
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}
