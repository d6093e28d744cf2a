//! Writing without a sandbox: a file, or an older version as the newest.
//!
//! Both are allowed while a sandbox runs: its next commit finds that the head moved, and is made again on the new
//! one. A request that names itself is done once, also when it is repeated at the same time.

use bytes::Bytes;
use futures_util::Stream;
use sandgate_types::{Malformed, VersionId};
use sandgate_workspace::manifest::Root;
use sandgate_workspace::tree::Mtime;
use sandgate_workspace::{BlobName, Entry, Node, Piece, TreePath};

use crate::content::{ReadError, lookup};
use crate::crash::crash_point;
use crate::ingest::store_content;
use crate::objects::{ObjectError, TenantObjects};
use crate::rebuild::{Rebuild, RebuildError};
use crate::storage::Storage;
use crate::store::{AdvanceError, StoreError};
use crate::version::{Advance, Memo, Origin, Settles, Version};
use crate::workspace::Workspace;

/// A directory that is made because a file is written in it.
const DIRECTORY_MODE: u32 = 0o755;
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

/// What the next version is to be.
enum Making {
    /// The head with a file written into it.
    File {
        entry: Entry<Vec<Piece<BlobName>>>,
        expected: Option<VersionId>,
    },
    /// An older version.
    Restored(Version),
}

/// What that makes of the head.
enum Next {
    /// A new version.
    Version(Root),
    /// Nothing: the head is what was asked for.
    Head,
}

impl Making {
    fn origin(&self) -> Origin {
        match self {
            Self::File { .. } => Origin::Write,
            Self::Restored(_) => Origin::Restore,
        }
    }

    async fn on(
        &self,
        objects: &TenantObjects,
        head: Option<&Version>,
    ) -> Result<Next, WriteError> {
        match self {
            Self::Restored(old) => Ok(match head {
                Some(head) if head.id == old.id => Next::Head,
                Some(_) | None => Next::Version(old.root),
            }),
            Self::File { entry, expected } => {
                if expected.is_some() && expected.as_ref() != head.map(|head| &head.id) {
                    return Err(WriteError::HeadMoved);
                }
                let root = head.map(|head| head.root);
                let above = directories_above(objects, root.as_ref(), entry).await?;
                let mut rebuild = Rebuild::new(objects.clone(), root.as_ref()).await?;
                for directory in above {
                    rebuild.upsert(directory).await?;
                }
                rebuild.upsert(entry.clone()).await?;
                Ok(Next::Version(rebuild.finish().await?))
            }
        }
    }
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

/// The directories above an entry that the head lacks, the outermost first.
async fn directories_above<C>(
    objects: &TenantObjects,
    root: Option<&Root>,
    entry: &Entry<C>,
) -> Result<Vec<Entry<Vec<Piece<BlobName>>>>, WriteError> {
    let mut missing = Vec::new();
    for path in entry.path.ancestors() {
        let there = match root {
            Some(root) if missing.is_empty() => lookup(objects, root, &path).await?,
            Some(_) | None => None,
        };
        match there {
            Some(above) if above.is_directory() => {}
            Some(_) => return Err(WriteError::NotDirectory),
            None => missing.push(Entry {
                path,
                mode: DIRECTORY_MODE,
                mtime: entry.mtime,
                node: Node::Directory,
            }),
        }
    }
    if let (Some(root), true) = (root, missing.is_empty())
        && let Some(there) = lookup(objects, root, &entry.path).await?
        && there.is_directory()
    {
        return Err(WriteError::IsDirectory);
    }
    Ok(missing)
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
