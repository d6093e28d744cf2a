//! What differs between the workspace and what is stored of it.

use sandgate_types::Timestamp;
use sandgate_workspace::TreePath;
use sandgate_workspace::tree::Mtime;

use super::left_out::LeftOut;
use super::snapshot::{Differences, FileTime, Fingerprint, Kind, Snapshot};
use super::{Store, SyncError};
use crate::keeper::runner::RunnerError;
use crate::protocol::{self, Info, Nothing, Time, WalkPart};

/// What a walk found.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) differences: Differences,
    /// What cannot be stored.
    pub(super) left_out: LeftOut,
}

impl Store {
    /// Looks at every entry.
    pub(super) async fn look(&mut self) -> Result<Seen, SyncError> {
        let Self {
            parts, snapshot, ..
        } = self;
        let mut stream = parts.runner.walk().await?;
        let mut walk = Snapshot::walk(snapshot);
        let mut left_out = LeftOut::default();
        while let Some(part) = stream.next().await? {
            match part {
                WalkPart::Entry(entry) => {
                    // The runner may say anything; a path that cannot be one is not stored.
                    if TreePath::parse("path", &entry.path).is_err() {
                        return Err(RunnerError::Senseless.into());
                    }
                    if let Some(fingerprint) = fingerprint_of(&entry) {
                        walk.see(&entry.path, fingerprint)?;
                    }
                }
                WalkPart::Unknown(path) => {
                    walk.is_unknown_below(&path);
                    left_out.add(&path);
                }
                WalkPart::LeftOut(path) => left_out.add(&path),
                WalkPart::Done(Nothing {}) => {}
            }
        }
        // Absence is concluded from a complete walk alone.
        stream.finish().await?;
        Ok(Seen {
            differences: walk.finish(),
            left_out,
        })
    }
}

/// What an entry looks like; `None` for one that is not stored.
pub(super) fn fingerprint_of(info: &Info) -> Option<Fingerprint> {
    let kind = match info.kind() {
        protocol::Kind::File => Kind::File,
        protocol::Kind::Directory => Kind::Directory,
        protocol::Kind::Symlink => Kind::Symlink,
        protocol::Kind::Special => return None,
    };
    let time = |time: Option<Time>| {
        time.map_or_else(FileTime::default, |time| FileTime {
            seconds: time.seconds,
            nanos: time.nanos,
        })
    };
    Some(Fingerprint {
        kind,
        mode: info.mode & 0o777,
        size: info.size,
        inode: info.inode,
        modified: time(info.modified),
        changed: time(info.changed),
    })
}

/// When something is read, as file systems count.
pub(super) fn read_at(now: Timestamp) -> FileTime {
    FileTime {
        seconds: now.as_seconds(),
        nanos: now.subsecond_nanos(),
    }
}

/// A time of a file as a version keeps it.
pub(super) fn mtime_of(time: FileTime) -> Mtime {
    Mtime {
        seconds: time.seconds,
        nanos: time.nanos.min(999_999_999),
    }
}
