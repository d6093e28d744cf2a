//! Making databases and roles on a Postgres server, for tests; no service has these rights.

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

use crate::url::Place;
use crate::{DatabaseUrl, DbError};

/// A role that may make databases and roles.
#[derive(Debug)]
pub struct Admin {
    pool: PgPool,
}

impl Admin {
    /// Connects to the server of a URL.
    ///
    /// # Errors
    /// When it is not a Postgres that answers.
    pub async fn connect(url: &str) -> Result<Self, DbError> {
        let failed = |text: String| DbError::of_row(sqlx::Error::InvalidArgument(text));
        let url: DatabaseUrl = url
            .parse()
            .map_err(|malformed: sandgate_types::Malformed| failed(malformed.to_string()))?;
        let Place::Postgres(options) = url.place else {
            return Err(failed("it is not a Postgres".to_owned()));
        };
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(*options)
            .await
            .map_err(DbError::of_row)?;
        Ok(Self { pool })
    }

    /// Makes the database `name`, and a role that may log in with that name and password and nothing else.
    ///
    /// # Errors
    /// See [`DbError`]. `name` must be letters and digits.
    pub async fn create(&self, name: &str) -> Result<(), DbError> {
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(DbError::of_row(sqlx::Error::InvalidArgument(
                "a name of letters and digits".to_owned(),
            )));
        }
        for sql in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{name}'"),
            format!("CREATE DATABASE {name}"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&self.pool)
                .await
                .map_err(DbError::of_row)?;
        }
        Ok(())
    }
}
