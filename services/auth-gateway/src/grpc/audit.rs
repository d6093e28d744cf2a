//! Ships what is on disk to where everybody's records are collected.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandgate_api::audit::v1 as pb;
use sandgate_api::audit::v1::audit_service_client::AuditServiceClient;
use sandgate_audit::Backlog;
use sandgate_rpc::Shutdown;

use crate::gate::Gate;

/// When there was nothing to ship.
const EVERY: Duration = Duration::from_millis(500);
/// After the collector was not there.
const AGAIN: Duration = Duration::from_secs(1);
/// Records of one batch; the contract takes twice as many.
const BATCH: usize = 500;

/// Ships until the shutdown begins; what is left then is shipped by the next start.
pub(crate) async fn ship(gate: Arc<Gate>, folder: PathBuf, shutdown: Shutdown) {
    let mut backlog = match Backlog::open(&folder) {
        Ok(backlog) => backlog,
        Err(error) => {
            tracing::error!(%error, "the audit log cannot be read, so it is not shipped");
            return;
        }
    };
    loop {
        let shipped = tokio::select! {
            () = shutdown.cancelled() => return,
            shipped = ship_once(&gate, &mut backlog) => shipped,
        };
        let wait = match shipped {
            Ok(true) => continue,
            Ok(false) => EVERY,
            Err(error) => {
                tracing::debug!(%error, "audit records could not be shipped");
                AGAIN
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Ships a batch; answers whether there was one.
async fn ship_once(gate: &Gate, backlog: &mut Backlog) -> io::Result<bool> {
    let Some(batch) = backlog.next(BATCH)? else {
        return Ok(false);
    };
    let request = pb::AppendRecordsRequest {
        records: batch.records,
    };
    let mut client = AuditServiceClient::new(gate.services.orchestrator.clone());
    let answered = client.append_records(request).await;
    let pb::AppendRecordsResponse { acknowledged } =
        answered.map_err(io::Error::other)?.into_inner();
    backlog.acknowledge(&batch.writer, acknowledged)?;
    if batch.writer == gate.records.writer() {
        gate.records.collected(acknowledged);
    }
    Ok(true)
}
