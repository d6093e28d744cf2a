//! The port to the database: what is kept, and what each question answers. The SQL is in `store/`, one text
//! for SQLite and Postgres.
//!
//! Rows are parsed into types here; a row that does not parse was not written by us and is an error.

mod api_keys;
mod keys;
mod revocations;
mod tenants;

use sandgate_db::{Database, DatabaseUrl, DbError, Migration, Migrations, OpenError};
use sandgate_types::{Malformed, Timestamp};

pub(crate) use api_keys::{KeyPage, StoredApiKey};
pub(crate) use keys::{Beginning, StoredRoot, StoredSigningKey};
pub(crate) use revocations::Added;
pub(crate) use tenants::{Created, Request, StoredTenant};

/// The schema.
const MIGRATIONS: Migrations = Migrations {
    service: "token",
    steps: &[
        Migration {
            number: 1,
            name: "begin",
            sqlite: include_str!("../migrations/sqlite/0001_begin.sql"),
            postgres: include_str!("../migrations/postgres/0001_begin.sql"),
        },
        Migration {
            number: 2,
            name: "rotate_signing_keys",
            sqlite: include_str!("../migrations/sqlite/0002_rotate_signing_keys.sql"),
            postgres: include_str!("../migrations/postgres/0002_rotate_signing_keys.sql"),
        },
        Migration {
            number: 3,
            name: "keys_that_expire",
            sqlite: include_str!("../migrations/sqlite/0003_keys_that_expire.sql"),
            postgres: include_str!("../migrations/postgres/0003_keys_that_expire.sql"),
        },
    ],
};

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A row is none of ours.
    #[error("a row holds what we do not write")]
    Row(#[source] Malformed),
    /// A row that was there is not: a revocation of this number.
    #[error(
        "revocation {0} is missing from the database, from which none is ever removed: end the service, and restore a backup that has it"
    )]
    Damaged(i64),
}

impl StoreError {
    /// Whether the same call, a moment later, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Db(error) => error.is_transient(),
            Self::Row(_) | Self::Damaged(_) => false,
        }
    }
}

impl From<Malformed> for StoreError {
    fn from(malformed: Malformed) -> Self {
        Self::Row(malformed)
    }
}

/// What the token service keeps.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
}

impl Store {
    /// Brings the schema up to date, or creates it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) async fn migrate(url: &DatabaseUrl, now: Timestamp) -> Result<(), OpenError> {
        MIGRATIONS.run(url, now).await
    }

    /// Opens the database; it must be there, of this schema.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, OpenError> {
        Ok(Self {
            database: Database::open(url, &MIGRATIONS).await?,
        })
    }

    /// Ends all connections, once what is under way is done.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }
}

#[cfg(test)]
mod tests;
