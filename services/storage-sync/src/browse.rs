//! Reading a workspace without a sandbox, and bringing it into one.

use sandgate_types::VersionId;
use sandgate_workspace::{Entry, Node, Stored, TreePath};

use crate::content::{Content, Entries, ReadError, lookup};
use crate::storage::Storage;
use crate::store::StoreError;
use crate::version::Version;
use crate::workspace::Workspace;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// There is no such version.
    #[error("there is no version {0}")]
    VersionUnknown(VersionId),
    /// The version has nothing at this path.
    #[error("there is nothing at this path")]
    PathUnknown,
    /// A directory was asked for.
    #[error("this is no directory")]
    NotDirectory,
    /// A file was asked for.
    #[error("this is no file")]
    NotFile,
    /// The file ends before the offset.
    #[error("the file ends at {size}")]
    BeyondEnd {
        /// The size of the file.
        size: u64,
    },
    /// The version.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is below a directory, a page of it.
#[derive(Debug)]
pub struct Listing {
    /// The version; none when the workspace has none.
    pub version: Option<VersionId>,
    /// The entries, by path as raw bytes.
    pub entries: Vec<Entry<Stored>>,
    /// Whether there are more.
    pub more: bool,
}

/// The version that is meant. A workspace that was never written has no head, which is nothing unknown.
async fn version(
    storage: &Storage,
    workspace: &Workspace,
    named: Option<&VersionId>,
) -> Result<Option<Version>, BrowseError> {
    let found = storage.version(&workspace.id(), named).await?;
    match (found, named) {
        (None, Some(named)) => Err(BrowseError::VersionUnknown(named.clone())),
        (found, _) => Ok(found),
    }
}

/// At most `most` entries below `directory`, behind the path `after`.
///
/// # Errors
/// See [`BrowseError`].
pub async fn list(
    storage: &Storage,
    workspace: &Workspace,
    named: Option<&VersionId>,
    directory: &TreePath,
    after: Option<&[u8]>,
    most: usize,
) -> Result<Listing, BrowseError> {
    let Some(version) = version(storage, workspace, named).await? else {
        return if directory.is_root() {
            Ok(Listing {
                version: None,
                entries: Vec::new(),
                more: false,
            })
        } else {
            Err(BrowseError::PathUnknown)
        };
    };
    let (objects, _) = storage.tenant(&workspace.tenant).await?;
    let mut from = Vec::new();
    if !directory.is_root() {
        let there = lookup(&objects, &version.root, directory).await?;
        if !there.ok_or(BrowseError::PathUnknown)?.is_directory() {
            return Err(BrowseError::NotDirectory);
        }
        from = directory.as_bytes().to_vec();
        from.push(b'/');
    }
    if let Some(after) = after {
        // NUL is in no path, so this is what comes first behind it.
        from = [after, &[0]].concat();
    }
    let mut below = Entries::from(objects, &version.root, from);
    let mut entries = Vec::new();
    while let Some(entry) = below.next().await? {
        if !entry.path.is_below(directory) {
            break;
        }
        if entries.len() == most {
            return Ok(Listing {
                version: Some(version.id),
                entries,
                more: true,
            });
        }
        entries.push(entry);
    }
    Ok(Listing {
        version: Some(version.id),
        entries,
        more: false,
    })
}

/// A file's entry, and its content from `offset` on, at most `length` bytes of it.
///
/// # Errors
/// See [`BrowseError`].
pub async fn read(
    storage: &Storage,
    workspace: &Workspace,
    named: Option<&VersionId>,
    path: &TreePath,
    offset: u64,
    length: Option<u64>,
) -> Result<(Entry<Stored>, Content), BrowseError> {
    let version = version(storage, workspace, named)
        .await?
        .ok_or(BrowseError::PathUnknown)?;
    let (objects, _) = storage.tenant(&workspace.tenant).await?;
    let entry = lookup(&objects, &version.root, path)
        .await?
        .ok_or(BrowseError::PathUnknown)?;
    let (size, content) = match &entry.node {
        Node::File { size, content } => (*size, content.clone()),
        Node::Directory | Node::Symlink { .. } => return Err(BrowseError::NotFile),
    };
    if offset > size {
        return Err(BrowseError::BeyondEnd { size });
    }
    let end = length.map_or(size, |length| offset.saturating_add(length).min(size));
    Ok((entry, Content::new(objects, content, offset..end)))
}

/// A workspace on its way into a sandbox: a version, and its entries with their content.
#[derive(Debug)]
pub struct Hydration {
    /// The version.
    pub version: Version,
    entries: Entries,
    objects: crate::objects::TenantObjects,
}

impl Hydration {
    /// The next entry and, of a file, its content.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn next(&mut self) -> Result<Option<(Entry<Stored>, Option<Content>)>, ReadError> {
        let Some(entry) = self.entries.next().await? else {
            return Ok(None);
        };
        let content = match &entry.node {
            Node::File { size, content } => Some(Content::new(
                self.objects.clone(),
                content.clone(),
                0..*size,
            )),
            Node::Directory | Node::Symlink { .. } => None,
        };
        Ok(Some((entry, content)))
    }
}

/// A version to bring in; nothing when the workspace has none.
///
/// # Errors
/// See [`BrowseError`].
pub async fn hydrate(
    storage: &Storage,
    workspace: &Workspace,
    named: Option<&VersionId>,
) -> Result<Option<Hydration>, BrowseError> {
    let Some(version) = version(storage, workspace, named).await? else {
        return Ok(None);
    };
    let (objects, _) = storage.tenant(&workspace.tenant).await?;
    let entries = Entries::new(objects.clone(), &version.root);
    Ok(Some(Hydration {
        version,
        entries,
        objects,
    }))
}
