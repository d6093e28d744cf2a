//! Migrations: numbered, append only, run under a lock by `sandgate init` and by nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use sandgate_types::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use crate::url::Place;
use crate::{Database, DatabaseUrl, DbError, OpenError, connect};

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: i64,
    /// What it does, in a word or two.
    pub name: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
    /// For Postgres.
    pub postgres: &'static str,
}

impl Migration {
    /// A step whose text serves both: TEXT, BIGINT and BYTEA are column types in SQLite too.
    pub const fn same(number: i64, name: &'static str, sql: &'static str) -> Self {
        Self {
            number,
            name,
            sqlite: sql,
            postgres: sql,
        }
    }
}

/// The schema of one service, which on Postgres is a schema of that name.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// The service: a small letter, then small letters, digits and `_`.
    pub service: &'static str,
    /// Its steps, in order.
    pub steps: &'static [Migration],
}

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";
const APPLIED: &str = "SELECT number, name FROM schema_migrations ORDER BY number";
const APPLY: &str = "INSERT INTO schema_migrations (number, name, applied_at) VALUES ($1, $2, $3)";
/// Other processes that migrate the same schema wait here.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 2))";

impl Migrations {
    /// Brings the database to this program's schema, creating what is missing. Concurrent runs take turns; a run
    /// on a current database changes nothing. Each run is one transaction: a step that fails leaves nothing.
    ///
    /// # Errors
    /// [`OpenError`]; a newer database is refused untouched.
    pub async fn run(&self, url: &DatabaseUrl, now: Timestamp) -> Result<(), OpenError> {
        match (url.owner.as_deref().unwrap_or(&url.place), &url.place) {
            (Place::Sqlite(path), _) => self.run_sqlite(path, now).await,
            (Place::Postgres(owner), Place::Postgres(user)) => {
                let grantee =
                    (owner.get_username() != user.get_username()).then(|| user.get_username());
                self.run_postgres(owner, grantee, now).await
            }
            (Place::Postgres(owner), Place::Sqlite(_)) => self.run_postgres(owner, None, now).await,
        }
    }

