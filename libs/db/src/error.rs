//! What can go wrong with a database, as the questions that callers ask.

use std::sync::Arc;

use sqlx::error::ErrorKind;

use crate::unique::UniqueNames;

/// A statement, or a transaction, that failed.
#[derive(Debug, thiserror::Error)]
#[error("the database refused")]
pub struct DbError {
    #[source]
    source: sqlx::Error,
    /// The unique constraints that may have been violated; SQLite names columns, which two indexes may share.
    violated: Vec<Arc<str>>,
}

/// SQLSTATEs of Postgres after which the same transaction may succeed.
const TRANSIENT_STATES: [&str; 8] = [
    "40001", "40P01", "53300", "53400", "55P03", "57P01", "57P02", "57P03",
];
/// SQLSTATE class 08: the connection.
const CONNECTION_CLASS: &str = "08";
/// Primary result codes of SQLite after which it may: SQLITE_BUSY and SQLITE_LOCKED.
const TRANSIENT_CODES: [i32; 2] = [5, 6];
/// SQLSTATEs have five characters; the codes of SQLite have fewer.
const SQLSTATE_BYTES: usize = 5;
const UNDEFINED_TABLE: &str = "42P01";
const INVALID_CATALOG_NAME: &str = "3D000";
const SQLITE_CANTOPEN: &str = "14";
/// Extended codes of SQLite carry the primary one in their lowest byte.
const PRIMARY_CODE: i32 = 0xff;

impl DbError {
    pub(crate) fn new(source: sqlx::Error, names: &UniqueNames) -> Self {
        let violated = source
            .as_database_error()
            .filter(|error| error.kind() == ErrorKind::UniqueViolation)
            .map(|error| names.violated(error.constraint(), error.message()))
            .unwrap_or_default();
        Self { source, violated }
    }

    /// An error that no constraint can be behind.
    pub(crate) fn of_row(source: sqlx::Error) -> Self {
        Self {
            source,
            violated: Vec::new(),
        }
    }

    /// Whether the same transaction, tried again a moment later, may succeed.
    pub fn is_transient(&self) -> bool {
        let lost = matches!(
            self.source,
            sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
        );
        lost || self.code().is_some_and(|code| {
            TRANSIENT_STATES.contains(&code.as_str())
                || (code.len() == SQLSTATE_BYTES && code.starts_with(CONNECTION_CLASS))
                || (code.len() < SQLSTATE_BYTES
                    && code
                        .parse()
                        .is_ok_and(|code: i32| TRANSIENT_CODES.contains(&(code & PRIMARY_CODE))))
        })
    }

    /// Whether the unique constraint or index `name` was violated.
    ///
    /// Names are those of a `CREATE UNIQUE INDEX`, and for constraints within a table the ones that Postgres gives:
    /// `<table>_pkey`, `<table>_<columns>_key`.
    pub fn is_unique_violation_on(&self, name: &str) -> bool {
        self.violated.iter().any(|violated| &**violated == name)
    }

    /// Whether any unique constraint was violated.
    pub fn is_unique_violation(&self) -> bool {
        !self.violated.is_empty()
    }

    /// Whether a table does not exist.
    pub(crate) fn is_missing_table(&self) -> bool {
        self.source.as_database_error().is_some_and(|error| {
            error.code().as_deref() == Some(UNDEFINED_TABLE)
                || error.message().contains("no such table")
        })
    }

    /// Whether the database itself, or its file, does not exist.
    pub(crate) fn is_missing_database(&self) -> bool {
        self.code()
            .is_some_and(|code| code == INVALID_CATALOG_NAME || code == SQLITE_CANTOPEN)
    }

    fn code(&self) -> Option<String> {
        self.source
            .as_database_error()?
            .code()
            .map(std::borrow::Cow::into_owned)
    }
}

/// A database that cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none yet.
    #[error("the database of {service} is not there: run `sandgate init`")]
    Missing {
        /// Whose database.
        service: &'static str,
    },
    /// Its schema is older than this program.
    #[error(
        "the database of {service} has schema {found}, this program needs {needed}: run `sandgate init`"
    )]
    Older {
        /// Whose database.
        service: &'static str,
        /// The schema that it has.
        found: i64,
        /// The schema of this program.
        needed: i64,
    },
    /// Its schema is newer than this program.
    #[error(
        "the database of {service} has schema {found}, this program knows {needed}: use the newer program"
    )]
    Newer {
        /// Whose database.
        service: &'static str,
        /// The schema that it has.
        found: i64,
        /// The schema of this program.
        needed: i64,
    },
    /// A migration that ran is not the one of this program.
    #[error(
        "migration {number} of the database of {service} is not the one of this program: it belongs to another build"
    )]
    Foreign {
        /// Whose database.
        service: &'static str,
        /// The migration.
        number: i64,
    },
    /// The role may do more than a service should.
    #[error(
        "the role of {service} may {right}: give it a role of its own without that right, and name another for `sandgate init`"
    )]
    Powerful {
        /// Whose role.
        service: &'static str,
        /// The right that it should not have.
        right: &'static str,
    },
    /// It does not answer, or answered with an error.
    #[error("the database of {service} does not answer")]
    Unreachable {
        /// Whose database.
        service: &'static str,
        /// Why.
        #[source]
        source: DbError,
    },
    /// The file system refused.
    #[error("{action} {path}")]
    File {
        /// What was tried, as in `create`.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    /// Whether waiting may help: the database may be created, migrated, or started while the service stays up.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Unreachable { .. } => true,
            Self::Older { .. }
            | Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Powerful { .. }
            | Self::File { .. } => false,
        }
    }
}
