//! Writing a new version from its parent and changes, in one pass over both.

use sandgate_types::Malformed;
use sandgate_workspace::manifest::{Builder, ENTRIES_MAX, Merge, Page, Root, page_pieces};
use sandgate_workspace::{BlobName, Entry, Piece, Stored, TreePath};

use crate::content::{Entries, ReadError};
use crate::objects::{ObjectError, TenantObjects, WRITES_AT_ONCE};

/// The most bytes that the files of a version may have, holes included.
const VERSION_MAX_BYTES: u64 = 1 << 46;

/// Why a version was not written.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A change breaks a rule.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The version would have too many entries or bytes.
    #[error("the version would be too large")]
    TooLarge,
    /// The parent could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A page could not be stored.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// A version in the making. Changes come in strictly ascending order of their paths; memory is bounded by a page of
/// each level, whatever the size of the version.
#[derive(Debug)]
pub struct Rebuild {
    objects: TenantObjects,
    parent: Option<Entries>,
    /// The parent's entry that was read and not yet decided.
    ahead: Option<Entry<Stored>>,
    merge: Merge,
    builder: Builder,
    pages: Vec<Page>,
    last: TreePath,
}

impl Rebuild {
    /// From a parent, or from nothing.
    ///
    /// # Errors
    /// When the parent cannot be read.
    pub async fn new(objects: TenantObjects, parent: Option<&Root>) -> Result<Self, RebuildError> {
        let mut rebuild = Self {
            parent: parent.map(|root| Entries::new(objects.clone(), root)),
            ahead: None,
            merge: Merge::new(),
            builder: Builder::new(objects.keys().clone()),
            pages: Vec::new(),
            last: TreePath::root(),
            objects,
        };
        rebuild.read_ahead().await?;
        Ok(rebuild)
    }

    /// The entry is now this.
    ///
    /// # Errors
    /// The field `path`, when it is out of order or lies in no directory of the new version.
    pub async fn upsert(&mut self, entry: Entry<Vec<Piece<BlobName>>>) -> Result<(), RebuildError> {
        self.reach(&entry.path).await?;
        self.merge.upserts(&entry)?;
        let keys = self.objects.keys().clone();
        let mut pages = Vec::new();
        let entry = entry.try_map(|pieces| {
            let (stored, more) = page_pieces(&keys, pieces);
            pages = more;
            Ok::<_, RebuildError>(stored)
        })?;
        self.pages.append(&mut pages);
        self.push(entry).await
    }

    /// The entry, and everything below it, is gone.
    ///
    /// # Errors
    /// The field `path`, when it is out of order.
    pub async fn remove(&mut self, path: &TreePath) -> Result<(), RebuildError> {
        self.reach(path).await?;
        self.merge.removes(path);
        Ok(())
    }

    /// Takes the rest of the parent, stores what is left, and names the new version. Everything that it refers to
    /// is stored then.
    ///
    /// # Errors
    /// See [`RebuildError`].
    pub async fn finish(mut self) -> Result<Root, RebuildError> {
        while let Some(entry) = self.ahead.take() {
            self.keep(entry).await?;
            self.read_ahead().await?;
        }
        let (pages, root) = self.builder.finish();
        self.pages.extend(pages);
        self.objects.put_pages(&self.pages).await?;
        Ok(root)
    }

    /// Takes what the parent has before `path`, and passes over what it has there.
    async fn reach(&mut self, path: &TreePath) -> Result<(), RebuildError> {
        if *path <= self.last {
            let rule = "must be in strictly ascending order of raw path bytes";
            return Err(Malformed::new("path", rule).into());
        }
        self.last = path.clone();
        while let Some(entry) = self.ahead.take_if(|entry| entry.path <= *path) {
            if entry.path < *path {
                self.keep(entry).await?;
            }
            self.read_ahead().await?;
        }
        Ok(())
    }

    async fn keep(&mut self, entry: Entry<Stored>) -> Result<(), RebuildError> {
        if self.merge.keeps(&entry) {
            self.push(entry).await
        } else {
            Ok(())
        }
    }

    async fn push(&mut self, entry: Entry<Stored>) -> Result<(), RebuildError> {
        let bytes = self.builder.bytes().saturating_add(entry.size());
        if self.builder.entries() >= ENTRIES_MAX || bytes > VERSION_MAX_BYTES {
            return Err(RebuildError::TooLarge);
        }
        self.pages.extend(self.builder.push(entry));
        if self.pages.len() >= WRITES_AT_ONCE {
            self.objects.put_pages(&self.pages).await?;
            self.pages.clear();
        }
        Ok(())
    }

    async fn read_ahead(&mut self) -> Result<(), RebuildError> {
        self.ahead = match &mut self.parent {
            Some(parent) => parent.next().await?,
            None => None,
        };
        Ok(())
    }
}
