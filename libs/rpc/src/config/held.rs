//! Services that are processes of their own, on the files of a data directory that the command line made: they hold
//! it together, so that no second mesh is started on it beside them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A process number is shorter.
const LOCK_FILE_MAX_BYTES: u64 = 64;

/// A part in each data directory that a service has files of, until it is dropped.
#[derive(Debug)]
pub struct HeldDirs {
    _files: Vec<File>,
}

impl HeldDirs {
    /// The file of a data directory that services hold together, and a mesh in one process for itself.
    pub const FILE: &'static str = "services";
    /// The file that tells who is a mesh in one process.
    pub const OWNER_FILE: &'static str = "lock";
    /// The file that says what a data directory is.
    pub const VERSION_FILE: &'static str = "version";

    /// Takes a part in the data directories in which these files and directories lie, where they lie in one.
    ///
    /// # Errors
    /// When a mesh in one process serves from one, which the text names.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for path in paths {
            let path = std::path::absolute(path)?;
            let folder = path.ancestors().skip(1).find(|folder| {
                [Self::VERSION_FILE, Self::OWNER_FILE]
                    .iter()
                    .all(|name| folder.join(name).is_file())
            });
            if let Some(folder) = folder
                && !folders.iter().any(|known| known == folder)
            {
                folders.push(folder.to_owned());
            }
        }
        let files = folders
            .iter()
            .map(|folder| hold(folder))
            .collect::<io::Result<_>>()?;
        Ok(Self { _files: files })
    }
}

fn hold(folder: &Path) -> io::Result<File> {
    let path = folder.join(HeldDirs::FILE);
    let said =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(said)?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            if let Ok(lock) = File::open(folder.join(HeldDirs::OWNER_FILE)) {
                // It only makes the text better.
                lock.take(LOCK_FILE_MAX_BYTES)
                    .read_to_string(&mut owner)
                    .unwrap_or_default();
            }
            let owner = match owner.trim() {
                "" => "`sandgate`".to_owned(),
                pid => format!("process {pid} (`sandgate`)"),
            };
            let text = format!(
                "{} is served by {owner}; end it first, or call the mesh that it runs",
                folder.display()
            );
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
        Err(error) => Err(said(error.into())),
    }
}
