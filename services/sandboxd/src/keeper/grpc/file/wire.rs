//! Paths, modes and descriptions of files between the wire and the runner.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::watch_files_response::Event;
use sandgate_types::Malformed;
use sandgate_workspace::TreePath;
use tonic::Status;

use crate::keeper::error::{ending, status};
use crate::keeper::runner::WatchStream;
use crate::protocol::{Change, Changed, Info, Kind, Time, WatchFrame};

/// Permission bits that may be given.
const MODE_MAX: u32 = 0o777;

pub(super) async fn next_change(watch: &mut WatchStream) -> Result<Event, Status> {
    match watch.next().await.map_err(status)? {
        Some(WatchFrame {
            change: Some(Changed { change, path }),
        }) => {
            let kind = match Change::try_from(change).unwrap_or(Change::Modified) {
                Change::Created => pb::FileChangeKind::Created,
                Change::Modified => pb::FileChangeKind::Modified,
                Change::Removed => pb::FileChangeKind::Removed,
                Change::Attributes => pb::FileChangeKind::Attributes,
            };
            Ok(Event::Change(pb::FileChange {
                kind: kind.into(),
                path,
            }))
        }
        Some(WatchFrame { change: None }) => Ok(Event::Overflow(pb::WatchOverflow {})),
        None => Err(status(ending())),
    }
}

pub(super) fn path_of(field: &str, path: Vec<u8>) -> Result<Vec<u8>, Status> {
    TreePath::parse(field, &path)
        .map(TreePath::into_bytes)
        .map_err(status)
}

pub(super) fn path_or_root(field: &str, path: Vec<u8>) -> Result<Vec<u8>, Status> {
    TreePath::parse_or_root(field, &path)
        .map(TreePath::into_bytes)
        .map_err(status)
}

pub(super) fn mode_of(field: &str, mode: u32, default: u32) -> Result<u32, Status> {
    match mode {
        0 => Ok(default),
        1..=MODE_MAX => Ok(mode),
        _ => Err(status(Malformed::new(
            field,
            "must be permission bits, 0 to 0777",
        ))),
    }
}

/// What an opened file is.
pub(super) fn describe(path: Vec<u8>, file: &File) -> std::io::Result<pb::FileInfo> {
    let facts = file.metadata()?;
    Ok(pb::FileInfo {
        path,
        kind: pb::FileKind::File.into(),
        size: facts.size(),
        mode: facts.mode() & MODE_MAX,
        modified_at: Some(timestamp(
            facts.mtime(),
            u32::try_from(facts.mtime_nsec()).unwrap_or(0),
        )),
        link_target: Vec::new(),
    })
}

pub(super) fn info_of(info: Info) -> pb::FileInfo {
    let kind = match info.kind() {
        Kind::File => pb::FileKind::File,
        Kind::Directory => pb::FileKind::Directory,
        Kind::Symlink => pb::FileKind::Symlink,
        Kind::Special => pb::FileKind::Other,
    };
    let modified_at = info
        .modified
        .map(|Time { seconds, nanos }| timestamp(seconds, nanos));
    pb::FileInfo {
        path: info.path,
        kind: kind.into(),
        size: info.size,
        mode: info.mode,
        modified_at,
        link_target: info.link_target,
    }
}

fn timestamp(seconds: i64, nanos: u32) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds,
        nanos: i32::try_from(nanos.min(999_999_999)).unwrap_or(0),
    }
}
