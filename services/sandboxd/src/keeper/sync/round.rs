//! One sync: look, read what changed, send what the store lacks, commit.
//!
//! When the head was moved by somebody else meanwhile, the same changes are committed on top of theirs: for a
//! path that both changed ours wins, and both versions stay. What is known of the store changes only with an
//! acknowledged commit, so a sync that fails anywhere is simply done again.

use std::collections::BTreeSet;

use sandgate_workspace::{Cutter, Entry, Node, Stated, TreePath};

use super::changes::{Seen, fingerprint_of, mtime_of, read_at};
use super::commit::Change;
use super::content::{Read, Reading, Upload};
use super::left_out::LeftOut;
use super::snapshot::{self, Differences, FileTime, Fingerprint, Found};
use super::source::{Hold, Opened, Source, found as found_by};
use super::{Store, SyncError, Synced};
use crate::keeper::peers::Trouble;

/// How often a head that moves is followed.
const ATTEMPTS_MAX: usize = 5;
/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 3;

/// An entry that is to be stored, and what it will be known by.
struct Upsert {
    path: Box<[u8]>,
    fingerprint: Fingerprint,
    read_at: FileTime,
}

/// One sync.
pub(super) struct Round<'a> {
    store: &'a mut Store,
    cutter: Cutter,
    left_out: LeftOut,
}

impl<'a> Round<'a> {
    pub(super) fn of(store: &'a mut Store) -> Self {
        let cutter = Cutter::new(&store.seed);
        Self {
            store,
            cutter,
            left_out: LeftOut::default(),
        }
    }

    pub(super) async fn run(mut self) -> Result<Synced, SyncError> {
        for _ in 0..ATTEMPTS_MAX {
            let Seen {
                differences,
                left_out,
            } = self.store.look().await?;
            self.left_out = left_out;
            if differences == Differences::default() {
                return Ok(self.synced());
            }
            match self.store_differences(differences).await {
                Ok(()) => return Ok(self.synced()),
                Err(SyncError::Store(error)) if error.trouble() == Trouble::Overtaken => {
                    self.store.head = self.store.parts.versions.newest().await?;
                    self.store.follows_others = true;
                }
                Err(error) => return Err(error),
            }
        }
        Err(SyncError::Contended)
    }

    fn synced(self) -> Synced {
        Synced {
            version: self.store.head.clone(),
            left_out: self.left_out,
        }
    }

    async fn store_differences(&mut self, differences: Differences) -> Result<(), SyncError> {
        let Differences { changed, removed } = differences;
        let mut upload = Upload::begin(self.store.parts.versions.clone(), &self.store.head).await?;
        let (mut changes, mut upserts) = (Vec::new(), Vec::new());
        // Below what could not be read nothing can be stored either.
        let mut absent: BTreeSet<Vec<u8>> = BTreeSet::new();
        for found in changed {
            if has_ancestor_in(&found.path, &absent) {
                continue;
            }
            let path = found.path.clone();
            match self.read(found, &mut upload).await? {
                Some((entry, upsert)) => {
                    changes.push(Change::Upsert(entry));
                    upserts.push(upsert);
                }
                None => {
                    absent.insert(path.into_vec());
                }
            }
        }
        upload.flush().await?;
        if self.store.follows_others {
            changes.extend(self.directories_above(&changes, &removed));
        }
        changes.extend(removed.iter().cloned().map(Change::Removed));
        changes.sort_by(|one, other| one.path().cmp(other.path()));
        if changes.is_empty() {
            return Ok(());
        }
        self.store.commit(upload.id(), changes).await?;
        for path in removed {
            self.store.snapshot.removed(&path);
        }
        for Upsert {
            path,
            fingerprint,
            read_at,
        } in upserts
        {
            self.store.snapshot.stored(path, fingerprint, read_at);
        }
        Ok(())
    }

    /// The directories above what is stored: a head of somebody else may lack them, though they have not changed.
    fn directories_above(&self, changes: &[Change], removed: &[Box<[u8]>]) -> Vec<Change> {
        let named: BTreeSet<&[u8]> = changes
            .iter()
            .map(Change::path)
            .chain(removed.iter().map(|path| &**path))
            .collect();
        let above: BTreeSet<TreePath> = changes
            .iter()
            .filter_map(|change| TreePath::parse("path", change.path()).ok())
            .flat_map(|path| path.ancestors().collect::<Vec<_>>())
            .filter(|path| !named.contains(path.as_bytes()))
            .collect();
        let known = above.into_iter().filter_map(|path| {
            let fingerprint = self.store.snapshot.directory(path.as_bytes())?;
            let entry = Entry {
                path,
                mode: fingerprint.mode,
                mtime: mtime_of(fingerprint.modified),
                node: Node::Directory,
            };
            Some(Change::Upsert(entry))
        });
        known.collect()
    }

    /// The entry as it is now; `None` when it is gone, which the next look will see, or cannot be stored.
    async fn read(
        &mut self,
        found: Found,
        upload: &mut Upload,
    ) -> Result<Option<(Entry<Stated>, Upsert)>, SyncError> {
        let Found { path, fingerprint } = found;
        let Ok(tree_path) = TreePath::parse("path", &path) else {
            return Ok(None);
        };
        let read_at = read_at(self.store.parts.clock.now());
        let (fingerprint, node) = match fingerprint.kind {
            snapshot::Kind::Directory => (fingerprint, Node::Directory),
            snapshot::Kind::Symlink => {
                let info = match found_by(self.store.parts.runner.stat(path.to_vec()).await)? {
                    Opened::File(info) => info,
                    Opened::Gone => return Ok(None),
                    Opened::Closed => {
                        self.left_out.add(&path);
                        return Ok(None);
                    }
                };
                match fingerprint_of(&info) {
                    Some(now) if now.kind == snapshot::Kind::Symlink => (
                        now,
                        Node::Symlink {
                            target: info.link_target,
                        },
                    ),
                    Some(_) | None => return Ok(None),
                }
            }
            snapshot::Kind::File => match self.read_file(&path, upload).await? {
                Some(Read {
                    fingerprint,
                    content,
                    ..
                }) => (
                    fingerprint,
                    Node::File {
                        size: fingerprint.size,
                        content,
                    },
                ),
                None => return Ok(None),
            },
        };
        let entry = Entry {
            path: tree_path,
            mode: fingerprint.mode,
            mtime: mtime_of(fingerprint.modified),
            node,
        };
        Ok(Some((
            entry,
            Upsert {
                path,
                fingerprint,
                read_at,
            },
        )))
    }

    /// Reads a file, again while it changes. One that never rests is stored as it was read last, and found
    /// changed by the next look.
    async fn read_file(
        &mut self,
        path: &[u8],
        upload: &mut Upload,
    ) -> Result<Option<Read>, SyncError> {
        let mut last = None;
        for attempt in 1..=READS_MAX {
            let hold = if attempt < READS_MAX {
                Hold::WhileRead
            } else {
                Hold::ToTheEnd
            };
            let mut source = Source::new(&self.store.parts.runner, path, hold);
            match upload.read(&mut source, &mut self.cutter).await? {
                Reading::Whole(read) => {
                    let torn = read.torn;
                    last = Some(read);
                    if !torn {
                        break;
                    }
                }
                Reading::Cut => {}
                Reading::Gone => return Ok(None),
                Reading::LeftOut => {
                    self.left_out.add(path);
                    return Ok(None);
                }
            }
        }
        Ok(last)
    }
}

fn has_ancestor_in(path: &[u8], set: &BTreeSet<Vec<u8>>) -> bool {
    path.iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'/' && set.contains(&path[..at]))
}
