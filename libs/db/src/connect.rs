//! Pools and single connections, with the settings that the promises rest on.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, PgPool, SqlitePool};

/// How long a caller waits for its turn to write, or for a connection; then it is told to come back.
pub(crate) const TURN: Duration = Duration::from_secs(5);
/// Readers of one process.
const READERS: u32 = 4;
/// One writer, so that what a transaction read stays true.
const WRITERS: u32 = 1;
/// A name in `pg_stat_activity`.
const APPLICATION: &str = "sandgate";

/// How a SQLite file is opened; nothing is created here.
pub(crate) fn sqlite(path: &std::path::Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(TURN)
        .disable_statement_logging()
}

/// How a connection to Postgres is opened; `service` is its schema.
pub(crate) fn postgres(options: &PgConnectOptions, service: &'static str) -> PgConnectOptions {
    options
        .clone()
        .application_name(APPLICATION)
        .options([("search_path", service)])
        .disable_statement_logging()
}

pub(crate) async fn sqlite_writer(
    options: SqliteConnectOptions,
) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(WRITERS)
        .acquire_timeout(TURN)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
}

pub(crate) fn sqlite_readers(options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(TURN)
        .connect_lazy_with(options.pragma("query_only", "on"))
}

pub(crate) async fn postgres_writer(options: PgConnectOptions) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(WRITERS)
        .acquire_timeout(TURN)
        .connect_with(options)
        .await
}

pub(crate) fn postgres_readers(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(TURN)
        .connect_lazy_with(options)
}
