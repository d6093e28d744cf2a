//! The data directory of a mesh: where its state lies, who owns it, and how clients find it.
//!
//! One mesh per data directory: its owner holds the lock for as long as it lives, so a lock that can be
//! taken means that nobody serves. `mesh.json` says how to reach the owner; it is only believed while the
//! lock is held.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The layout that this program writes. A directory with a higher number is refused untouched.
const LAYOUT_VERSION: u32 = 1;
/// `mesh.json` and `version` are a few hundred bytes; whatever is longer is not ours.
const SMALL_FILE_MAX_BYTES: u64 = 16 * 1024;
/// The longest path of a Unix socket is 107 bytes; the longest name that we put below the folder has 20.
const SOCKET_FOLDER_MAX_BYTES: usize = 86;

/// A data directory that exists and is ours alone.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
    sockets: PathBuf,
    master_key: PathBuf,
}

/// The right to serve from a data directory; given up when dropped, and by the kernel when we die.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// A client's part in a mesh; an owner that ends by itself waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _file: File,
}

/// How to reach the mesh that owns a data directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    /// The process that serves.
    pub(crate) pid: u32,
    /// The Unix socket of the client listener.
    pub(crate) socket: PathBuf,
    /// The address of the client listener, where it has one.
    pub(crate) address: Option<String>,
}

/// Whether the lock was free.
#[derive(Debug)]
pub(crate) enum Claim {
    /// We are the mesh now.
    Ours(Lock),
    /// Another process is.
    Held {
        /// Its number, where it has been written.
        pid: Option<u32>,
    },
}

impl DataDir {
    /// Opens the directory, and makes it when it is missing.
    ///
    /// # Errors
    /// When it belongs to somebody else, others may read it, or a newer program wrote it.
    pub(crate) fn open(
        path: &Path,
        config_home: &Path,
        runtime_home: Option<&Path>,
    ) -> anyhow::Result<Self> {
        make_private(path)?;
        let path = path
            .canonicalize()
            .with_context(|| format!("resolve {}", path.display()))?;
        check_version(&path)?;
        let name = format!("{:016x}", fingerprint(&path));
        let sockets = socket_folder(&path, &name, runtime_home)?;
        let master_key = config_home.join("sandgate").join(format!("{name}.key"));
        Ok(Self {
            path,
            sockets,
            master_key,
        })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The client listener's Unix socket.
    pub(crate) fn client_socket(&self) -> PathBuf {
        self.sockets.join("client.sock")
    }

    /// The master key, which lies outside of the directory, so that a copy of the one is not a copy of both.
    pub(crate) fn master_key(&self) -> &Path {
        &self.master_key
    }

    /// Where token notes how far its feed is; beside the master key, so that a restored copy of the directory is
    /// found out.
    pub(crate) fn feed_head(&self) -> PathBuf {
        self.master_key.with_extension("feed-head")
    }

    /// The file that holds the first API key.
    pub(crate) fn api_key(&self) -> PathBuf {
        self.path.join("api-key")
    }

    /// Takes the lock, if it is free.
    pub(crate) fn claim(&self) -> anyhow::Result<Claim> {
        let path = self.path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0).context("clear the lock file")?;
                file.rewind().context("rewind the lock file")?;
                write!(file, "{}", std::process::id()).context("write the lock file")?;
                let lock = Lock { _file: file };
                // A mesh that crashed could not take back what it said.
                self.retract(&lock)?;
                Ok(Claim::Ours(lock))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.take(SMALL_FILE_MAX_BYTES)
                    .read_to_string(&mut text)
                    .context("read the lock file")?;
                Ok(Claim::Held {
                    pid: text.trim().parse().ok(),
                })
            }
            Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    /// Tells clients how to reach us.
    pub(crate) fn publish(&self, _lock: &Lock, published: &Published) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(published).context("encode mesh.json")?;
        write_whole(&self.path.join("mesh.json"), &text)
    }

    /// How to reach the owner, once it has said so.
    pub(crate) fn published(&self) -> anyhow::Result<Option<Published>> {
        let path = self.path.join("mesh.json");
        match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(SMALL_FILE_MAX_BYTES)
                    .read_to_string(&mut text)
                    .context("read mesh.json")?;
                Ok(serde_json::from_str(&text).ok())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("open {}", path.display())),
        }
    }

    /// Takes a part in the mesh; nothing when it is ending.
    pub(crate) fn share(&self) -> anyhow::Result<Option<Share>> {
        self.lock_clients(FlockOperation::NonBlockingLockShared)
    }

    /// Takes the part of every client: nothing while one is left. No other comes until it is dropped.
    pub(crate) fn share_of_all(&self, _lock: &Lock) -> anyhow::Result<Option<Share>> {
        self.lock_clients(FlockOperation::NonBlockingLockExclusive)
    }

    fn lock_clients(&self, operation: FlockOperation) -> anyhow::Result<Option<Share>> {
        let path = self.path.join("clients");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Share { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    /// Takes back what was published.
    pub(crate) fn retract(&self, _lock: &Lock) -> anyhow::Result<()> {
        match fs::remove_file(self.path.join("mesh.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove mesh.json")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Makes a directory that only we may enter, or checks that it is one.
fn make_private(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the directory {}", path.display()))?;
    let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    ensure!(
        metadata.uid() == rustix::process::geteuid().as_raw(),
        "{} belongs to another user; choose another directory with --data-dir",
        path.display()
    );
    ensure!(
        metadata.permissions().mode() & 0o077 == 0,
        "others may read {}; run `chmod 700 {}`",
        path.display(),
        path.display()
    );
    Ok(())
}

fn check_version(path: &Path) -> anyhow::Result<()> {
    let file = path.join("version");
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(version) if version <= LAYOUT_VERSION => Ok(()),
            Ok(version) => bail!(
                "{} was written by a newer sandgate (layout {version}, this one knows {LAYOUT_VERSION}); upgrade sandgate, or choose another directory with --data-dir",
                path.display()
            ),
            Err(_) => bail!(
                "{} does not hold a number; this is not a data directory of sandgate",
                file.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let foreign = fs::read_dir(path)
                .with_context(|| format!("list {}", path.display()))?
                .next()
                .is_some();
            ensure!(
                !foreign,
                "{} is not empty and not a data directory of sandgate; choose another directory with --data-dir",
                path.display()
            );
            write_whole(&file, format!("{LAYOUT_VERSION}\n").as_bytes())
        }
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

fn socket_folder(data: &Path, name: &str, runtime_home: Option<&Path>) -> anyhow::Result<PathBuf> {
    let inside = data.join("run");
    let folder = if inside.as_os_str().as_bytes().len() <= SOCKET_FOLDER_MAX_BYTES {
        inside
    } else if let Some(home) = runtime_home {
        home.join(format!("sandgate-{name}"))
    } else {
        PathBuf::from(format!(
            "/tmp/sandgate-{}-{name}",
            rustix::process::geteuid().as_raw()
        ))
    };
    ensure!(
        !folder.is_symlink(),
        "{} is a symbolic link; remove it, since sockets are not put behind one",
        folder.display()
    );
    make_private(&folder)?;
    Ok(folder)
}

/// Writes a file so that a reader sees the old content or the new one.
fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// FNV-1a over the path: names a file after a directory; nothing relies on it being hard to collide.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests;
