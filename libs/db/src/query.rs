//! A statement with its values, run on one connection of either kind.

use sqlx::{PgConnection, SqliteConnection};

use crate::row::{Kind, Row};
use crate::unique::UniqueNames;
use crate::{DbError, Value};

/// A connection of either kind, borrowed for one statement.
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $values {
            query = match value.clone() {
                Value::Text(text) => query.bind(text),
                Value::Integer(integer) => query.bind(integer),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
    }};
}

impl Connection<'_> {
    pub(crate) async fn fetch_all(
        self,
        sql: &'static str,
        values: &[Value],
        names: &UniqueNames,
    ) -> Result<Vec<Row>, DbError> {
        match self {
            Self::Sqlite(connection) => bound!(sql, values)
                .fetch_all(connection)
                .await
                .map(|rows| rows.into_iter().map(|row| Row(Kind::Sqlite(row))).collect()),
            Self::Postgres(connection) => {
                bound!(sql, values).fetch_all(connection).await.map(|rows| {
                    rows.into_iter()
                        .map(|row| Row(Kind::Postgres(row)))
                        .collect()
                })
            }
        }
        .map_err(|error| DbError::new(error, names))
    }

    pub(crate) async fn fetch_optional(
        self,
        sql: &'static str,
        values: &[Value],
        names: &UniqueNames,
    ) -> Result<Option<Row>, DbError> {
        match self {
            Self::Sqlite(connection) => bound!(sql, values)
                .fetch_optional(connection)
                .await
                .map(|row| row.map(|row| Row(Kind::Sqlite(row)))),
            Self::Postgres(connection) => bound!(sql, values)
                .fetch_optional(connection)
                .await
                .map(|row| row.map(|row| Row(Kind::Postgres(row)))),
        }
        .map_err(|error| DbError::new(error, names))
    }

    pub(crate) async fn execute(
        self,
        sql: &'static str,
        values: &[Value],
        names: &UniqueNames,
    ) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(connection) => bound!(sql, values)
                .execute(connection)
                .await
                .map(|done| done.rows_affected()),
            Self::Postgres(connection) => bound!(sql, values)
                .execute(connection)
                .await
                .map(|done| done.rows_affected()),
        }
        .map_err(|error| DbError::new(error, names))
    }
}
