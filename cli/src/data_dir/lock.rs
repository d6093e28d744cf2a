//! Who serves from a data directory, and who is a client of whoever does: locks that are all given up by the kernel
//! when their holder dies.
//!
//! `lock` is a mesh in one process. `services` is held together by services that are processes of their own on files
//! of the directory, or by such a mesh alone. `clients` is held together by the mesh's clients.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sandgate_rpc::config::HeldDirs;

use super::holders::holders;
use super::{DataDir, SMALL_FILE_MAX_BYTES};

/// The right to serve from a data directory; given up when dropped, and by the kernel when we die.
#[derive(Debug)]
pub(crate) struct Lock {
    /// What keeps services that are processes of their own away; not for those who only prepare what services need.
    /// Given up first, so that whoever has the lock next is alone at this too.
    _services: Option<File>,
    _file: File,
}

/// A client's part in a mesh; an owner that ends by itself waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _file: File,
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
    /// Services are, each a process of its own.
    Separate {
        /// Their names and numbers.
        holders: Vec<String>,
    },
}

impl DataDir {
    /// Takes the lock, if nobody serves from the directory.
    pub(crate) fn claim(&self) -> anyhow::Result<Claim> {
        // Opened first and locked last: whoever has the one lock is alone at the other, in the moment of its end too,
        // when the kernel closes files in this order.
        let services = open(&self.path.join(HeldDirs::FILE))?;
        let lock = match self.claim_beside_services()? {
            Claim::Ours(lock) => lock,
            held @ (Claim::Held { .. } | Claim::Separate { .. }) => return Ok(held),
        };
        if locked(&services, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(Claim::Ours(Lock {
                _services: Some(services),
                ..lock
            }));
        }
        let holders = holders(&services)?;
        Ok(Claim::Separate { holders })
    }

    /// Takes the lock to prepare what services need, if no mesh in one process has it; services that are processes
    /// of their own may wait for just that.
    pub(crate) fn claim_beside_services(&self) -> anyhow::Result<Claim> {
        let mut file = open(&self.path.join(HeldDirs::OWNER_FILE))?;
        if locked(&file, FlockOperation::NonBlockingLockExclusive)? {
            file.set_len(0).context("clear the lock file")?;
            file.rewind().context("rewind the lock file")?;
            write!(file, "{}", std::process::id()).context("write the lock file")?;
            let lock = Lock {
                _services: None,
                _file: file,
            };
            // A mesh that crashed could not take back what it said.
            self.retract(&lock)?;
            return Ok(Claim::Ours(lock));
        }
        let mut text = String::new();
        file.take(SMALL_FILE_MAX_BYTES)
            .read_to_string(&mut text)
            .context("read the lock file")?;
        Ok(Claim::Held {
            pid: text.trim().parse().ok(),
        })
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
        let file = open(&self.path.join("clients"))?;
        Ok(locked(&file, operation)?.then_some(Share { _file: file }))
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// Whether the lock was to be had.
fn locked(file: &File, operation: FlockOperation) -> anyhow::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error).context("lock a file of the data directory"),
    }
}
