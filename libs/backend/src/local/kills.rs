//! How many processes of a sandbox were killed for memory: the kernel's count of its control group, or our own,
//! which reads the same. The keeper gets it, to say of a process why it ended.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};

/// The count of a sandbox without a control group.
#[derive(Debug)]
pub(super) struct Kills {
    file: File,
    count: AtomicU64,
}

impl Kills {
    pub(super) fn new() -> io::Result<Self> {
        let kills = Self {
            file: File::from(memfd_create("kills", MemfdFlags::CLOEXEC)?),
            count: AtomicU64::new(0),
        };
        kills.write(0)?;
        Ok(kills)
    }

    /// The count, for the keeper.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Counts somebody, before they are killed: their end may be heard of at once.
    pub(super) fn add(&self) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(error) = self.write(count) {
            tracing::warn!(%error, "a process that is killed for memory could not be counted");
        }
    }

    /// As long as ever, so that no reader sees half of it.
    fn write(&self, count: u64) -> io::Result<()> {
        self.file
            .write_all_at(format!("oom_kill {count:020}\n").as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_reads_as_the_kernels_does() {
        let kills = Kills::new().expect("a file in memory");
        kills.add();
        kills.add();
        let mut bytes = [0; 64];
        let length = kills.file.read_at(&mut bytes, 0).expect("read");
        let text = std::str::from_utf8(&bytes[..length]).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        assert_eq!(line.and_then(|count| count.parse().ok()), Some(2));
    }
}
