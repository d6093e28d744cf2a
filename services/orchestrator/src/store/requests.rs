//! `request_ids`: what was asked, so that a repetition gets the first one's answer.

use sandgate_db::{Row, Write, params};
use sandgate_types::{RequestId, SandboxId, Timestamp};

use super::{Store, StoreError};

const FIND: &str = "
    SELECT content, sandbox_id, created FROM request_ids
    WHERE principal = $1 AND rpc = $2 AND request_id = $3";
const REMEMBER: &str = "
    INSERT INTO request_ids (principal, rpc, request_id, content, sandbox_id, created, at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
const FORGET: &str = "DELETE FROM request_ids WHERE at < $1";

/// Whose request it is: ids of two principals, or for two RPCs, never meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// Who asked.
    pub(crate) principal: String,
    /// What.
    pub(crate) rpc: &'static str,
    /// Under which id.
    pub(crate) request: RequestId,
}

/// What is remembered of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memo {
    /// The hash of what it asked for. Values of an environment are not in it.
    pub(crate) content: [u8; 32],
    /// The sandbox that it was answered with.
    pub(crate) sandbox: SandboxId,
    /// Whether it made it.
    pub(crate) created: bool,
}

fn read(row: &Row) -> Result<Memo, StoreError> {
    let content = row
        .bytes("content")?
        .try_into()
        .map_err(|_| StoreError::Damaged {
            table: "request_ids",
            rule: "content must have 32 bytes".to_owned(),
        })?;
    Ok(Memo {
        content,
        sandbox: SandboxId::parse("sandbox_id", &row.text("sandbox_id")?)?,
        created: row.get("created")?,
    })
}

pub(super) async fn find(write: &mut Write, key: &RequestKey) -> Result<Option<Memo>, StoreError> {
    let values = params![key.principal.as_str(), key.rpc, key.request.as_str()];
    let row = write.fetch_optional(FIND, values).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn remember(
    write: &mut Write,
    key: &RequestKey,
    memo: &Memo,
    now: Timestamp,
) -> Result<(), StoreError> {
    let values = params![
        key.principal.as_str(),
        key.rpc,
        key.request.as_str(),
        &memo.content,
        memo.sandbox.as_str(),
        memo.created,
        now,
    ];
    write.execute(REMEMBER, values).await?;
    Ok(())
}

pub(super) async fn forget(write: &mut Write, asked_before: Timestamp) -> Result<(), StoreError> {
    write.execute(FORGET, params![asked_before]).await?;
    Ok(())
}

impl Store {
    /// What is remembered of a request.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn recall(&self, key: &RequestKey) -> Result<Option<Memo>, StoreError> {
        let values = params![key.principal.as_str(), key.rpc, key.request.as_str()];
        let row = self.database.fetch_optional(FIND, values).await?;
        row.as_ref().map(read).transpose()
    }

    /// Remembers a request that was answered with a sandbox that was there already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn remember(
        &self,
        key: &RequestKey,
        memo: &Memo,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = self.database.begin_write().await?;
        remember(&mut write, key, memo, now).await?;
        write.commit().await?;
        Ok(())
    }
}
