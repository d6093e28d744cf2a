//! The data directory of a mesh: where its state lies, who owns it, and how clients find it.
//!
//! One mesh per data directory: its owner holds the lock for as long as it lives, so a lock that can be
//! taken means that nobody serves. `mesh.json` says how to reach the owner; it is only believed while the
//! lock is held.

mod database;
mod holders;
mod layout;
mod lock;
mod vacant;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use self::layout::{check_version, fingerprint, make_private, socket_folder, write_whole};
pub(crate) use self::lock::{Claim, Lock, Share};
pub(crate) use self::vacant::{NotSetUp, is_vacant};

/// `mesh.json` and `version` are a few hundred bytes; whatever is longer is not ours.
const SMALL_FILE_MAX_BYTES: u64 = 16 * 1024;

/// A data directory that exists and is ours alone.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    path: PathBuf,
    sockets: PathBuf,
    master_key: PathBuf,
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
    /// The gate's policy, where it has one.
    pub(crate) policy: Option<PathBuf>,
    /// CA certificates of its upstreams, where it has them.
    pub(crate) upstream_roots: Option<PathBuf>,
    /// The templates, where they are not the built-in one.
    pub(crate) templates: Option<PathBuf>,
    /// The database, without secrets.
    pub(crate) database: String,
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

    /// Tells clients how to reach us.
    pub(crate) fn publish(&self, _lock: &Lock, published: &Published) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(published).context("encode mesh.json")?;
        write_whole(&self.path.join("mesh.json"), &text)
    }

    /// The lock, or who serves from the directory in words.
    pub(crate) fn claim_or_name(&self, claim: Claim) -> anyhow::Result<Lock> {
        let path = self.path.display();
        match claim {
            Claim::Ours(lock) => Ok(lock),
            Claim::Held { pid: None } => bail!("{path} is in use"),
            Claim::Held { pid: Some(pid) } => bail!(
                "{path} is in use by process {pid}; end it first, or use it: `sandgate run` does"
            ),
            Claim::Separate { holders } => bail!(self.served_by(&holders)),
        }
    }

    /// That services which are processes of their own serve from the directory, and what to do.
    pub(crate) fn served_by(&self, holders: &[String]) -> String {
        let path = self.path.display();
        let holders = match holders {
            [] => "other processes".to_owned(),
            known => known.join(", "),
        };
        format!(
            "{path} is served by processes of their own: {holders}; call their gate with the API key in {}, or end them first",
            self.api_key().display()
        )
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

#[cfg(test)]
mod tests;
