//! Tells the keeper what changes below a directory, for as long as it listens.
//!
//! inotify, one watch a directory. A directory that appears is watched from then on; what happened in it before
//! its watch was there is found by looking, so it may be told twice and is never missed. When the kernel or the
//! bound on watches loses something, that is said.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sandgate_workspace::TreePath;
use sandgate_workspace::tree::{Kind, Tree};

use super::files::why;
use super::stream::Frames;
use crate::protocol::{Change, Changed, WatchFrame, Why};

/// Directories of one watch; the kernel bounds a user's watches too, and hostile trees have no end.
const DIRECTORIES_MAX: usize = 4096;
/// Names of a directory that are looked at when it appears.
const NAMES_MAX: usize = 10_000;
/// Some two hundred events with short names.
const BUFFER_BYTES: usize = 16 * 1024;

/// A watch in progress.
struct Watcher<'a> {
    tree: &'a Tree,
    root: &'a OwnedFd,
    inotify: OwnedFd,
    recursive: bool,
    directories: BTreeMap<i32, TreePath>,
}

/// An event, taken out of the kernel's buffer.
struct Seen {
    watch: i32,
    events: ReadFlags,
    name: Vec<u8>,
}

/// A directory that is watched, before the keeper is told that it is.
pub(super) struct Placed<'a>(Watcher<'a>);

/// Places the watch.
pub(super) fn place<'a>(
    tree: &'a Tree,
    root: &'a OwnedFd,
    path: &[u8],
    recursive: bool,
) -> Result<Placed<'a>, Why> {
    let path = TreePath::parse_or_root("path", path).map_err(|_| Why::BadPath)?;
    if tree.stat(&path).map_err(why)?.kind != Kind::Directory {
        return Err(Why::NotDirectory);
    }
    let inotify =
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|_| Why::Crowded)?;
    let mut watcher = Watcher {
        tree,
        root,
        inotify,
        recursive,
        directories: BTreeMap::new(),
    };
    let mut found = Vec::new();
    if !watcher.add(&path, &mut found).map_err(|_| Why::Crowded)? {
        return Err(Why::TooMany);
    }
    Ok(Placed(watcher))
}

impl Placed<'_> {
    /// Tells of changes until the keeper closes its end.
    pub(super) fn run(mut self, frames: &mut Frames) -> io::Result<()> {
        loop {
            let mut ready = [
                PollFd::new(&self.0.inotify, PollFlags::IN),
                PollFd::new(frames.stream(), PollFlags::RDHUP),
            ];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !ready[1].revents().is_empty() {
                return Ok(());
            }
            for seen in self.0.read()? {
                self.0.tell(seen, frames)?;
            }
        }
    }
}

impl Watcher<'_> {
    /// Watches a directory and, where asked, those in it. `false` when there are more than may be.
    fn add(&mut self, path: &TreePath, found: &mut Vec<TreePath>) -> io::Result<bool> {
        let mut pending = vec![path.clone()];
        while let Some(path) = pending.pop() {
            if self.directories.len() >= DIRECTORIES_MAX {
                return Ok(false);
            }
            let Some(watch) = self.watch(&path)? else {
                continue;
            };
            self.directories.insert(watch, path.clone());
            if !self.recursive {
                continue;
            }
            let Ok(listed) = self.tree.list(&path, NAMES_MAX) else {
                continue;
            };
            for entry in listed {
                let Ok(below) = path.join(&entry.name) else {
                    continue;
                };
                if entry.stat.kind == Kind::Directory {
                    pending.push(below.clone());
                }
                found.push(below);
            }
        }
        Ok(true)
    }

    /// Watches one directory; `None` when it is gone or something else by now.
    fn watch(&self, path: &TreePath) -> io::Result<Option<i32>> {
        let relative: &[u8] = if path.is_root() {
            b"."
        } else {
            path.as_bytes()
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let confined = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let Ok(directory) =
            rustix::fs::openat2(self.root, relative, flags, Mode::empty(), confined)
        else {
            return Ok(None);
        };
        let wanted = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        // The descriptor's own name, which leads nowhere else whatever happens to the path.
        match inotify::add_watch(
            &self.inotify,
            format!("/proc/self/fd/{}", directory.as_raw_fd()),
            wanted,
        ) {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self) -> io::Result<Vec<Seen>> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut all = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => all.push(Seen {
                    watch: event.wd(),
                    events: event.events(),
                    name: event
                        .file_name()
                        .map(|name| name.to_bytes().to_vec())
                        .unwrap_or_default(),
                }),
                Err(Errno::WOULDBLOCK) => return Ok(all),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&mut self, seen: Seen, frames: &mut Frames) -> io::Result<()> {
        let Seen {
            watch,
            events,
            name,
        } = seen;
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return frames.write(&WatchFrame { change: None });
        }
        if events.contains(ReadFlags::IGNORED) {
            self.directories.remove(&watch);
            return Ok(());
        }
        let Some(directory) = self.directories.get(&watch) else {
            return Ok(());
        };
        if name.is_empty() {
            return Ok(());
        }
        let Ok(path) = directory.join(&name) else {
            return Ok(());
        };
        let is_directory = events.contains(ReadFlags::ISDIR);
        for (flags, change) in [
            (ReadFlags::CREATE | ReadFlags::MOVED_TO, Change::Created),
            (ReadFlags::MODIFY, Change::Modified),
            (ReadFlags::ATTRIB, Change::Attributes),
            (ReadFlags::DELETE | ReadFlags::MOVED_FROM, Change::Removed),
        ] {
            if events.intersects(flags) {
                write(frames, change, &path)?;
            }
        }
        if is_directory && events.contains(ReadFlags::MOVED_FROM) {
            self.forget_below(&path);
        }
        if is_directory
            && self.recursive
            && events.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
        {
            let mut found = Vec::new();
            if !self.add(&path, &mut found)? {
                frames.write(&WatchFrame { change: None })?;
            }
            for below in found {
                write(frames, Change::Created, &below)?;
            }
        }
        Ok(())
    }

    /// What moved away is watched no more: its path would be wrong.
    fn forget_below(&mut self, path: &TreePath) {
        let gone = self
            .directories
            .iter()
            .filter(|(_, directory)| *directory == path || directory.is_below(path));
        let gone: Vec<i32> = gone.map(|(watch, _)| *watch).collect();
        for watch in gone {
            self.directories.remove(&watch);
            // It may be gone already.
            let _gone = inotify::remove_watch(&self.inotify, watch);
        }
    }
}

fn write(frames: &mut Frames, change: Change, path: &TreePath) -> io::Result<()> {
    let change = Changed {
        change: change.into(),
        path: path.as_bytes().to_vec(),
    };
    frames.write(&WatchFrame {
        change: Some(change),
    })
}
