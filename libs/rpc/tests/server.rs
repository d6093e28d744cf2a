//! What every server of the mesh does with every call, seen from the other end of the wire.

use std::pin::Pin;
use std::time::Duration;

use sandgate_api::orchestrator::v1::endpoint_service_client::EndpointServiceClient;
use sandgate_api::orchestrator::v1::endpoint_service_server::{
    EndpointService, EndpointServiceServer,
};
use sandgate_api::orchestrator::v1::instance_service_client::InstanceServiceClient;
use sandgate_api::orchestrator::v1::instance_service_server::{
    InstanceService, InstanceServiceServer,
};
use sandgate_api::orchestrator::v1::{
    ReportActivityRequest, ReportActivityResponse, ReportInstanceRequest, ReportInstanceResponse,
    WatchEndpointsRequest, WatchEndpointsResponse,
};
use sandgate_rpc::{
    CALLER_METADATA, Caller, Channel, ChannelOptions, Deadline, Fault, Memory, Peer, Principal,
    Readiness, Reason, Role, Server, ServerOptions, Service, Shutdown, memory,
};
use sandgate_types::{ApiKeyId, TenantId};
use tokio_stream::Stream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

#[derive(Clone, Copy)]
enum Behaviour {
    Answers,
    Hangs,
    Panics,
    TellsDeadline,
}

struct Handler(Behaviour);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl EndpointService for Handler {
    type WatchEndpointsStream =
        Pin<Box<dyn Stream<Item = Result<WatchEndpointsResponse, Status>> + Send>>;

    async fn watch_endpoints(
        &self,
        _request: Request<WatchEndpointsRequest>,
    ) -> Reply<Self::WatchEndpointsStream> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }

    async fn report_activity(
        &self,
        request: Request<ReportActivityRequest>,
    ) -> Reply<ReportActivityResponse> {
        match self.0 {
            Behaviour::Answers => Ok(Response::new(ReportActivityResponse {})),
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Panics => panic!("secret"),
            Behaviour::TellsDeadline => {
                let own = request.extensions().get::<Deadline>().expect("a deadline");
                assert_eq!(Deadline::current().as_ref(), Some(own));
                Err(Fault::unavailable(
                    Reason::new("test", "LEFT"),
                    own.remaining().as_millis().to_string(),
                )
                .into())
            }
        }
    }
}

#[tonic::async_trait]
impl InstanceService for Handler {
    async fn report_instance(
        &self,
        request: Request<ReportInstanceRequest>,
    ) -> Reply<ReportInstanceResponse> {
        let caller = Caller::of(&request)?;
        let tenant = caller.tenant.expect("a tenant");
        Err(Fault::not_found(Reason::new("test", "TENANT"), tenant.as_str()).into())
    }
}

struct Running {
    pipe: Memory,
    shutdown: Shutdown,
    readiness: Readiness,
}

impl Running {
    fn start(behaviour: Behaviour) -> Self {
        let (listen, pipe) = memory();
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let server = Server::new(ServerOptions::new(readiness.clone()))
            .service(EndpointServiceServer::new(Handler(behaviour)))
            .service(InstanceServiceServer::new(Handler(behaviour)));
        let serving = shutdown.clone();
        shutdown.spawn("server", async move {
            server.serve(vec![listen], &serving).await.expect("serve");
        });
        Self {
            pipe,
            shutdown,
            readiness,
        }
    }

    fn channel(&self, peer: Peer) -> Channel {
        Channel::new(self.pipe.target(peer), ChannelOptions { retries: false })
    }

    fn endpoints(&self, peer: Service) -> EndpointServiceClient<Channel> {
        EndpointServiceClient::new(self.channel(Peer::Service(peer)))
    }

    async fn report(&self, timeout: Option<Duration>) -> Status {
        let mut request = Request::new(ReportActivityRequest::default());
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        self.endpoints(Service::AuthGateway)
            .report_activity(request)
            .await
            .expect_err("no answer")
    }
}

fn daemon(roles: Vec<Role>) -> Caller {
    Caller {
        tenant: Some(TenantId::parse("tenant", "acme").expect("a name")),
        user: None,
        may_name_users: false,
        roles,
        principal: Principal::ApiKey(
            ApiKeyId::parse("id", &format!("k{}", "a".repeat(25))).expect("an id"),
        ),
    }
}

