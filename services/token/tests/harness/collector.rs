//! The collector of audit records, as the orchestrator is one: keeps what comes, in order.

use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_api::audit::v1 as pb;
use sandgate_api::audit::v1::audit_service_server::{AuditService, AuditServiceServer};
use sandgate_audit::verify;
use sandgate_rpc::{
    Memory, Peer, Readiness, Server, ServerOptions, Service, Shutdown, Target, memory,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::LIMIT;

/// What was collected so far.
#[derive(Clone)]
pub(crate) struct Collector {
    records: Arc<Mutex<Vec<pb::Record>>>,
    count: watch::Sender<usize>,
    pipe: Memory,
}

impl Collector {
    pub(crate) fn start(shutdown: &Shutdown) -> Self {
        let (listen, pipe) = memory();
        let collector = Self {
            records: Arc::default(),
            count: watch::Sender::new(0),
            pipe,
        };
        let readiness = Readiness::new();
        readiness.part("collector").ready();
        let server = Server::new(ServerOptions::new(readiness))
            .service(AuditServiceServer::new(collector.clone()));
        let ending = shutdown.clone();
        shutdown.spawn("collector", async move {
            server
                .serve(vec![listen], &ending)
                .await
                .expect("it serves");
        });
        collector
    }

    pub(crate) fn target(&self) -> Target {
        self.pipe.target(Peer::Service(Service::Token))
    }

    /// Waits for a record of this action and decision, and answers it.
    pub(crate) async fn has(&self, action: &str, decision: pb::Decision) -> pb::Record {
        let mut count = self.count.subscribe();
        let found = async {
            loop {
                let found = self
                    .records
                    .lock()
                    .iter()
                    .find(|record| record.action == action && record.decision() == decision)
                    .cloned();
                if let Some(record) = found {
                    return record;
                }
                count.changed().await.expect("it collects");
            }
        };
        tokio::time::timeout(LIMIT, found)
            .await
            .unwrap_or_else(|_| panic!("{action} {decision:?} in {:?}", self.records.lock()))
    }

    /// All records so far, each writer's chain whole.
    pub(crate) fn all(&self) -> Vec<pb::Record> {
        self.records.lock().clone()
    }
}

#[tonic::async_trait]
impl AuditService for Collector {
    async fn append_records(
        &self,
        request: Request<pb::AppendRecordsRequest>,
    ) -> Result<Response<pb::AppendRecordsResponse>, Status> {
        let pb::AppendRecordsRequest { records } = request.into_inner();
        let last = records.last().expect("a batch is never empty").clone();
        let mut all = self.records.lock();
        let known: Vec<pb::Record> = all
            .iter()
            .filter(|record| record.writer == last.writer)
            .cloned()
            .collect();
        let fresh: Vec<pb::Record> = records
            .into_iter()
            .filter(|record| !known.contains(record))
            .collect();
        let chain = [known, fresh.clone()].concat();
        verify([0; sandgate_audit::HASH_BYTES], &chain).expect("a chain that is whole");
        all.extend(fresh);
        self.count.send_replace(all.len());
        Ok(Response::new(pb::AppendRecordsResponse {
            acknowledged: last.sequence,
        }))
    }

    async fn list_records(
        &self,
        _request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        Err(Status::unimplemented("nobody lists here"))
    }
}
