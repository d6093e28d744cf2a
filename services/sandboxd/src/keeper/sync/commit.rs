//! Changes on their way to the store, as the messages of one commit.

use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::change::Change as Kind;
use sandgate_api::storage::v1::commit_version_request::Part;
use sandgate_api::storage::v1::sync_service_client::SyncServiceClient;

use super::{Store, SyncError};

/// The published limit of one message.
const CHANGES_MAX: usize = 1000;
/// And by bytes, since an entry may name many chunks.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;

impl Store {
    /// Commits changes behind the head that is known, in order of their paths.
    pub(super) async fn commit(
        &mut self,
        upload: &str,
        changes: Vec<pb::Change>,
    ) -> Result<(), SyncError> {
        let header = pb::CommitHeader {
            upload_id: upload.to_owned(),
            parent: self.head.clone(),
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
        let mut client = SyncServiceClient::new(self.parts.channel.clone());
        let answer = client
            .commit_version(tokio_stream::iter(messages))
            .await?
            .into_inner();
        if let pb::CommitVersionResponse {
            version: Some(version),
        } = answer
        {
            self.head = version.version;
        }
        Ok(())
    }
}

/// The path that a change is about.
pub(super) fn path_of(change: &pb::Change) -> &[u8] {
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
