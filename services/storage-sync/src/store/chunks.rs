//! Which chunks a workspace, or one upload, may refer to.

use std::collections::HashMap;

use sandgate_db::{DbError, Value, Write, params};
use sandgate_types::{UploadId, WorkspaceId};
use sandgate_workspace::BlobName;

use super::{Store, StoreError};

/// Names asked for in one statement, whose text is fixed.
const NAMES_AT_ONCE: usize = 32;
const KNOWN: &str = "
    SELECT name, length FROM chunks WHERE workspace_id = $1 AND name IN
        ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
         $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)
    UNION
    SELECT name, length FROM upload_chunks WHERE upload_id = $2 AND name IN
        ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
         $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)";
const ADD: &str = "INSERT INTO chunks (workspace_id, name, length) VALUES ($1, $2, $3)
    ON CONFLICT (workspace_id, name) DO NOTHING";

impl Store {
    /// The lengths of those of the named chunks that are the workspace's or the upload's. Nothing is said of
    /// chunks that others have.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn known_chunks(
        &self,
        workspace: &WorkspaceId,
        upload: &UploadId,
        names: &[BlobName],
    ) -> Result<HashMap<BlobName, u32>, StoreError> {
        let mut known = HashMap::new();
        for batch in names.chunks(NAMES_AT_ONCE) {
            let mut values: Vec<Value> = params![workspace.as_str(), upload.as_str()].to_vec();
            // The statement takes a fixed number; the last name fills it up.
            let padded = batch
                .iter()
                .chain(std::iter::repeat(&batch[batch.len() - 1]));
            values.extend(
                padded
                    .take(NAMES_AT_ONCE)
                    .map(|name| Value::from(name.as_bytes())),
            );
            for row in self.database.fetch_all(KNOWN, &values).await? {
                let damaged = |rule| StoreError::damaged("chunks", rule);
                let name = BlobName::parse("name", &row.bytes("name")?).map_err(damaged)?;
                let length = u32::try_from(row.integer("length")?)
                    .map_err(|_| StoreError::damaged("chunks", "length must fit 32 bits"))?;
                known.insert(name, length);
            }
        }
        Ok(known)
    }
}

pub(super) async fn add(
    write: &mut Write,
    workspace: &WorkspaceId,
    chunks: &[(BlobName, u32)],
) -> Result<(), DbError> {
    for (name, length) in chunks {
        write
            .execute(ADD, params![workspace.as_str(), name.as_bytes(), *length])
            .await?;
    }
    Ok(())
}
