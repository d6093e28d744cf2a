//! Records of decisions: hash-chained, in local segments that survive the process.
//!
//! A writer is one start of one service. Its records are numbered from one without gaps, and each carries the
//! hash of the one before, so that none can be changed or left out unseen. [`Log::append`] puts a record into
//! the chain; [`Receipt::durable`] ends when it is on disk, together with all that came at the same time.
//! [`Backlog`] reads what was written, by this start or an earlier one, and [`ship`] hands it to the collector.
//! [`Recording`] has a server's refusals on record before they are answered.
//!
//! A log that cannot be written refuses every record from then on: whoever decides must not go on.

mod backlog;
mod call;
mod log;
mod record;
mod recorded;
mod segment;
mod ship;

pub use backlog::{Backlog, Batch};
pub use log::{Log, OpenError, QUEUE_MAX, Receipt, Refused};
pub use record::{BrokenChain, Decision, Entry, HASH_BYTES, seal, verify};
pub use recorded::{Recorded, Recorder, Recording};
pub use sandgate_api::audit::v1::Record;
pub use ship::{Shipped, ship, ship_to};
