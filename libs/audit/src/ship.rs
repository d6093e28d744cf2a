//! Ships what is on disk to where everybody's records are collected.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use sandgate_api::audit::v1 as pb;

use crate::Backlog;

/// When there was nothing to ship.
const EVERY: Duration = Duration::from_millis(500);
/// After the collector was not there.
const AGAIN: Duration = Duration::from_secs(1);
/// Records of one batch; the contract takes twice as many.
const BATCH: usize = 500;

/// Ships what a folder of segments holds and will hold, until it is dropped; what is left then is shipped by the
/// next start. `send` hands a batch to the collector, and answers up to which number it has the writer's records.
pub async fn ship<F, E>(folder: &Path, mut send: impl FnMut(pb::AppendRecordsRequest) -> F)
where
    F: Future<Output = Result<pb::AppendRecordsResponse, E>>,
    E: std::fmt::Display,
{
    let mut backlog = match Backlog::open(folder) {
        Ok(backlog) => backlog,
        Err(error) => {
            tracing::error!(%error, "the audit log cannot be read, so it is not shipped");
            return;
        }
    };
    loop {
        let wait = match backlog.next(BATCH) {
            Ok(None) => EVERY,
            Ok(Some(batch)) => {
                let request = pb::AppendRecordsRequest {
                    records: batch.records,
                };
                match send(request).await {
                    Ok(answer) => match backlog.acknowledge(&batch.writer, answer.acknowledged) {
                        Ok(()) => continue,
                        Err(error) => failed(&error),
                    },
                    Err(error) => failed(&error),
                }
            }
            Err(error) => failed(&error),
        };
        tokio::time::sleep(wait).await;
    }
}

fn failed(error: &dyn std::fmt::Display) -> Duration {
    tracing::debug!(%error, "audit records could not be shipped");
    AGAIN
}
