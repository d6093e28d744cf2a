//! Whether a process was killed because its sandbox used more memory than it may.
//!
//! Whoever bounds the memory counts whom it kills; the backend hands the keeper that count, which no process of
//! the sandbox can reach. A process that a signal of ours did not end, and during whose life the count grew,
//! was killed for memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use parking_lot::Mutex;

use super::process::How;

/// SIGKILL, by its number, which is part of the kernel's interface.
const KILL: i32 = 9;
/// The line of the count, as the kernel writes it for a control group.
const LINE: &str = "oom_kill ";
/// The whole file is a few lines.
const FILE_MAX_BYTES: usize = 1024;

/// The count, and how it was when each process started.
#[derive(Debug)]
pub(crate) struct Kills {
    /// Absent where nobody counts.
    count: Option<File>,
    before: Mutex<BTreeMap<u64, u64>>,
}

impl Kills {
    pub(crate) fn new(count: Option<OwnedFd>) -> Self {
        Self {
            count: count.map(File::from),
            before: Mutex::default(),
        }
    }

    /// Notes that a process is about to start.
    pub(super) fn begin(&self, process: u64) {
        if let Some(count) = self.read() {
            self.before.lock().insert(process, count);
        }
    }

    /// Notes that a process never started, or that we kill it ourselves.
    pub(super) fn forget(&self, process: u64) {
        self.before.lock().remove(&process);
    }

    /// Notes that we kill all of them.
    pub(super) fn forget_all(&self) {
        self.before.lock().clear();
    }

    /// Whether a process that has ended like this was killed for memory.
    pub(crate) fn explain(&self, process: u64, how: How) -> bool {
        let before = self.before.lock().remove(&process);
        match (before, how) {
            (Some(before), How::Signalled(KILL)) => self.read().is_some_and(|now| now > before),
            (_, How::Signalled(_) | How::Exited(_)) => false,
        }
    }

    fn read(&self) -> Option<u64> {
        let mut bytes = [0; FILE_MAX_BYTES];
        let length = self.count.as_ref()?.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(LINE))?;
        line.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel writes it for a control group of the first version.
    fn write(file: &File, count: u32) {
        let text = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n");
        file.write_all_at(text.as_bytes(), 0).expect("write");
    }

    fn counted() -> (Kills, File) {
        let file = tempfile::tempfile().expect("a file");
        write(&file, 7);
        let count = file.try_clone().expect("the same file");
        (Kills::new(Some(count.into())), file)
    }

    #[test]
    fn who_was_killed_while_the_count_grew_was_killed_for_memory_and_nobody_else() {
        let (kills, file) = counted();
        for process in 1..=3 {
            kills.begin(process);
        }
        assert!(
            !kills.explain(1, How::Signalled(KILL)),
            "nobody was counted"
        );
        write(&file, 8);
        kills.begin(4);
        assert!(kills.explain(2, How::Signalled(KILL)));
        assert!(!kills.explain(3, How::Exited(137)), "a child of it was");
        assert!(!kills.explain(4, How::Signalled(KILL)), "it started later");
    }

    #[test]
    fn whom_we_kill_was_not_killed_for_memory() {
        let (kills, file) = counted();
        kills.begin(1);
        kills.begin(2);
        write(&file, 8);
        kills.forget(1);
        assert!(!kills.explain(1, How::Signalled(KILL)));
        kills.forget_all();
        assert!(!kills.explain(2, How::Signalled(KILL)));
    }

    #[test]
    fn where_nobody_counts_nobody_was_killed_for_memory() {
        let kills = Kills::new(None);
        kills.begin(1);
        assert!(!kills.explain(1, How::Signalled(KILL)));
    }
}
