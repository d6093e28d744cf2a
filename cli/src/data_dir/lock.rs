//! Who serves from a data directory, and who is a client of whoever does: two locks, both given up by the kernel when
//! their holder dies.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};

use super::{DataDir, SMALL_FILE_MAX_BYTES};

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
}
