//! An open database: a few readers and one writer.

use sqlx::{PgPool, SqlitePool};

use crate::query::Connection;
use crate::transaction::Begun;
use crate::unique::UniqueNames;
use crate::url::Place;
use crate::{
    DatabaseUrl, DbError, Migrations, OpenError, Read, Row, Value, Write, connect, params,
};

/// An open database whose schema is the one of this program. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Database {
    pools: Pools,
    service: &'static str,
    names: UniqueNames,
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite {
        readers: SqlitePool,
        writer: SqlitePool,
    },
    Postgres {
        readers: PgPool,
        writer: PgPool,
    },
}

/// Taken by each write transaction, so that Postgres has one writer as SQLite has; the key is the schema's.
const ONE_WRITER: &str = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 1))";
const RIGHTS: &str = "
    SELECT CASE WHEN rolsuper OR rolcreatedb THEN 1::BIGINT ELSE 0::BIGINT END AS creates,
           (SELECT COUNT(*) FROM pg_tables WHERE schemaname = $1 AND tableowner = current_user) AS owns
    FROM pg_roles WHERE rolname = current_user";

impl Database {
    /// Opens what [`Migrations::run`] made. Never creates or changes a schema.
    ///
    /// # Errors
    /// [`OpenError`], which says what to run; [`OpenError::may_pass`] tells whether to wait.
    pub async fn open(url: &DatabaseUrl, migrations: &Migrations) -> Result<Self, OpenError> {
        let service = migrations.service;
        let database = Self::connect(url, service).await.map_err(|error| {
            let source = DbError::of_row(error);
            if source.is_missing_database() {
                OpenError::Missing { service }
            } else {
                OpenError::Unreachable { service, source }
            }
        })?;
        migrations.check(&database).await?;
        database.check_rights().await?;
        Ok(database)
    }

    async fn connect(url: &DatabaseUrl, service: &'static str) -> Result<Self, sqlx::Error> {
        match &url.place {
            Place::Sqlite(path) => {
                let writer = connect::sqlite_writer(connect::sqlite(path)).await?;
                let names = UniqueNames::read(&mut *writer.acquire().await?).await?;
                let readers = connect::sqlite_readers(connect::sqlite(path));
                Ok(Self {
                    pools: Pools::Sqlite { readers, writer },
                    service,
                    names,
                })
            }
            Place::Postgres(options) => {
                let options = connect::postgres(options, service);
                let writer = connect::postgres_writer(options.clone()).await?;
                let readers = connect::postgres_readers(options);
                Ok(Self {
                    pools: Pools::Postgres { readers, writer },
                    service,
                    names: UniqueNames::default(),
                })
            }
        }
    }

    async fn check_rights(&self) -> Result<(), OpenError> {
        let service = self.service;
        let unreachable = |source| OpenError::Unreachable { service, source };
        match &self.pools {
            Pools::Sqlite { .. } => Ok(()),
            Pools::Postgres { .. } => {
                let rights = self
                    .fetch_one(RIGHTS, params![service])
                    .await
                    .map_err(unreachable)?;
                if rights.integer("creates").map_err(unreachable)? != 0 {
                    return Err(OpenError::Powerful {
                        service,
                        right: "create databases",
                    });
                }
                if rights.integer("owns").map_err(unreachable)? != 0 {
                    return Err(OpenError::Powerful {
                        service,
                        right: "change tables, since it owns them",
                    });
                }
                Ok(())
            }
        }
    }

    /// Begins reads that see one state.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn begin_read(&self) -> Result<Read, DbError> {
        let begun = match &self.pools {
            Pools::Sqlite { readers, .. } => readers.begin().await.map(Begun::Sqlite),
            Pools::Postgres { readers, .. } => readers
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await
                .map(Begun::Postgres),
        };
        let begun = begun.map_err(|error| DbError::new(error, &self.names))?;
        Ok(Read {
            begun,
            names: self.names.clone(),
        })
    }

    /// Begins the one write transaction, after those before it; the wait is bounded.
    ///
    /// # Errors
    /// See [`DbError`]; a transient one when the turn did not come.
    pub async fn begin_write(&self) -> Result<Write, DbError> {
        let failed = |error| DbError::new(error, &self.names);
        let begun = match &self.pools {
            Pools::Sqlite { writer, .. } => {
                Begun::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?)
            }
            Pools::Postgres { writer, .. } => {
                let mut transaction = writer.begin().await.map_err(failed)?;
                sqlx::query(ONE_WRITER)
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
                Begun::Postgres(transaction)
            }
        };
        Ok(Write {
            begun,
            names: self.names.clone(),
        })
    }

    /// All rows that the statement answers with; its LIMIT bounds them.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn fetch_all(
        &self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<Vec<Row>, DbError> {
        let failed = |error| DbError::new(error, &self.names);
        match &self.pools {
            Pools::Sqlite { readers, .. } => {
                let mut connection = readers.acquire().await.map_err(failed)?;
                Connection::Sqlite(&mut connection)
                    .fetch_all(sql, values, &self.names)
                    .await
            }
            Pools::Postgres { readers, .. } => {
                let mut connection = readers.acquire().await.map_err(failed)?;
                Connection::Postgres(&mut connection)
                    .fetch_all(sql, values, &self.names)
                    .await
            }
        }
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn fetch_optional(
        &self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<Option<Row>, DbError> {
        let failed = |error| DbError::new(error, &self.names);
        match &self.pools {
            Pools::Sqlite { readers, .. } => {
                let mut connection = readers.acquire().await.map_err(failed)?;
                Connection::Sqlite(&mut connection)
                    .fetch_optional(sql, values, &self.names)
                    .await
            }
            Pools::Postgres { readers, .. } => {
                let mut connection = readers.acquire().await.map_err(failed)?;
                Connection::Postgres(&mut connection)
                    .fetch_optional(sql, values, &self.names)
                    .await
            }
        }
    }

    /// The one row of a statement that always has one, as an aggregate has.
    ///
    /// # Errors
    /// See [`DbError`]; also when there is no row.
    pub async fn fetch_one(&self, sql: &'static str, values: &[Value]) -> Result<Row, DbError> {
        self.fetch_optional(sql, values)
            .await?
            .ok_or_else(|| DbError::of_row(sqlx::Error::RowNotFound))
    }

    /// One statement as a write transaction of its own; says how many rows it touched.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn execute(&self, sql: &'static str, values: &[Value]) -> Result<u64, DbError> {
        let mut write = self.begin_write().await?;
        let touched = write.execute(sql, values).await?;
        write.commit().await?;
        Ok(touched)
    }

    /// Whether it answers; what a readiness check asks.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn ping(&self) -> Result<(), DbError> {
        self.fetch_one("SELECT 1", &[]).await.map(|_| ())
    }

    /// Closes its connections, after what runs on them.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}
