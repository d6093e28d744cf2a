//! What the last stored version holds, as the tree looked when it was read; so that only what changed since
//! is read again.
//!
//! A file counts as unchanged when kind, size, permissions, both times and inode are what they were. The
//! change time cannot be set by hand, but it is coarse: a file that was read within [`RACY`] of its last
//! change may change again without a new time, so it is read once more (the rule that git calls racy).
//! Pure: the walk feeds it, and it learns what was stored only when the store has acknowledged it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How close to its last change a file's reading must not be for its times to tell of the next one. The
/// kernel's clock of files ticks every 4 to 10 ms; other file systems count whole seconds.
pub(crate) const RACY: Duration = Duration::from_secs(2);
/// The most entries of a workspace that is synced; what is known of them stays within tens of megabytes.
pub(crate) const ENTRIES_MAX: usize = 250_000;

/// Nanoseconds of a second.
const NANOS: u32 = 1_000_000_000;

/// A time of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct FileTime {
    /// Seconds since the epoch.
    pub(crate) seconds: i64,
    /// Nanoseconds within the second.
    pub(crate) nanos: u32,
}

impl FileTime {
    /// So much later.
    pub(crate) fn plus(self, duration: Duration) -> Self {
        let nanos = self.nanos + duration.subsec_nanos();
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: self
                .seconds
                .saturating_add(seconds)
                .saturating_add(i64::from(nanos / NANOS)),
            nanos: nanos % NANOS,
        }
    }

    /// How long after `earlier`; nothing when it is before.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let at = |time: Self| Some(Duration::new(u64::try_from(time.seconds).ok()?, time.nanos));
        at(self)
            .zip(at(earlier))
            .map_or(Duration::MAX, |(later, earlier)| {
                later.saturating_sub(earlier)
            })
    }
}

/// What kinds of entries are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// What an entry looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its permission bits.
    pub(crate) mode: u32,
    /// Its size; zero for a directory.
    pub(crate) size: u64,
    /// Its inode.
    pub(crate) inode: u64,
    /// When its content changed, as anybody may set it.
    pub(crate) modified: FileTime,
    /// When anything of it changed, as the kernel saw it.
    pub(crate) changed: FileTime,
}

/// An entry that was found and is not as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path.
    pub(crate) path: Box<[u8]>,
    /// What it looks like.
    pub(crate) fingerprint: Fingerprint,
}

/// That the tree has more entries than are synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the workspace has more than {ENTRIES_MAX} entries")]
pub(crate) struct TooMany;

#[derive(Debug)]
struct Known {
    fingerprint: Fingerprint,
    /// Whether its times tell of its next change.
    settled: bool,
    /// The walk that saw it last.
    seen: u64,
}

/// What is stored.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    entries: BTreeMap<Box<[u8]>, Known>,
    walks: u64,
}

/// One walk over the tree.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    snapshot: &'a mut Snapshot,
    count: usize,
    changed: Vec<Found>,
}

/// What differs from what is stored, by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// New or other entries, in order of raw path bytes.
    pub(crate) changed: Vec<Found>,
    /// Entries that are gone, with all below them, in the same order.
    pub(crate) removed: Vec<Box<[u8]>>,
}

// === impl Fingerprint ===

impl Fingerprint {
    /// Whether a reading that began at `read_at` tells, by its times, of every later change.
    pub(crate) fn is_settled(&self, read_at: FileTime) -> bool {
        self.kind != Kind::File
            || self.changed.seconds.saturating_add(racy_seconds()) < read_at.seconds
    }

    /// The same entry as far as it is stored; an inode and a change time are not.
    fn same(&self, other: &Self) -> bool {
        let shown = (self.kind, self.mode, self.size, self.modified)
            == (other.kind, other.mode, other.size, other.modified);
        match self.kind {
            Kind::File | Kind::Symlink => {
                shown && (self.inode, self.changed) == (other.inode, other.changed)
            }
            Kind::Directory => shown,
        }
    }
}

fn racy_seconds() -> i64 {
    i64::try_from(RACY.as_secs()).unwrap_or(i64::MAX)
}

// === impl Snapshot ===

