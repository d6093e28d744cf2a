//! What tests share: a clock to move, a fresh database, captured events, servers joined without ports.
//!
//! Nothing in here changes what production code does; it only stands where a machine would stand.

mod claims;
mod clock;
mod config;
mod database;
mod events;

pub use claims::claims;
pub use clock::TestClock;
pub use database::{Fresh, PostgresUrls, each_database, postgres, postgres_urls, sqlite};
pub use events::Events;
// How a backend hands links to a gate: for benches that stand in for one.
pub use sandgate_session::link::{InstanceLink, send_link};
