//! SQLite and Postgres behind one set of calls: connections, migrations under a lock, errors.
//!
//! One SQL text serves both databases: `$1` binds, values of TEXT, BIGINT and BYTEA, no arrays, no `now()`, no
//! JSON operators. What a write transaction has read stays true until it commits, on both: there is one writer at
//! a time. A start never migrates; a database of another schema is refused by number.
//!
//! ```text
//! const ADD: &str = "INSERT INTO keys (key_id, secret, added_at) VALUES ($1, $2, $3)";
//!
//! let database = Database::open(&url, &MIGRATIONS).await?;
//! let mut write = database.begin_write().await?;
//! write.execute(ADD, params![id.as_str(), secret, clock.now()]).await?;
//! write.commit().await?;
//! let row = database.fetch_optional("SELECT added_at FROM keys WHERE key_id = $1", params![id.as_str()]).await?;
//! let at: Option<Timestamp> = row.map(|row| row.get("added_at")).transpose()?;
//! ```

mod admin;
mod connect;
mod database;
mod error;
mod migrate;
mod query;
mod row;
mod transaction;
mod unique;
mod url;
mod value;

pub use admin::Admin;
pub use database::Database;
pub use error::{DbError, OpenError};
pub use migrate::{Migration, Migrations};
pub use row::{Column, Row};
pub use transaction::{Read, Write};
pub use url::DatabaseUrl;
pub use value::Value;