impl Snapshot {
    /// Begins a walk; every entry of the tree is shown to it.
    pub(crate) fn walk(&mut self) -> Walk<'_> {
        self.walks += 1;
        Walk {
            snapshot: self,
            count: 0,
            changed: Vec::new(),
        }
    }

    /// Notes that the store holds an entry as it was read at `read_at`.
    pub(crate) fn stored(&mut self, path: Box<[u8]>, fingerprint: Fingerprint, read_at: FileTime) {
        self.note(path, fingerprint, fingerprint.is_settled(read_at));
    }

    /// Notes that the store holds an entry that nobody changes before the clock of files has gone on. Where that
    /// clock counts whole seconds it is read once more, as any other.
    pub(crate) fn brought(&mut self, path: Box<[u8]>, fingerprint: Fingerprint) {
        let settled = fingerprint.kind != Kind::File || fingerprint.changed.nanos > 0;
        self.note(path, fingerprint, settled);
    }

    fn note(&mut self, path: Box<[u8]>, fingerprint: Fingerprint, settled: bool) {
        let seen = self.walks;
        self.entries.insert(
            path,
            Known {
                fingerprint,
                settled,
                seen,
            },
        );
    }

    /// What a directory looks like that is stored; `None` for anything else.
    pub(crate) fn directory(&self, path: &[u8]) -> Option<Fingerprint> {
        let fingerprint = self.entries.get(path)?.fingerprint;
        (fingerprint.kind == Kind::Directory).then_some(fingerprint)
    }

    /// Notes that the store holds nothing at a path and below it any more.
    pub(crate) fn removed(&mut self, path: &[u8]) {
        self.entries.remove(path);
        let below = [path, b"/"].concat();
        let gone: Vec<Box<[u8]>> = self
            .entries
            .range::<[u8], _>((
                std::ops::Bound::Included(below.as_slice()),
                std::ops::Bound::Unbounded,
            ))
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&below))
            .cloned()
            .collect();
        for path in gone {
            self.entries.remove(&path);
        }
    }
}

// === impl Walk ===

impl Walk<'_> {
    /// Shows one entry of the tree.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(crate) fn see(&mut self, path: &[u8], fingerprint: Fingerprint) -> Result<(), TooMany> {
        self.count += 1;
        if self.count > ENTRIES_MAX {
            return Err(TooMany);
        }
        let walk = self.snapshot.walks;
        let unchanged = match self.snapshot.entries.get_mut(path) {
            Some(known) => {
                known.seen = walk;
                known.settled && known.fingerprint.same(&fingerprint)
            }
            None => false,
        };
        if !unchanged {
            self.changed.push(Found {
                path: path.into(),
                fingerprint,
            });
        }
        Ok(())
    }

    /// Says that what is below a directory could not be seen. It counts as there, and as it was.
    pub(crate) fn is_unknown_below(&mut self, path: &[u8]) {
        let walk = self.snapshot.walks;
        let below = if path.is_empty() {
            Vec::new()
        } else {
            [path, b"/"].concat()
        };
        let from = (
            std::ops::Bound::Included(below.as_slice()),
            std::ops::Bound::Unbounded,
        );
        for (path, known) in self.snapshot.entries.range_mut::<[u8], _>(from) {
            if !path.starts_with(&below) {
                break;
            }
            known.seen = walk;
        }
    }

    /// Ends a walk that saw the whole tree.
    pub(crate) fn finish(self) -> Differences {
        let Self {
            snapshot,
            mut changed,
            count: _,
        } = self;
        changed.sort_by(|one, other| one.path.cmp(&other.path));
        changed.dedup_by(|later, first| later.path == first.path);
        let unseen: BTreeSet<&[u8]> = snapshot
            .entries
            .iter()
            .filter(|(_, known)| known.seen != snapshot.walks)
            .map(|(path, _)| &**path)
            .collect();
        let removed = unseen
            .iter()
            .filter(|path| !has_ancestor_in(path, &unseen))
            .map(|path| Box::from(*path))
            .collect();
        Differences { changed, removed }
    }
}

/// Whether a directory above `path` is in `set`.
fn has_ancestor_in(path: &[u8], set: &BTreeSet<&[u8]>) -> bool {
    path.iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'/' && set.contains(&path[..at]))
}
