//! The commit of an upload: a version against its parent, and then the head.
//!
//! A version may refer to chunks of its own workspace or upload alone, by their true lengths. A repeated commit gets
//! the first one's answer.

use std::collections::HashMap;

use futures_util::{Stream, StreamExt as _};
use sandgate_types::{Malformed, UploadId, VersionId, WorkspaceId};
use sandgate_workspace::{BlobName, ContentHash, Entry, NameKeys, Node, Piece, Stated, TreePath};

use crate::crash::crash_point;
use crate::rebuild::{Rebuild, RebuildError};
use crate::storage::Storage;
use crate::store::AdvanceError;
use crate::upload::{UploadError, found};
use crate::version::{Advance, Commit, Origin, Run, Settles, Version};
use crate::workspace::Workspace;

/// A change against the parent.
#[derive(Debug, Clone)]
pub enum Change {
    /// The entry is now this.
    Upsert(Entry<Stated>),
    /// The entry, and everything below it, is gone.
    Remove(TreePath),
}

/// Why the changes of a commit ended early.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// A change breaks a rule.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Whoever sent them is gone.
    #[error("the changes were cut off")]
    Cut,
}

/// Commits a version: `changes` against `parent`, in batches that are decided together.
///
/// Everything that the version refers to is stored before its row is written, and the head moves in the transaction
/// that writes it; a reader sees the version before, or this one.
///
/// # Errors
/// See [`UploadError`]; the head has not moved.
pub async fn commit(
    storage: &Storage,
    workspace: &Workspace,
    run: &Run,
    upload: &UploadId,
    parent: Option<VersionId>,
    changes: impl Stream<Item = Result<Vec<Change>, ChangesError>>,
) -> Result<Version, UploadError> {
    let id = workspace.id();
    let state = found(storage, &id, run, upload).await?;
    if state.committed.is_none() {
        let head = storage.store.head(&id).await?;
        if head.map(|head| head.id) != parent {
            return Err(UploadError::HeadMoved);
        }
    }
    let base = match &parent {
        Some(parent) => {
            let version = storage.store.version(&id, parent).await?;
            Some(version.ok_or_else(|| UploadError::ParentUnknown(parent.clone()))?)
        }
        None => None,
    };
    let (objects, _) = storage.tenant(&workspace.tenant).await?;
    let base_root = base.as_ref().map(|base| base.root);
    let mut rebuild = Rebuild::new(objects.clone(), base_root.as_ref()).await?;
    let mut changes = std::pin::pin!(changes);
    let mut index = 0;
    while let Some(batch) = changes.next().await {
        let batch = batch?;
        let names = named(objects.keys(), &batch);
        let known = storage.store.known_chunks(&id, upload, &names).await?;
        for change in batch {
            let applied = apply(&mut rebuild, objects.keys(), &known, change).await;
            applied.map_err(|error| within(index, error))?;
            index += 1;
        }
    }
    let root = rebuild.finish().await?;
    crash_point!("sync-pages-stored");

    let fingerprint = fingerprint(parent.as_ref(), &root.name);
    if let Some(committed) = state.committed {
        return answered(storage, &id, committed, &fingerprint).await;
    }
    let commit = Commit {
        upload: upload.clone(),
        fingerprint,
        run: run.clone(),
    };
    let settled = match base {
        Some(base) if base.root == root => storage
            .store
            .settle_unchanged(&id, &commit, &base.id)
            .await
            .map(|()| base),
        Some(_) | None => {
            let advance = Advance {
                workspace: id.clone(),
                id: VersionId::random(&mut rand::rng()),
                parent,
                root,
                origin: Origin::Sync,
                settles: Settles::Upload(commit),
                now: storage.now(),
            };
            storage.store.advance(&advance).await
        }
    };
    crash_point!("sync-head-moved");
    match settled {
        Ok(version) => Ok(version),
        Err(AdvanceError::RunPassed) => Err(UploadError::RunPassed),
        Err(AdvanceError::Store(error)) => Err(UploadError::Store(error)),
        // The same commit may have been sent twice at once, and the other one won.
        Err(AdvanceError::HeadMoved | AdvanceError::UploadNotOpen | AdvanceError::Remembered) => {
            match found(storage, &id, run, upload).await?.committed {
                Some(committed) => answered(storage, &id, committed, &fingerprint).await,
                None => Err(UploadError::HeadMoved),
            }
        }
    }
}

async fn answered(
    storage: &Storage,
    workspace: &WorkspaceId,
    (version, first): (VersionId, [u8; 32]),
    fingerprint: &[u8; 32],
) -> Result<Version, UploadError> {
    if first != *fingerprint {
        return Err(UploadError::Committed);
    }
    let found = storage.store.version(workspace, &version).await?;
    found.ok_or(UploadError::ParentUnknown(version))
}

/// What a commit makes of what: the same changes on the same parent give the same pages.
fn fingerprint(parent: Option<&VersionId>, root: &BlobName) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("sandgate 2025 storage.v1 commit");
    hasher.update(root.as_bytes());
    hasher.update(parent.map(VersionId::as_str).unwrap_or_default().as_bytes());
    *hasher.finalize().as_bytes()
}

fn named(keys: &NameKeys, changes: &[Change]) -> Vec<BlobName> {
    let mut names = Vec::new();
    for change in changes {
        if let Change::Upsert(Entry {
            node: Node::File { content, .. },
            ..
        }) = change
        {
            names.extend(content.iter().filter_map(|piece| match piece {
                Piece::Hole(_) => None,
                Piece::Chunk { name, .. } => Some(keys.chunk(name)),
            }));
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

async fn apply(
    rebuild: &mut Rebuild,
    keys: &NameKeys,
    known: &HashMap<BlobName, u32>,
    change: Change,
) -> Result<(), RebuildError> {
    match change {
        Change::Remove(path) => rebuild.remove(&path).await,
        Change::Upsert(entry) => {
            let entry = entry.try_map(|pieces| {
                let checked = pieces.iter().enumerate();
                checked
                    .map(|(index, piece)| checked_piece(keys, known, index, piece))
                    .collect()
            });
            rebuild.upsert(entry?).await
        }
    }
}

/// A piece by its stored name, if the caller may refer to it and states its length truly.
fn checked_piece(
    keys: &NameKeys,
    known: &HashMap<BlobName, u32>,
    index: usize,
    piece: &Piece<ContentHash>,
) -> Result<Piece<BlobName>, RebuildError> {
    match piece {
        Piece::Hole(length) => Ok(Piece::Hole(*length)),
        Piece::Chunk { name, length } => {
            let name = keys.chunk(name);
            let refuse = |field: &str, rule: &str| {
                Err(Malformed::new(format!("chunks[{index}].{field}"), rule).into())
            };
            match known.get(&name) {
                None => refuse(
                    "hash",
                    "must be of a chunk that this workspace or upload has",
                ),
                Some(stored) if stored != length => {
                    refuse("length", "must be the length of the chunk that was stored")
                }
                Some(_) => Ok(Piece::Chunk {
                    name,
                    length: *length,
                }),
            }
        }
    }
}

/// The same refusal, seen from the whole commit.
fn within(index: usize, error: RebuildError) -> UploadError {
    match error {
        RebuildError::Malformed(malformed) => {
            let malformed = malformed.within(&format!("changes[{index}]"));
            UploadError::Changes(ChangesError::Malformed(malformed))
        }
        error @ (RebuildError::TooLarge | RebuildError::Read(_) | RebuildError::Object(_)) => {
            UploadError::Rebuild(error)
        }
    }
}
