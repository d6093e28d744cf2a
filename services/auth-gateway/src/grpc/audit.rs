//! Ships what is on disk to where everybody's records are collected.

use std::path::PathBuf;
use std::sync::Arc;

use sandgate_audit::{Shipped, ship_to};
use sandgate_rpc::{Part, Shutdown};

use crate::gate::Gate;

/// Ships until the shutdown begins; what is left then is shipped by the next start. While this start's
/// records cannot be collected, `part` says so.
pub(crate) async fn ship(gate: Arc<Gate>, folder: PathBuf, part: Part, shutdown: Shutdown) {
    part.ready();
    let tell = |shipped: Shipped<'_>| {
        match shipped {
        Shipped::Collected { writer, up_to } => {
            if writer == gate.records.writer() {
                gate.records.collected(up_to);
            }
        }
        // Of an earlier start, before a backup was restored for one: an error in the log, and no reason to refuse
        // everybody for ever.
        Shipped::Stuck(writers) if !writers.contains(&gate.records.writer()) => part.ready(),
        Shipped::Stuck(writers) => part.missing(format!(
            "audit records of {} cannot be collected; the log says why: mend it, or keep their segments elsewhere",
            writers.join(", ")
        )),
    }
    };
    ship_to(gate.services.orchestrator.clone(), folder, shutdown, tell).await;
}