    async fn run_sqlite(&self, path: &Path, now: Timestamp) -> Result<(), OpenError> {
        let _lock = lock_beside(path.to_owned()).await?;
        // Ours alone from its first byte on; SQLite would take the umask's mode.
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|source| file_error("create", path, source))?;
        let mut connection = connect::sqlite(path)
            .connect()
            .await
            .map_err(|error| self.unreachable(error))?;
        let run = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(CREATE_TABLE).execute(&mut *transaction).await?;
            let applied = sqlx::query(APPLIED)
                .fetch_all(&mut *transaction)
                .await?
                .into_iter()
                .map(|row| Ok((row.try_get("number")?, row.try_get("name")?)))
                .collect::<Result<Vec<(i64, String)>, sqlx::Error>>()?;
            let missing = match self.missing(&applied) {
                Ok(missing) => missing,
                Err(refusal) => return Ok(Err(refusal)),
            };
            for step in missing {
                sqlx::raw_sql(step.sqlite)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query(APPLY)
                    .bind(step.number)
                    .bind(step.name)
                    .bind(now.as_micros())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            connection.close().await?;
            Ok(Ok(()))
        };
        run.await.map_err(|error| self.unreachable(error))?
    }

    async fn run_postgres(
        &self,
        owner: &PgConnectOptions,
        grantee: Option<&str>,
        now: Timestamp,
    ) -> Result<(), OpenError> {
        let mut connection = connect::postgres(owner, self.service)
            .connect()
            .await
            .map_err(|error| self.unreachable(error))?;
        let run = async {
            let mut transaction = connection.begin().await?;
            sqlx::query(LOCK)
                .bind(self.service)
                .execute(&mut *transaction)
                .await?;
            let schema = identifier(self.service);
            sqlx::raw_sql(AssertSqlSafe(format!(
                "CREATE SCHEMA IF NOT EXISTS {schema}"
            )))
            .execute(&mut *transaction)
            .await?;
            sqlx::query(CREATE_TABLE).execute(&mut *transaction).await?;
            let applied = sqlx::query(APPLIED)
                .fetch_all(&mut *transaction)
                .await?
                .into_iter()
                .map(|row| Ok((row.try_get("number")?, row.try_get("name")?)))
                .collect::<Result<Vec<(i64, String)>, sqlx::Error>>()?;
            let missing = match self.missing(&applied) {
                Ok(missing) => missing,
                Err(refusal) => return Ok(Err(refusal)),
            };
            for step in missing {
                sqlx::raw_sql(step.postgres)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query(APPLY)
                    .bind(step.number)
                    .bind(step.name)
                    .bind(now.as_micros())
                    .execute(&mut *transaction)
                    .await?;
            }
            if let Some(grantee) = grantee {
                let role = identifier(grantee);
                sqlx::raw_sql(AssertSqlSafe(format!(
                    "GRANT USAGE ON SCHEMA {schema} TO {role};
                     GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
                     REVOKE INSERT, UPDATE, DELETE ON {schema}.schema_migrations FROM {role};"
                )))
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            connection.close().await?;
            Ok(Ok(()))
        };
        run.await.map_err(|error| self.unreachable(error))?
    }

    /// What is left to apply, if what was applied is a beginning of our steps.
    fn missing(&self, applied: &[(i64, String)]) -> Result<&'static [Migration], OpenError> {
        let service = self.service;
        let found = applied.last().map_or(0, |(number, _)| *number);
        if found > self.newest() {
            return Err(OpenError::Newer {
                service,
                found,
                needed: self.newest(),
            });
        }
        for (step, (number, name)) in self.steps.iter().zip(applied) {
            if step.number != *number || step.name != name {
                return Err(OpenError::Foreign {
                    service,
                    number: *number,
                });
            }
        }
        self.steps.get(applied.len()..).ok_or(OpenError::Foreign {
            service,
            number: found,
        })
    }

    /// The number of the newest step.
    pub fn newest(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.number)
    }

    /// Whether an open database has this schema, no less and no more.
    pub(crate) async fn check(&self, database: &Database) -> Result<(), OpenError> {
        let service = self.service;
        let rows = database.fetch_all(APPLIED, &[]).await.map_err(|source| {
            if source.is_missing_table() {
                OpenError::Missing { service }
            } else {
                OpenError::Unreachable { service, source }
            }
        })?;
        let applied = rows
            .iter()
            .map(|row| Ok((row.integer("number")?, row.text("name")?)))
            .collect::<Result<Vec<_>, DbError>>()
            .map_err(|source| OpenError::Unreachable { service, source })?;
        if applied.is_empty() {
            return Err(OpenError::Missing { service });
        }
        if self.missing(&applied)?.is_empty() {
            return Ok(());
        }
        let found = applied.last().map_or(0, |(number, _)| *number);
        Err(OpenError::Older {
            service,
            found,
            needed: self.newest(),
        })
    }

    fn unreachable(&self, error: sqlx::Error) -> OpenError {
        OpenError::Unreachable {
            service: self.service,
            source: DbError::of_row(error),
        }
    }
}

/// A name inside of SQL, where no bind can stand.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> OpenError {
    OpenError::File {
        action,
        path: path.display().to_string(),
        source,
    }
}

/// Waits for the lock file beside the database; sqlx has no lock of its own for SQLite.
async fn lock_beside(database: std::path::PathBuf) -> Result<File, OpenError> {
    let mut path = database.into_os_string();
    path.push(".migrate-lock");
    let path = std::path::PathBuf::from(path);
    let locked = tokio::task::spawn_blocking(move || {
        let open = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        open.and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        })
        .map_err(|source| file_error("lock", &path, source))
    });
    locked.await.unwrap_or_else(|error| {
        Err(OpenError::File {
            action: "lock",
            path: String::new(),
            source: std::io::Error::other(error),
        })
    })
}
