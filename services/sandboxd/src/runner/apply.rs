//! Makes the workspace what the keeper brings from the store.
//!
//! What comes is a stored tree, which is as untrusted as the agent that made it: paths are parsed, nothing is
//! followed, permissions are those that an ordinary user may give. Directories get their permissions and times
//! at the end, the deepest first, since both would change while they are filled.

use std::os::unix::fs::FileExt as _;

use sandgate_workspace::TreePath;
use sandgate_workspace::tree::{Kind as TreeKind, Mtime, NewFile, Tree, TreeError};

use super::files::{path_of, why};
use super::stream::Frames;
use crate::protocol::{ApplyFrame, ApplyPart, Data, Info, Kind, Nothing, Time, Why};

/// Permission bits while a directory is filled.
const FILLING_MODE: u32 = 0o700;

/// A file that is being filled.
struct Filling {
    file: NewFile,
    size: u64,
    mode: u32,
    modified: Mtime,
}

/// Reads the stream to its end and makes what it says. What was there already is replaced.
pub(super) fn apply(tree: &Tree, frames: &mut Frames) -> Result<(), Why> {
    let mut filling: Option<Filling> = None;
    let mut directories: Vec<(TreePath, u32, Mtime)> = Vec::new();
    loop {
        let frame: ApplyFrame = frames
            .read()
            .map_err(|_| Why::BadRequest)?
            .ok_or(Why::BadRequest)?;
        match frame.part.ok_or(Why::BadRequest)? {
            ApplyPart::Entry(entry) => {
                finish(filling.take())?;
                filling = begin(tree, entry, &mut directories)?;
            }
            ApplyPart::Data(Data { offset, bytes }) => {
                let Filling { file, size, .. } = filling.as_mut().ok_or(Why::BadRequest)?;
                let end = u64::try_from(bytes.len())
                    .ok()
                    .and_then(|length| offset.checked_add(length));
                if end.is_none_or(|end| end > *size) {
                    return Err(Why::BadRequest);
                }
                file.file()
                    .write_all_at(&bytes, offset)
                    .map_err(|error| why(error.into()))?;
            }
            ApplyPart::Done(Nothing {}) => {
                finish(filling.take())?;
                directories.sort_by_key(|(path, _, _)| std::cmp::Reverse(path.depth()));
                for (path, mode, modified) in directories {
                    tree.set_mtime(&path, modified).map_err(why)?;
                    tree.set_mode(&path, mode).map_err(why)?;
                }
                return Ok(());
            }
        }
    }
}

fn begin(
    tree: &Tree,
    entry: Info,
    directories: &mut Vec<(TreePath, u32, Mtime)>,
) -> Result<Option<Filling>, Why> {
    let path = path_of(&entry.path)?;
    let modified = mtime(entry.modified);
    match entry.kind() {
        Kind::File => {
            let mut file = tree.create_file(&path).map_err(why)?;
            // The size first: what is not written stays a hole.
            file.file()
                .set_len(entry.size)
                .map_err(|error| why(error.into()))?;
            Ok(Some(Filling {
                file,
                size: entry.size,
                mode: entry.mode,
                modified,
            }))
        }
        Kind::Directory => {
            match tree.make_directory(&path, FILLING_MODE) {
                Ok(()) => {}
                Err(TreeError::AlreadyExists)
                    if tree.stat(&path).map_err(why)?.kind == TreeKind::Directory =>
                {
                    tree.set_mode(&path, FILLING_MODE).map_err(why)?;
                }
                Err(error) => return Err(why(error)),
            }
            directories.push((path, entry.mode, modified));
            Ok(None)
        }
        Kind::Symlink => {
            if entry.link_target.is_empty() || entry.link_target.contains(&0) {
                return Err(Why::BadRequest);
            }
            tree.make_symlink(&path, &entry.link_target).map_err(why)?;
            tree.set_mtime(&path, modified).map_err(why)?;
            Ok(None)
        }
        Kind::Special => Err(Why::Special),
    }
}

fn finish(filling: Option<Filling>) -> Result<(), Why> {
    let Some(Filling {
        file,
        size: _,
        mode,
        modified,
    }) = filling
    else {
        return Ok(());
    };
    file.commit(mode, Some(modified)).map(drop).map_err(why)
}

fn mtime(time: Option<Time>) -> Mtime {
    time.map_or_else(Mtime::default, |time| Mtime {
        seconds: time.seconds,
        nanos: time.nanos.min(999_999_999),
    })
}
