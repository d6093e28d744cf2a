//! An orchestrator that the test controls: the feed of instances, and what is reported to it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_api::audit::v1 as audit;
use sandgate_api::audit::v1::audit_service_server::{AuditService, AuditServiceServer};
use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::endpoint_service_server::{
    EndpointService, EndpointServiceServer,
};
use sandgate_api::orchestrator::v1::watch_endpoints_response::Event;
use sandgate_rpc::{Peer, Readiness, Server, ServerOptions, Service, Shutdown, Target, memory};
use sandgate_session::Claims;
use sandgate_types::InstanceId;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{Shared, soon};

#[derive(Clone)]
pub(crate) struct Orchestrator {
    endpoints: Shared<BTreeMap<String, pb::Endpoint>>,
    watchers: Shared<Vec<mpsc::UnboundedSender<pb::WatchEndpointsResponse>>>,
    pub(crate) records: Shared<Vec<audit::Record>>,
    pub(crate) activities: Shared<Vec<pb::Activity>>,
    /// Rung when something was reported.
    reported: Arc<watch::Sender<u64>>,
}

/// Between two signs of life of the feed; a gate takes silence of 3 s for its end.
const HEARTBEAT: Duration = Duration::from_millis(200);

impl Orchestrator {
    pub(crate) fn start(shutdown: &Shutdown) -> (Self, Target) {
        let orchestrator = Self {
            endpoints: Arc::new(Mutex::default()),
            watchers: Arc::new(Mutex::default()),
            records: Arc::new(Mutex::default()),
            activities: Arc::new(Mutex::default()),
            reported: Arc::default(),
        };
        let (listen, target) = memory();
        let server = Server::new(ServerOptions::new(Readiness::new()))
            .service(EndpointServiceServer::new(orchestrator.clone()))
            .service(AuditServiceServer::new(orchestrator.clone()));
        let ending = shutdown.clone();
        shutdown.spawn("orchestrator", async move {
            server.serve(vec![listen], &ending).await.expect("serve");
        });
        let (beating, ending) = (orchestrator.clone(), shutdown.clone());
        shutdown.spawn("heartbeats", async move {
            let mut beats = tokio::time::interval(HEARTBEAT);
            loop {
                tokio::select! {
                    () = ending.cancelled() => return,
                    _beat = beats.tick() => beating.tell(Event::Heartbeat(pb::EndpointsHeartbeat {})),
                }
            }
        });
        (
            orchestrator,
            target.target(Peer::Service(Service::AuthGateway)),
        )
    }

    /// Waits until what was reported satisfies the test.
    pub(crate) async fn hears(&self, satisfied: impl Fn(&Self) -> bool) {
        let mut reported = self.reported.subscribe();
        while !satisfied(self) {
            let rung = soon(reported.changed()).await;
            rung.expect("the orchestrator outlives the test");
        }
    }

    fn ring(&self) {
        self.reported.send_modify(|number| *number += 1);
    }

    fn tell(&self, event: Event) {
        let message = pb::WatchEndpointsResponse { event: Some(event) };
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| watcher.send(message.clone()).is_ok());
    }

    /// States what the instance of these claims is.
    pub(crate) fn set(&self, claims: &Claims, state: pb::EndpointState, generation: i64) {
        let endpoint = pb::Endpoint {
            instance_id: claims.instance.as_str().to_owned(),
            state: state.into(),
            generation,
            sandbox_id: claims.sandbox.as_str().to_owned(),
            tenant: claims.tenant.as_str().to_owned(),
            user: claims.user.as_str().to_owned(),
            conversation: claims.conversation.as_str().to_owned(),
            session_id: claims.session.as_str().to_owned(),
            ports: Vec::new(),
        };
        let mut endpoints = self.endpoints.lock();
        endpoints.insert(endpoint.instance_id.clone(), endpoint.clone());
        self.tell(Event::Endpoint(endpoint));
    }

    pub(crate) fn live(&self, claims: &Claims) {
        self.set(claims, pb::EndpointState::Live, claims.generation.get());
    }

    pub(crate) fn ending(&self, claims: &Claims) {
        self.set(claims, pb::EndpointState::Ending, claims.generation.get());
    }

    pub(crate) fn remove(&self, instance: &InstanceId) {
        self.endpoints.lock().remove(instance.as_str());
        self.tell(Event::RemovedInstanceId(instance.as_str().to_owned()));
    }
}

type Watch = Pin<Box<dyn Stream<Item = Result<pb::WatchEndpointsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EndpointService for Orchestrator {
    type WatchEndpointsStream = Watch;

    async fn watch_endpoints(
        &self,
        _request: Request<pb::WatchEndpointsRequest>,
    ) -> Result<Response<Watch>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let endpoints = self.endpoints.lock();
        let mut events = vec![Event::Begin(pb::EndpointsBegin {})];
        events.extend(endpoints.values().cloned().map(Event::Endpoint));
        events.push(Event::Synced(pb::EndpointsSynced {}));
        for event in events {
            let message = pb::WatchEndpointsResponse { event: Some(event) };
            sender.send(message).expect("it is open");
        }
        self.watchers.lock().push(sender);
        let stream = UnboundedReceiverStream::new(receiver).map(Ok);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report_activity(
        &self,
        request: Request<pb::ReportActivityRequest>,
    ) -> Result<Response<pb::ReportActivityResponse>, Status> {
        self.activities
            .lock()
            .extend(request.into_inner().activities);
        self.ring();
        Ok(Response::new(pb::ReportActivityResponse {}))
    }
}

#[tonic::async_trait]
impl AuditService for Orchestrator {
    async fn append_records(
        &self,
        request: Request<audit::AppendRecordsRequest>,
    ) -> Result<Response<audit::AppendRecordsResponse>, Status> {
        let records = request.into_inner().records;
        let acknowledged = records.last().map_or(0, |record| record.sequence);
        self.records.lock().extend(records);
        self.ring();
        Ok(Response::new(audit::AppendRecordsResponse { acknowledged }))
    }

    async fn list_records(
        &self,
        _request: Request<audit::ListRecordsRequest>,
    ) -> Result<Response<audit::ListRecordsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
