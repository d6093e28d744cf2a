//! What is too much for one message, as several: below the published limits, and nothing lost.

use prost::Message as _;
use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::change::Change as Kind;
use sandgate_api::storage::v1::commit_version_request::Part;

use crate::keeper::sync::Change;

/// The published limit of one message is 2 MiB of chunks; and an entry may name many.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;
/// The published limit of changes in one message.
const CHANGES_MAX: usize = 1000;

pub(super) fn of_chunks(
    upload: &str,
    chunks: impl Iterator<Item = Vec<u8>>,
) -> Vec<pb::UploadChunksRequest> {
    let mut messages: Vec<pb::UploadChunksRequest> = Vec::new();
    let mut bytes = usize::MAX;
    for chunk in chunks {
        bytes = bytes.saturating_add(chunk.len());
        if bytes > MESSAGE_MAX_BYTES {
            messages.push(pb::UploadChunksRequest {
                upload_id: upload.to_owned(),
                chunks: Vec::new(),
            });
            bytes = chunk.len();
        }
        if let Some(last) = messages.last_mut() {
            last.chunks.push(chunk.into());
        }
    }
    messages
}

pub(super) fn of_commit(
    upload: &str,
    parent: &str,
    changes: Vec<Change>,
) -> Vec<pb::CommitVersionRequest> {
    let header = Part::Header(pb::CommitHeader {
        upload_id: upload.to_owned(),
        parent: parent.to_owned(),
    });
    let groups = grouped(changes).into_iter();
    let groups = groups.map(|changes| Part::Changes(pb::Changes { changes }));
    std::iter::once(header)
        .chain(groups)
        .map(|part| pb::CommitVersionRequest { part: Some(part) })
        .collect()
}

fn grouped(changes: Vec<Change>) -> Vec<Vec<pb::Change>> {
    let mut groups: Vec<Vec<pb::Change>> = Vec::new();
    let mut bytes = usize::MAX;
    for change in changes {
        let change = to_wire(change);
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

fn to_wire(change: Change) -> pb::Change {
    let kind = match change {
        Change::Upsert(entry) => Kind::Upsert(entry.to_wire()),
        Change::Removed(path) => Kind::Removed(path.into()),
    };
    pb::Change { change: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_grouped_into_messages_below_the_limit_and_none_is_lost() {
        let chunks: Vec<Vec<u8>> = (0..20).map(|number| vec![number; 200_000]).collect();
        let messages = of_chunks("u", chunks.clone().into_iter());
        let sent: Vec<Vec<u8>> = messages
            .iter()
            .flat_map(|message| &message.chunks)
            .map(|chunk| chunk.to_vec())
            .collect();
        assert_eq!(sent, chunks);
        let sizes = messages.iter().map(|message| {
            message
                .chunks
                .iter()
                .map(|chunk| chunk.len())
                .sum::<usize>()
        });
        assert!(
            sizes
                .clone()
                .all(|size| size > 0 && size <= MESSAGE_MAX_BYTES)
        );
    }

    #[test]
    fn changes_are_grouped_below_both_limits_and_keep_their_order() {
        let path = |number: usize| format!("{number:05}").into_bytes();
        let changes = (0..2500).map(|number| Change::Removed(path(number).into()));
        let groups = grouped(changes.collect());
        assert_eq!(
            groups.iter().map(Vec::len).collect::<Vec<_>>(),
            [1000, 1000, 500]
        );
        let sent = groups.concat().into_iter().map(|change| change.change);
        let stated = (0..2500).map(|number| Some(Kind::Removed(path(number))));
        assert!(sent.eq(stated));
    }
}
