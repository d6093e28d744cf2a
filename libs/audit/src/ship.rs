//! Ships what is on disk to where everybody's records are collected.
//!
//! Each writer's records go by themselves: one whose segments cannot be read, or whose records the collector
//! refuses, keeps no other's back.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandgate_api::audit::v1 as pb;
use sandgate_api::audit::v1::audit_service_client::AuditServiceClient;
use sandgate_rpc::{Channel, Shutdown};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::Backlog;

/// When there was nothing to ship.
const EVERY: Duration = Duration::from_millis(500);
/// After the collector was not there.
const AGAIN: Duration = Duration::from_secs(1);
/// A writer that is stuck is tried again after this long: somebody may have mended what holds it.
const STUCK_AGAIN: Duration = Duration::from_secs(30);
/// After a batch that was not full: what comes meanwhile is one batch, where each record alone would cost as much.
const GATHER: Duration = Duration::from_millis(100);
/// Records of one batch; the contract takes no more.
const BATCH: usize = 1_000;

/// What becomes of records, for whoever wants to know.
#[derive(Debug)]
pub enum Shipped<'a> {
    /// The collector has a writer's records up to a number.
    Collected {
        /// The writer.
        writer: &'a str,
        /// The number.
        up_to: i64,
    },
    /// The writers whose records stay here until somebody mends it; told when they change.
    Stuck(Vec<&'a str>),
}

/// Why a writer's next records were not shipped.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error("the segments cannot be read: {0}")]
    Disk(#[from] io::Error),
    #[error("the collector refuses the records: {0}")]
    Refused(Status),
    #[error("the collector has no more of them than before")]
    NoProgress,
    #[error("the collector is not there: {0}")]
    Away(Status),
}

/// Ships to the collector of the mesh until the end begins, and tells what becomes of it.
pub async fn ship_to(
    collector: Channel,
    folder: PathBuf,
    shutdown: Shutdown,
    tell: impl FnMut(Shipped<'_>),
) {
    let send = |batch| {
        let mut client = AuditServiceClient::new(collector.clone());
        async move { Ok(client.append_records(batch).await?.into_inner()) }
    };
    tokio::select! {
        () = ship(&folder, send, tell) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Ships what a folder of segments holds and will hold, until it is dropped; what is left then is shipped by the
/// next start. `send` hands a batch to the collector, and answers up to which number it has the writer's records.
pub async fn ship<F>(
    folder: &Path,
    mut send: impl FnMut(pb::AppendRecordsRequest) -> F,
    mut tell: impl FnMut(Shipped<'_>),
) where
    F: Future<Output = Result<pb::AppendRecordsResponse, Status>>,
{
    let mut backlog = match Backlog::open(folder) {
        Ok(backlog) => backlog,
        Err(error) => {
            tracing::error!(%error, "the audit log cannot be read, so it is not shipped");
            return;
        }
    };
    let mut stuck = BTreeMap::new();
    loop {
        let wait = round(&mut backlog, &mut stuck, &mut send, &mut tell).await;
        tokio::time::sleep(wait).await;
    }
}

/// Gives each writer a turn, and answers how long to wait for the next.
async fn round<F>(
    backlog: &mut Backlog,
    stuck: &mut BTreeMap<String, Instant>,
    send: &mut impl FnMut(pb::AppendRecordsRequest) -> F,
    tell: &mut impl FnMut(Shipped<'_>),
) -> Duration
where
    F: Future<Output = Result<pb::AppendRecordsResponse, Status>>,
{
    let writers = match backlog.writers() {
        Ok(writers) => writers,
        Err(error) => {
            tracing::debug!(%error, "the folder of the audit log could not be read");
            return AGAIN;
        }
    };
    let mut wait = EVERY;
    let before: Vec<String> = stuck.keys().cloned().collect();
    stuck.retain(|writer, _| writers.contains(writer));
    for writer in writers {
        let now = Instant::now();
        if stuck.get(&writer).is_some_and(|until| now < *until) {
            continue;
        }
        match ship_one(backlog, &writer, send).await {
            Ok(None) => drop(stuck.remove(&writer)),
            Ok(Some((up_to, is_full))) => {
                stuck.remove(&writer);
                wait = wait.min(if is_full { Duration::ZERO } else { GATHER });
                tell(Shipped::Collected {
                    writer: &writer,
                    up_to,
                });
            }
            Err(Hindrance::Away(status)) => {
                tracing::debug!(%status, "audit records could not be shipped");
                wait = AGAIN;
                break;
            }
            Err(why @ (Hindrance::Disk(_) | Hindrance::Refused(_) | Hindrance::NoProgress)) => {
                if stuck.insert(writer.clone(), now + STUCK_AGAIN).is_none() {
                    tracing::error!(writer, %why, "a writer's audit records stay here");
                }
            }
        }
    }
    if !stuck.keys().eq(before.iter()) {
        tell(Shipped::Stuck(stuck.keys().map(String::as_str).collect()));
    }
    wait
}

/// Ships a writer's next batch, and answers up to which number the collector has its records, and whether there may
/// be more; nothing when there was none.
async fn ship_one<F>(
    backlog: &mut Backlog,
    writer: &str,
    send: &mut impl FnMut(pb::AppendRecordsRequest) -> F,
) -> Result<Option<(i64, bool)>, Hindrance>
where
    F: Future<Output = Result<pb::AppendRecordsResponse, Status>>,
{
    let records = backlog.next_of(writer, BATCH)?;
    let Some(first) = records.first().map(|record| record.sequence) else {
        return Ok(None);
    };
    let is_full = records.len() == BATCH;
    let sent = send(pb::AppendRecordsRequest { records }).await;
    let pb::AppendRecordsResponse { acknowledged } = sent.map_err(hindrance_of)?;
    if acknowledged < first {
        return Err(Hindrance::NoProgress);
    }
    backlog.acknowledge(writer, acknowledged)?;
    Ok(Some((acknowledged, is_full)))
}

/// Whether it is the records that are refused, or the collector that is not there.
fn hindrance_of(status: Status) -> Hindrance {
    match status.code() {
        Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::DataLoss => Hindrance::Refused(status),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::Unauthenticated => Hindrance::Away(status),
    }
}
