//! Modes of objects in a directory of this machine: nobody but us reads them, whatever the umask and the directory.
//!
//! The object store makes files and directories as the umask has it. So directories are made here, before it would,
//! and a file is closed as soon as it has its name; until then the directory above keeps others out.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;

/// Of directories.
const DIRECTORY: u32 = 0o700;
/// Of files.
const FILE: u32 = 0o600;

/// The directory with the objects.
#[derive(Debug, Clone)]
pub(super) struct Private(PathBuf);

impl Private {
    /// Objects below this directory.
    pub(super) fn below(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Makes the directories above an object that are missing, so that they survive a power cut.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) async fn make_room(&self, object: &ObjectPath) -> Result<(), object_store::Error> {
        let mut above: Vec<String> = object
            .parts()
            .map(|part| part.as_ref().to_owned())
            .collect();
        above.pop();
        let root = self.0.clone();
        blocking(move || {
            if root.join(above.iter().collect::<PathBuf>()).is_dir() {
                return Ok(());
            }
            let mut at = root;
            for name in above {
                let folder = at.join(name);
                match DirBuilder::new().mode(DIRECTORY).create(&folder) {
                    // Another call may have been faster.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    made => made?,
                }
                File::open(&at)?.sync_all()?;
                at = folder;
            }
            Ok(())
        })
        .await
    }

    /// Closes an object that was stored.
    ///
    /// # Errors
    /// When it is not there, or is not ours.
    pub(super) async fn close(&self, object: &ObjectPath) -> Result<(), object_store::Error> {
        let parts = object.parts().map(|part| part.as_ref().to_owned());
        let file = self.0.join(parts.collect::<PathBuf>());
        blocking(move || std::fs::set_permissions(file, Permissions::from_mode(FILE))).await
    }
}

async fn blocking(
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), object_store::Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)
        .flatten()
        .map_err(|error| object_store::Error::Generic {
            store: "directory",
            source: error.into(),
        })
}
