//! Single operations on the workspace. Each is short; what takes longer runs in a thread of its own.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use prost::Message as _;
use sandgate_workspace::TreePath;
use sandgate_workspace::tree::{Kind as TreeKind, Listed, Mtime, NewFile, Stat, Tree, TreeError};

use crate::protocol::{
    Commit, Create, Info, Kind, LISTING_MAX_BYTES, List, Listing, MakeDirectory, Move, Time, Why,
};

/// Files that are begun and not committed, all writers together.
const BEGUN_MAX: usize = 64;
/// Names of one directory that are sorted for a listing; a directory with more is refused.
const NAMES_MAX: usize = 100_000;
/// Permission bits of parents that are made along the way.
const PARENT_MODE: u32 = 0o755;

/// Files that were begun, by the number of the request that began them.
#[derive(Debug, Default)]
pub(super) struct Begun(BTreeMap<u64, (NewFile, TreePath)>);

impl Begun {
    /// Begins a file and answers the descriptor by which it is filled.
    pub(super) fn create(
        &mut self,
        tree: &Tree,
        id: u64,
        request: &Create,
    ) -> Result<OwnedFd, Why> {
        if self.0.len() >= BEGUN_MAX {
            return Err(Why::Busy);
        }
        let path = path_of(&request.path)?;
        if request.make_parents {
            make_parents(tree, &path)?;
        }
        let mut file = tree.create_file(&path).map_err(why)?;
        let writer = file.file().try_clone().map_err(|_| Why::Crowded)?;
        self.0.insert(id, (file, path));
        Ok(writer.into())
    }

    /// Gives a begun file its name.
    pub(super) fn commit(&mut self, request: Commit) -> Result<Info, Why> {
        let Commit { file, mode } = request;
        let (file, path) = self.0.remove(&file).ok_or(Why::BadRequest)?;
        let stat = file.commit(mode, None).map_err(why)?;
        Ok(info(path.into_bytes(), &stat, Vec::new()))
    }

    /// Forgets a begun file, which is then gone.
    pub(super) fn abandon(&mut self, file: u64) {
        self.0.remove(&file);
    }
}

/// Opens a file for reading.
pub(super) fn open(tree: &Tree, path: &[u8]) -> Result<OwnedFd, Why> {
    let (file, _) = tree.open_file(&path_of(path)?).map_err(why)?;
    Ok(file.into())
}

/// What is at a path, the workspace itself included.
pub(super) fn stat(tree: &Tree, path: &[u8]) -> Result<Info, Why> {
    let path = TreePath::parse_or_root("path", path).map_err(|_| Why::BadPath)?;
    let stat = tree.stat(&path).map_err(why)?;
    let link_target = target_of(tree, &path, &stat)?;
    Ok(info(path.into_bytes(), &stat, link_target))
}

/// Some of a directory, by name, as much as fits.
pub(super) fn list(tree: &Tree, request: &List) -> Result<Listing, Why> {
    let List { path, after, most } = request;
    let directory = TreePath::parse_or_root("path", path).map_err(|_| Why::BadPath)?;
    let listed = tree.list(&directory, NAMES_MAX).map_err(why)?;
    let start = listed.partition_point(|listed| listed.name <= *after);
    let most = usize::try_from(*most).unwrap_or(usize::MAX);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for Listed { name, stat } in &listed[start..] {
        let link_target = match directory.join(name) {
            Ok(path) => match target_of(tree, &path, stat) {
                Ok(target) => target,
                // It is gone, or something else by now.
                Err(Why::NotFound) => continue,
                Err(why) => return Err(why),
            },
            Err(_) => Vec::new(),
        };
        let entry = info(name.clone(), stat, link_target);
        bytes += entry.encoded_len() + 8;
        if entries.len() >= most || bytes > LISTING_MAX_BYTES {
            return Ok(Listing {
                entries,
                more: true,
            });
        }
        entries.push(entry);
    }
    Ok(Listing {
        entries,
        more: false,
    })
}