async fn report_as(running: &Running, peer: Peer, caller: Option<&Caller>) -> Status {
    let mut request = Request::new(ReportInstanceRequest::default());
    if let Some(caller) = caller {
        let value = MetadataValue::from_bytes(&caller.to_bytes());
        request.metadata_mut().insert_bin(CALLER_METADATA, value);
    }
    InstanceServiceClient::new(running.channel(peer))
        .report_instance(request)
        .await
        .expect_err("the handler answers with a status")
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

#[tokio::test]
async fn a_service_that_the_rule_names_is_served() {
    let running = Running::start(Behaviour::Answers);
    running
        .endpoints(Service::AuthGateway)
        .report_activity(ReportActivityRequest::default())
        .await
        .expect("allowed");
}

#[tokio::test]
async fn a_service_that_the_rule_does_not_name_is_refused() {
    let running = Running::start(Behaviour::Answers);
    for service in [Service::Token, Service::StorageSync, Service::Orchestrator] {
        let status = running
            .endpoints(service)
            .report_activity(ReportActivityRequest::default())
            .await
            .expect_err("not named");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(reason(&status), "NOT_ALLOWED");
    }
}

#[tokio::test]
async fn a_peer_without_a_name_is_refused() {
    let running = Running::start(Behaviour::Answers);
    for peer in [Peer::Anonymous, Peer::Local] {
        let mut client = EndpointServiceClient::new(running.channel(peer));
        let status = client
            .report_activity(ReportActivityRequest::default())
            .await
            .expect_err("nobody");
        assert_eq!(status.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn a_caller_whom_the_gate_states_is_known_to_the_handler() {
    let running = Running::start(Behaviour::Answers);
    let gate = Peer::Service(Service::AuthGateway);
    let status = report_as(&running, gate.clone(), Some(&daemon(vec![Role::Daemon]))).await;
    assert_eq!(
        (reason(&status).as_str(), status.message()),
        ("TENANT", "acme")
    );
    let status = report_as(&running, gate.clone(), Some(&daemon(vec![Role::Caller]))).await;
    assert_eq!(status.code(), Code::PermissionDenied, "another role");
    let status = report_as(&running, gate, None).await;
    assert_eq!(status.code(), Code::PermissionDenied, "nobody was stated");
}

#[tokio::test]
async fn a_caller_whom_another_service_states_is_refused() {
    let running = Running::start(Behaviour::Answers);
    for peer in [Peer::Service(Service::Token), Peer::Local, Peer::Anonymous] {
        let status = report_as(&running, peer, Some(&daemon(vec![Role::Daemon]))).await;
        assert_eq!(reason(&status), "CALLER_FROM_OTHER_THAN_GATE");
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered_with_deadline_exceeded() {
    let running = Running::start(Behaviour::Hangs);
    let status = running.report(Some(Duration::from_millis(50))).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        reason(&status),
        "DEADLINE_EXCEEDED",
        "the server said so itself"
    );
}

#[tokio::test]
async fn a_handler_knows_what_is_left_of_its_callers_time() {
    let running = Running::start(Behaviour::TellsDeadline);
    let status = running.report(Some(Duration::from_secs(3))).await;
    let left: u128 = status.message().parse().expect("milliseconds");
    assert!((1..3_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_panic_is_internal_and_says_nothing() {
    let running = Running::start(Behaviour::Panics);
    let status = running.report(None).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "internal")
    );
}

#[tokio::test]
async fn a_stream_without_end_ends_with_its_server() {
    let running = Running::start(Behaviour::Answers);
    let mut stream = running
        .endpoints(Service::AuthGateway)
        .watch_endpoints(WatchEndpointsRequest {})
        .await
        .expect("a stream")
        .into_inner();
    running.shutdown.begin();
    let status = stream.message().await.expect_err("cut");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "SERVER_ENDING")
    );
    assert!(
        running.shutdown.join(Duration::from_secs(5)).await,
        "everything is joined"
    );
}

#[tokio::test]
async fn health_follows_readiness_and_needs_no_identity() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    let running = Running::start(Behaviour::Answers);
    let part = running.readiness.part("database");
    let mut client = HealthClient::new(running.channel(Peer::Anonymous));
    let mut changes = client
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch")
        .into_inner();
    let wanted = async |changes: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>,
                        status: ServingStatus| {
        while changes
            .message()
            .await
            .expect("a change")
            .expect("a change")
            .status()
            != status
        {}
    };
    wanted(&mut changes, ServingStatus::NotServing).await;
    part.ready();
    wanted(&mut changes, ServingStatus::Serving).await;
    part.missing("gone");
    wanted(&mut changes, ServingStatus::NotServing).await;
}
