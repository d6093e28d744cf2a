//! Wire forms of versions, names and entries.

use sandgate_api::storage::v1 as pb;
use sandgate_api::timestamp_to;
use sandgate_types::{Malformed, RequestId, VersionId};
use sandgate_workspace::{Entry, TreePath};

use crate::commit::Change;
use crate::version::{Origin, Version};
use crate::workspace::Named;

pub(super) fn named(name: Option<pb::WorkspaceName>) -> Result<Named, Malformed> {
    let rule = || Malformed::new("workspace", "must be set");
    let pb::WorkspaceName {
        tenant,
        user,
        conversation,
    } = name.ok_or_else(rule)?;
    Ok(Named {
        tenant,
        user,
        conversation,
    })
}

pub(super) fn optional_version(field: &str, text: &str) -> Result<Option<VersionId>, Malformed> {
    if text.is_empty() {
        Ok(None)
    } else {
        VersionId::parse(field, text).map(Some)
    }
}

pub(super) fn optional_request(field: &str, text: &str) -> Result<Option<RequestId>, Malformed> {
    if text.is_empty() {
        Ok(None)
    } else {
        RequestId::parse(field, text).map(Some)
    }
}

pub(super) fn version_to(version: &Version) -> pb::Version {
    let origin = match version.origin {
        Origin::Sync => pb::Origin::Sync,
        Origin::Write => pb::Origin::Write,
        Origin::Restore => pb::Origin::Restore,
    };
    pb::Version {
        version: version.id.as_str().to_owned(),
        parent: version
            .parent
            .as_ref()
            .map(|id| id.as_str().to_owned())
            .unwrap_or_default(),
        created_at: Some(timestamp_to(version.created_at)),
        entries: version.root.entries,
        bytes: version.root.bytes,
        origin: origin.into(),
    }
}

/// Reads the change at position `index` of its commit.
pub(super) fn change(index: usize, change: pb::Change) -> Result<Change, Malformed> {
    let field = format!("changes[{index}]");
    match change.change {
        None => Err(Malformed::new(field, "must be an upsert or a removed path")),
        Some(pb::change::Change::Upsert(entry)) => {
            let entry = Entry::from_wire(entry);
            entry
                .map(Change::Upsert)
                .map_err(|malformed| malformed.within(&field))
        }
        Some(pb::change::Change::Removed(path)) => {
            let path = TreePath::parse("path", &path);
            path.map(Change::Remove)
                .map_err(|malformed| malformed.within(&field))
        }
    }
}
