//! Changes that become a version.

use sandgate_workspace::{Entry, Stated};

use super::{Store, SyncError};

/// One path, and what becomes of it.
#[derive(Debug)]
pub(crate) enum Change {
    /// It is stored as this.
    Upsert(Entry<Stated>),
    /// It is gone.
    Removed(Box<[u8]>),
}

impl Change {
    /// The path that it is about.
    pub(super) fn path(&self) -> &[u8] {
        match self {
            Self::Upsert(entry) => entry.path.as_bytes(),
            Self::Removed(path) => path,
        }
    }
}

impl Store {
    /// Commits changes behind the head that is known, in order of their paths.
    pub(super) async fn commit(
        &mut self,
        upload: &str,
        changes: Vec<Change>,
    ) -> Result<(), SyncError> {
        let version = self
            .parts
            .versions
            .commit(upload, &self.head, changes)
            .await?;
        if let Some(version) = version {
            self.head = version;
        }
        Ok(())
    }
}
