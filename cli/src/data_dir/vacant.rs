//! Where no mesh was set up: a question there is a mistake, most often of the directory's name.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::DataDir;
use super::database;

/// No mesh was set up in this directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "no mesh was set up in {}; `sandgate run`, `up` or `init` sets one up, and --data-dir names another directory",
    .0.display()
)]
pub(crate) struct NotSetUp(pub(crate) PathBuf);

/// Whether nothing is at this path, or an empty directory.
pub(crate) fn is_vacant(path: &Path) -> bool {
    match path.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

impl DataDir {
    /// Checks that a mesh was set up here, or was begun to be.
    pub(crate) fn is_set_up(&self) -> Result<(), NotSetUp> {
        if self.path.join(database::FILE).exists() || self.api_key().exists() {
            Ok(())
        } else {
            Err(NotSetUp(self.path.clone()))
        }
    }
}
