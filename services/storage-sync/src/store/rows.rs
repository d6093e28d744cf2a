//! Rows as values, and back.

use sandgate_db::Row;
use sandgate_types::{Malformed, VersionId};
use sandgate_workspace::BlobName;
use sandgate_workspace::manifest::Root;

use super::StoreError;
use crate::version::{Origin, Version};

/// Counts are stored as BIGINT and bounded far below it.
pub(super) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn count(table: &'static str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::damaged(table, "a count must not be negative"))
}

pub(super) fn version(row: &Row) -> Result<Version, StoreError> {
    const TABLE: &str = "versions";
    let damaged = |malformed: Malformed| StoreError::damaged(TABLE, malformed);
    let parent: Option<String> = row.get("parent")?;
    let parent = parent
        .map(|text| VersionId::parse("parent", &text))
        .transpose()
        .map_err(damaged)?;
    let root = Root {
        name: BlobName::parse("root", &row.bytes("root")?).map_err(damaged)?,
        entries: count(TABLE, row.integer("entries")?)?,
        bytes: count(TABLE, row.integer("bytes")?)?,
    };
    Ok(Version {
        id: VersionId::parse("version_id", &row.text("version_id")?).map_err(damaged)?,
        number: row.integer("number")?,
        parent,
        root,
        origin: Origin::from_number(row.integer("origin")?)
            .ok_or_else(|| StoreError::damaged(TABLE, "origin must be known"))?,
        created_at: row.get("created_at")?,
    })
}
