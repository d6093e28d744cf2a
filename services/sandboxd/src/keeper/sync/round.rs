//! One sync: look, read what changed, send what the store lacks, commit.
//!
//! When the head was moved by somebody else meanwhile, the same changes are committed on top of theirs: for a
//! path that both changed ours wins, and both versions stay. What is known of the store changes only with an
//! acknowledged commit, so a sync that fails anywhere is simply done again.

use std::collections::BTreeSet;

use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::change::Change as Kind;
use sandgate_api::storage::v1::commit_version_request::Part;
use sandgate_api::storage::v1::sync_service_client::SyncServiceClient;
use sandgate_workspace::{Cutter, Entry, Node, TreePath};

use super::changes::{Seen, fingerprint_of, mtime_of, read_at};
use super::content::{Read, Reading, Upload};
use super::snapshot::{self, Differences, FileTime, Fingerprint, Found};
use super::source::{Hold, Source, present};
use super::{Store, SyncError, Synced};

/// How often a head that moves is followed.
const ATTEMPTS_MAX: usize = 5;
/// How often a file that changes while it is read is read again.
const READS_MAX: usize = 3;
/// The published limit of one message.
const CHANGES_MAX: usize = 1000;
/// And by bytes, since an entry may name many chunks.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

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
}

impl<'a> Round<'a> {
    pub(super) fn of(store: &'a mut Store) -> Self {
        let cutter = Cutter::new(&store.seed);
        Self { store, cutter }
    }

    pub(super) async fn run(mut self) -> Result<Synced, SyncError> {
        for _ in 0..ATTEMPTS_MAX {
            let Seen {
                differences,
                skipped,
            } = self.store.look().await?;
            if differences == Differences::default() {
                return Ok(Synced {
                    version: self.store.head.clone(),
                    skipped,
                });
            }
            match self.store_differences(differences).await {
                Ok(()) => {
                    return Ok(Synced {
                        version: self.store.head.clone(),
                        skipped,
                    });
                }
                Err(SyncError::Store(status)) if status.code() == tonic::Code::Aborted => {
                    self.store.head = self.store.newest().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(SyncError::Contended)
    }

    async fn store_differences(&mut self, differences: Differences) -> Result<(), SyncError> {
        let Differences { changed, removed } = differences;
        let mut upload = Upload::begin(self.store.parts.channel.clone(), &self.store.head).await?;
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
                    changes.push(pb::Change {
                        change: Some(Kind::Upsert(entry)),
                    });
                    upserts.push(upsert);
                }
                None => {
                    absent.insert(path.into_vec());
                }
            }
        }
        upload.flush().await?;
        changes.extend(removed.iter().map(|path| pb::Change {
            change: Some(Kind::Removed(path.to_vec())),
        }));
        changes.sort_by(|one, other| path_of(one).cmp(path_of(other)));
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(upload.id(), changes).await?;
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

    /// The entry as it is now; `None` when it is gone or cannot be stored, which the next look will see.
    async fn read(
        &mut self,
        found: Found,
        upload: &mut Upload,
    ) -> Result<Option<(pb::Entry, Upsert)>, SyncError> {
        let Found { path, fingerprint } = found;
        let Ok(tree_path) = TreePath::parse("path", &path) else {
            return Ok(None);
        };
        let read_at = read_at(self.store.parts.clock.now());
        let (fingerprint, node) = match fingerprint.kind {
            snapshot::Kind::Directory => (fingerprint, Node::Directory),
            snapshot::Kind::Symlink => {
                let Some(info) = present(self.store.parts.runner.stat(path.to_vec()).await)? else {
                    return Ok(None);
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
            entry.to_wire(),
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
                Some(Reading::Whole(read)) => {
                    let torn = read.torn;
                    last = Some(read);
                    if !torn {
                        break;
                    }
                }
                Some(Reading::Cut) => {}
                None => return Ok(None),
            }
        }
        Ok(last)
    }

    async fn commit(&mut self, upload: &str, changes: Vec<pb::Change>) -> Result<(), SyncError> {
        let header = pb::CommitHeader {
            upload_id: upload.to_owned(),
            parent: self.store.head.clone(),
        };
        let mut messages = vec![Part::Header(header)];
        messages.extend(
            grouped(changes)
                .into_iter()
                .map(|changes| Part::Changes(pb::Changes { changes })),
        );
        let messages = messages
            .into_iter()
            .map(|part| pb::CommitVersionRequest { part: Some(part) });
        let mut client = SyncServiceClient::new(self.store.parts.channel.clone());
        let answer = client
            .commit_version(tokio_stream::iter(messages))
            .await?
            .into_inner();
        if let pb::CommitVersionResponse {
            version: Some(version),
        } = answer
        {
            self.store.head = version.version;
        }
        Ok(())
    }
}

fn path_of(change: &pb::Change) -> &[u8] {
    match &change.change {
        Some(Kind::Upsert(entry)) => &entry.path,
        Some(Kind::Removed(path)) => path,
        None => &[],
    }
}

fn grouped(changes: Vec<pb::Change>) -> Vec<Vec<pb::Change>> {
    use prost::Message as _;
    let mut groups: Vec<Vec<pb::Change>> = Vec::new();
    let mut bytes = usize::MAX;
    for change in changes {
        let length = change.encoded_len();
        bytes = bytes.saturating_add(length);
        let full = groups.last().is_none_or(|group| group.len() >= CHANGES_MAX);
        if full || bytes > MESSAGE_MAX_BYTES {
            groups.push(Vec::new());
            bytes = length;
        }
        if let Some(last) = groups.last_mut() {
            last.push(change);
        }
    }
    groups
}

fn has_ancestor_in(path: &[u8], set: &BTreeSet<Vec<u8>>) -> bool {
    path.iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'/' && set.contains(&path[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_grouped_below_both_limits_and_keep_their_order() {
        let changes: Vec<pb::Change> = (0..2500)
            .map(|number| pb::Change {
                change: Some(Kind::Removed(format!("{number:05}").into_bytes())),
            })
            .collect();
        let groups = grouped(changes.clone());
        assert_eq!(
            groups.iter().map(Vec::len).collect::<Vec<_>>(),
            [1000, 1000, 500]
        );
        assert_eq!(groups.concat(), changes);
    }
}
