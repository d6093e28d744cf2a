//! Transactions. One that is dropped is rolled back.

use sqlx::{Postgres, Sqlite, Transaction};

use crate::query::Connection;
use crate::unique::UniqueNames;
use crate::{DbError, Row, Value};

pub(crate) enum Begun {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Begun {
    fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(transaction) => Connection::Sqlite(transaction),
            Self::Postgres(transaction) => Connection::Postgres(transaction),
        }
    }
}

/// Reads that see one state of the database.
pub struct Read {
    pub(crate) begun: Begun,
    pub(crate) names: UniqueNames,
}

/// The one write transaction of this database: nobody else writes until it ends, so what it read stays true.
///
/// # Caveats
/// A future that is dropped between two statements rolls back; one that is dropped inside [`Write::commit`] may have
/// committed. Whoever must know hands the whole of it to a tracked task.
pub struct Write {
    pub(crate) begun: Begun,
    pub(crate) names: UniqueNames,
}

macro_rules! reads {
    ($($type:ident),*) => {
        $(
            impl std::fmt::Debug for $type {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.debug_struct(stringify!($type)).finish_non_exhaustive()
                }
            }

            impl $type {
                /// All rows that the statement answers with; its LIMIT bounds them.
                ///
                /// # Errors
                /// See [`DbError`].
                pub async fn fetch_all(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, DbError> {
                    self.begun.connection().fetch_all(sql, values, &self.names).await
                }

                /// The first row, if there is one.
                ///
                /// # Errors
                /// See [`DbError`].
                pub async fn fetch_optional(&mut self, sql: &'static str, values: &[Value]) -> Result<Option<Row>, DbError> {
                    self.begun.connection().fetch_optional(sql, values, &self.names).await
                }

                /// The one row of a statement that always has one, as an aggregate has.
                ///
                /// # Errors
                /// See [`DbError`]; also when there is no row.
                pub async fn fetch_one(&mut self, sql: &'static str, values: &[Value]) -> Result<Row, DbError> {
                    self.fetch_optional(sql, values).await?.ok_or_else(|| DbError::of_row(sqlx::Error::RowNotFound))
                }
            }
        )*
    };
}

reads!(Read, Write);

impl Write {
    /// Runs a statement and says how many rows it touched.
    ///
    /// # Errors
    /// See [`DbError`]. On Postgres a failed statement ends what the transaction can do: roll back.
    pub async fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, DbError> {
        self.begun
            .connection()
            .execute(sql, values, &self.names)
            .await
    }

    /// Makes all of it durable, or none.
    ///
    /// # Errors
    /// See [`DbError`]; after a transient one it is unknown whether it was committed.
    pub async fn commit(self) -> Result<(), DbError> {
        match self.begun {
            Begun::Sqlite(transaction) => transaction.commit().await,
            Begun::Postgres(transaction) => transaction.commit().await,
        }
        .map_err(|error| DbError::new(error, &self.names))
    }

    /// Undoes all of it, and answers once that is done.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn rollback(self) -> Result<(), DbError> {
        match self.begun {
            Begun::Sqlite(transaction) => transaction.rollback().await,
            Begun::Postgres(transaction) => transaction.rollback().await,
        }
        .map_err(|error| DbError::new(error, &self.names))
    }
}
