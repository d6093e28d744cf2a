//! The services that a session needs: storage-sync, token and orchestrator, through the gate.
//!
//! The one place, beside what the keeper serves, that names generated messages. What a peer says instead of an answer
//! becomes an error that tells what can be done about it.

mod error;
mod reports;
mod tokens;
mod versions;

pub(crate) use self::error::{PeerError, Trouble};
pub(crate) use self::reports::Reports;
pub(crate) use self::tokens::renew;
pub(crate) use self::versions::{Bringing, Brought, Versions};
