//! What a write makes of the head that it finds: made again, the same, whenever the head has moved on.

use sandgate_types::VersionId;
use sandgate_workspace::manifest::Root;
use sandgate_workspace::{BlobName, Entry, Node, Piece};

use super::WriteError;
use crate::content::lookup;
use crate::objects::TenantObjects;
use crate::rebuild::Rebuild;
use crate::version::{Origin, Version};

/// A directory that is made because a file is written in it.
const DIRECTORY_MODE: u32 = 0o755;

/// What the next version is to be.
pub(super) enum Making {
    /// The head with a file written into it.
    File {
        entry: Entry<Vec<Piece<BlobName>>>,
        expected: Option<VersionId>,
    },
    /// An older version.
    Restored(Version),
}

/// What that makes of the head.
pub(super) enum Next {
    /// A new version.
    Version(Root),
    /// Nothing: the head is what was asked for.
    Head,
}

impl Making {
    /// What it is recorded as.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::File { .. } => Origin::Write,
            Self::Restored(_) => Origin::Restore,
        }
    }

    /// Makes it of this head.
    pub(super) async fn on(
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
