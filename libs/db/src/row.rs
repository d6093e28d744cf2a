//! Rows, and what a column may be read as.

use sandgate_types::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::DbError;

/// One row of an answer. Columns are read by name.
pub struct Row(pub(crate) Kind);

pub(crate) enum Kind {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A row may hold secrets, so nothing of it is shown.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("row")
    }
}

impl Row {
    /// The column, as the type that it is stored as: `String`, `i64`, `Vec<u8>`, `Timestamp`, `bool`, or an `Option`
    /// of one.
    ///
    /// # Errors
    /// When the row has no such column, or it is of another type or NULL: our bug, or a damaged database.
    pub fn get<T: Column>(&self, column: &str) -> Result<T, DbError> {
        T::read(self, column)
    }

    /// A TEXT column that is not NULL.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn text(&self, column: &str) -> Result<String, DbError> {
        self.get(column)
    }

    /// A BIGINT column that is not NULL.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn integer(&self, column: &str) -> Result<i64, DbError> {
        self.get(column)
    }

    /// A BYTEA column that is not NULL.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn bytes(&self, column: &str) -> Result<Vec<u8>, DbError> {
        self.get(column)
    }
}

/// What a column may be read as.
pub trait Column: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Row::get`].
    fn read(row: &Row, column: &str) -> Result<Self, DbError>;
}

macro_rules! stored {
    ($($type:ty),*) => {
        $(
            impl Column for Option<$type> {
                fn read(row: &Row, column: &str) -> Result<Self, DbError> {
                    match &row.0 {
                        Kind::Sqlite(row) => row.try_get(column),
                        Kind::Postgres(row) => row.try_get(column),
                    }
                    .map_err(DbError::of_row)
                }
            }
            impl Column for $type {
                fn read(row: &Row, column: &str) -> Result<Self, DbError> {
                    // Asked for without the option, SQLite takes a NULL for nothing: an empty text, a zero.
                    Option::<$type>::read(row, column)?.ok_or_else(|| DbError::of_row(sqlx::Error::ColumnDecode {
                        index: column.to_owned(),
                        source: Box::new(sqlx::error::UnexpectedNullError),
                    }))
                }
            }
        )*
    };
}

stored!(String, i64, Vec<u8>);

macro_rules! derived {
    ($($type:ty, $convert:expr;)*) => {
        $(
            impl Column for Option<$type> {
                fn read(row: &Row, column: &str) -> Result<Self, DbError> {
                    Ok(Option::<i64>::read(row, column)?.map($convert))
                }
            }
            impl Column for $type {
                fn read(row: &Row, column: &str) -> Result<Self, DbError> {
                    Ok(($convert)(i64::read(row, column)?))
                }
            }
        )*
    };
}

derived! {
    Timestamp, Timestamp::from_micros;
    bool, |number: i64| number != 0;
}