/// Makes a directory.
pub(super) fn make_directory(tree: &Tree, request: &MakeDirectory) -> Result<(), Why> {
    let MakeDirectory {
        path,
        mode,
        make_parents: parents,
    } = request;
    let path = path_of(path)?;
    if !parents {
        return tree.make_directory(&path, *mode).map_err(why);
    }
    make_parents(tree, &path)?;
    match tree.make_directory(&path, *mode) {
        Ok(()) => Ok(()),
        Err(TreeError::AlreadyExists) => tree.make_directories(&path, *mode).map_err(why),
        Err(error) => Err(why(error)),
    }
}

/// Moves a file or directory.
pub(super) fn rename(tree: &Tree, request: &Move) -> Result<(), Why> {
    let Move {
        source,
        target,
        replace,
    } = request;
    let (source, target) = (path_of(source)?, path_of(target)?);
    if target == source || target.is_below(&source) {
        // The kernel would call the first of these a success that changes nothing; both are a mistake.
        tree.stat(&source).map_err(why)?;
        return Err(if target == source {
            Why::AlreadyExists
        } else {
            Why::IntoItself
        });
    }
    tree.rename(&source, &target, *replace).map_err(why)
}

/// Reads a path that is not the workspace itself.
pub(super) fn path_of(bytes: &[u8]) -> Result<TreePath, Why> {
    TreePath::parse("path", bytes).map_err(|_| Why::BadPath)
}

fn make_parents(tree: &Tree, path: &TreePath) -> Result<(), Why> {
    match path.parent() {
        Some(parent) => tree.make_directories(&parent, PARENT_MODE).map_err(why),
        None => Ok(()),
    }
}

fn target_of(tree: &Tree, path: &TreePath, stat: &Stat) -> Result<Vec<u8>, Why> {
    if stat.kind != TreeKind::Symlink {
        return Ok(Vec::new());
    }
    match tree.read_link(path) {
        Ok(target) => Ok(target),
        Err(TreeError::NotLink | TreeError::NotFound) => Err(Why::NotFound),
        Err(error) => Err(why(error)),
    }
}

/// The wire form of what is known of an entry.
pub(super) fn info(path: Vec<u8>, stat: &Stat, link_target: Vec<u8>) -> Info {
    let Stat {
        kind,
        mode,
        mtime,
        ctime,
        size,
        inode,
    } = stat;
    let kind = match kind {
        TreeKind::File => Kind::File,
        TreeKind::Directory => Kind::Directory,
        TreeKind::Symlink => Kind::Symlink,
        TreeKind::Special => Kind::Special,
    };
    let time = |time: &Mtime| {
        Some(Time {
            seconds: time.seconds,
            nanos: time.nanos,
        })
    };
    Info {
        path,
        kind: kind.into(),
        size: *size,
        mode: *mode,
        modified: time(mtime),
        changed: time(ctime),
        inode: *inode,
        link_target,
    }
}

/// The wire form of why an operation did not happen.
pub(super) fn why(error: TreeError) -> Why {
    match error {
        TreeError::NotFound | TreeError::NotLink => Why::NotFound,
        TreeError::AlreadyExists => Why::AlreadyExists,
        TreeError::Link => Why::Link,
        TreeError::Mount => Why::Mount,
        TreeError::IsDirectory => Why::IsDirectory,
        TreeError::NotDirectory => Why::NotDirectory,
        TreeError::IsRoot => Why::IsRoot,
        TreeError::Special => Why::Special,
        TreeError::NotEmpty => Why::NotEmpty,
        TreeError::TooDeep => Why::TooDeep,
        TreeError::TooMany => Why::TooMany,
        TreeError::Denied => Why::Denied,
        TreeError::NoSpace => Why::NoSpace,
        TreeError::IntoItself => Why::IntoItself,
        TreeError::Io(_) => Why::Io,
    }
}
