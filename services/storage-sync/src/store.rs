//! The database of storage-sync: heads, versions, and which chunks belong to whom.
//!
//! Nothing here decides, except by transactions: a head moves only from the version that the new one was made
//! from, a run that was followed by a later one of its sandbox is refused, and an upload stays within its bounds.

mod chunks;
mod heads;
mod rows;
mod settle;
mod uploads;

use sandgate_db::{Database, DbError, Migration, Migrations, params};
use sandgate_types::{TenantId, Timestamp};
use sandgate_workspace::HASH_BYTES;

pub use heads::{AdvanceError, Remembered};
pub use uploads::{BeginError, GrowError, NewUpload, Upload, UploadBounds};

/// The schema of storage-sync.
pub static MIGRATIONS: Migrations = Migrations {
    service: "storage",
    steps: &[Migration::same(
        1,
        "workspaces",
        include_str!("../migrations/0001_workspaces.sql"),
    )],
};

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused, or did not answer.
    #[error("the database of storage-sync")]
    Database(#[from] DbError),
    /// A row holds what this program never writes.
    #[error("a row of {table} cannot be read: {rule}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        rule: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => error.is_transient(),
            Self::Damaged { .. } => false,
        }
    }

    fn damaged(table: &'static str, rule: impl ToString) -> Self {
        Self::Damaged {
            table,
            rule: rule.to_string(),
        }
    }
}

/// The store, over SQLite or Postgres.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}

impl Store {
    /// The store in an open database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.database.ping().await?)
    }

    /// The secret from which a tenant's names and boundaries follow; `fresh` becomes it when there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tenant_secret(
        &self,
        tenant: &TenantId,
        fresh: [u8; HASH_BYTES],
        now: Timestamp,
    ) -> Result<[u8; HASH_BYTES], StoreError> {
        const READ: &str = "SELECT secret FROM tenants WHERE tenant = $1";
        const ADD: &str = "INSERT INTO tenants (tenant, secret, created_at) VALUES ($1, $2, $3)";
        if let Some(row) = self
            .database
            .fetch_optional(READ, params![tenant.as_str()])
            .await?
        {
            return secret_of(&row.bytes("secret")?);
        }
        let mut write = self.database.begin_write().await?;
        if let Some(row) = write.fetch_optional(READ, params![tenant.as_str()]).await? {
            return secret_of(&row.bytes("secret")?);
        }
        write
            .execute(ADD, params![tenant.as_str(), fresh, now])
            .await?;
        write.commit().await?;
        Ok(fresh)
    }
}

fn secret_of(bytes: &[u8]) -> Result<[u8; HASH_BYTES], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::damaged("tenants", "secret must have 32 bytes"))
}

#[cfg(test)]
mod tests;
