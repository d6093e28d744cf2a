//! `audit_records`: chains of all writers, appended and never changed.

use prost::Message as _;
use sandgate_audit::{HASH_BYTES, Record};
use sandgate_db::{Write, params};
use sandgate_types::{SandboxId, TenantId, Timestamp};

use super::chain::Head;
use super::{Store, StoreError};

const LAST: &str = "
    SELECT sequence, hash FROM audit_records WHERE writer = $1 ORDER BY sequence DESC LIMIT 1";
const HASH: &str = "SELECT hash FROM audit_records WHERE writer = $1 AND sequence = $2";
const INSERT: &str = "
    INSERT INTO audit_records (writer, sequence, at, decision, tenant, sandbox_id, hash, record)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const LIST: &str = "
    SELECT record, at, writer, sequence FROM audit_records
    WHERE tenant = $1 AND ($2 = '' OR sandbox_id = $2) AND ($3 = 0 OR decision = $3)
      AND (at < $4 OR (at = $4 AND (writer < $5 OR (writer = $5 AND sequence < $6))))
    ORDER BY at DESC, writer DESC, sequence DESC LIMIT $7";

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Appended {
    /// All are kept, up to this number.
    Kept(i64),
    /// Nothing was kept: the next record must be the one after this.
    Gap(i64),
    /// Nothing was kept: this record is not what follows, or differs from the one that is kept.
    Broken {
        /// The record.
        sequence: i64,
        /// What is wrong with it.
        rule: &'static str,
    },
}

/// Which records are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordFilter {
    /// Of this tenant.
    pub(crate) tenant: TenantId,
    /// Of this sandbox.
    pub(crate) sandbox: Option<SandboxId>,
    /// Of this decision, by its number on the wire.
    pub(crate) decision: Option<i32>,
}

/// The last record of a page; the next one begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordCursor {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// By whom.
    pub(crate) writer: String,
    /// Its number.
    pub(crate) sequence: i64,
}

fn damaged(rule: impl ToString) -> StoreError {
    StoreError::Damaged {
        table: "audit_records",
        rule: rule.to_string(),
    }
}

/// The hash that a record carries.
pub(super) fn hash_of(record: &Record) -> Result<[u8; HASH_BYTES], StoreError> {
    let hash = record.hash.as_slice().try_into();
    hash.map_err(|_| damaged("hash must have 32 bytes"))
}

/// Number and hash of the last record that is kept of a writer.
pub(super) async fn head(write: &mut Write, writer: &str) -> Result<Option<Head>, StoreError> {
    let Some(row) = write.fetch_optional(LAST, params![writer]).await? else {
        return Ok(None);
    };
    let hash = row.bytes("hash")?.try_into();
    let hash = hash.map_err(|_| damaged("hash must have 32 bytes"))?;
    Ok(Some((row.integer("sequence")?, hash)))
}

/// Keeps one record, which follows the last one of its writer.
pub(super) async fn insert(
    write: &mut Write,
    record: &Record,
    at: Timestamp,
) -> Result<(), StoreError> {
    let values = params![
        record.writer.as_str(),
        record.sequence,
        at,
        record.decision,
        record.tenant.as_str(),
        record.sandbox_id.as_str(),
        &record.hash,
        record.encode_to_vec(),
    ];
    write.execute(INSERT, values).await?;
    Ok(())
}

impl Store {
    /// Appends records of one writer that follow what is kept of it. All of them, or none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn append(
        &self,
        writer: &str,
        records: &[(Record, Timestamp)],
    ) -> Result<Appended, StoreError> {
        let mut write = self.database.begin_write().await?;
        let last = head(&mut write, writer).await?;
        let (head, hash) = last.unwrap_or((0, [0; HASH_BYTES]));
        let mut fresh = Vec::new();
        for (record, at) in records {
            if record.sequence > head {
                fresh.push((record, at));
                continue;
            }
            let kept = write
                .fetch_optional(HASH, params![writer, record.sequence])
                .await?;
            let same = match kept {
                Some(row) => row.bytes("hash")? == record.hash,
                None => false,
            };
            if !same {
                write.rollback().await?;
                return Ok(Appended::Broken {
                    sequence: record.sequence,
                    rule: "differs from the one that is kept",
                });
            }
        }
        let Some((first, _)) = fresh.first() else {
            write.rollback().await?;
            return Ok(Appended::Kept(head));
        };
        if first.sequence != head + 1 {
            write.rollback().await?;
            return Ok(Appended::Gap(head));
        }
        let chain: Vec<Record> = fresh.iter().map(|(record, _)| (*record).clone()).collect();
        if let Err(broken) = sandgate_audit::verify(hash, &chain) {
            write.rollback().await?;
            return Ok(Appended::Broken {
                sequence: broken.sequence,
                rule: broken.rule,
            });
        }
        let mut newest = head;
        for (record, at) in fresh {
            insert(&mut write, record, *at).await?;
            newest = record.sequence;
        }
        write.commit().await?;
        Ok(Appended::Kept(newest))
    }

    /// At most `limit` records that the filter takes, newest first, behind `after`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn records(
        &self,
        filter: &RecordFilter,
        after: Option<&RecordCursor>,
        limit: usize,
    ) -> Result<Vec<(Record, RecordCursor)>, StoreError> {
        let (at, writer, sequence) = after.map_or((i64::MAX, "", 0), |cursor| {
            (
                cursor.at.as_micros(),
                cursor.writer.as_str(),
                cursor.sequence,
            )
        });
        let values = params![
            filter.tenant.as_str(),
            filter.sandbox.as_ref().map_or("", SandboxId::as_str),
            filter.decision.unwrap_or(0),
            at,
            writer,
            sequence,
            i64::try_from(limit).unwrap_or(i64::MAX),
        ];
        let mut records = Vec::new();
        for row in self.database.fetch_all(LIST, values).await? {
            let record = Record::decode(row.bytes("record")?.as_slice()).map_err(damaged)?;
            let cursor = RecordCursor {
                at: row.get("at")?,
                writer: row.text("writer")?,
                sequence: row.integer("sequence")?,
            };
            records.push((record, cursor));
        }
        Ok(records)
    }
}
