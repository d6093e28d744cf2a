//! The gate, as a process of its own with one worker: real tokens of a real token service, a policy of a hundred
//! routes, limits and audit on, and a thousand instances in its feed.
//!
//! The bench stands in for the orchestrator and its backend, which the gate only hears of: it states which
//! instances live, makes their links, takes what is reported, and holds the keepers' ends.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::header::HeaderValue;
use sandgate_api::audit::v1 as audit;
use sandgate_api::audit::v1::audit_service_server::{AuditService, AuditServiceServer};
use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::endpoint_service_server::{
    EndpointService, EndpointServiceServer,
};
use sandgate_api::orchestrator::v1::watch_endpoints_response::Event;
use sandgate_api::token::v1 as token;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_e2e::mesh::Home;
use sandgate_e2e::minting::opening;
use sandgate_e2e::processes::{Plan, Process, Service};
use sandgate_e2e::tls;
use sandgate_testkit::{InstanceLink, send_link};
use sandgate_types::InstanceId;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use crate::load::{Asking, Clients, Kind};

/// What the sessions may call, among it the operations of the two routes that are asked for.
const OPERATIONS: [&str; 4] = ["lookup", "score", "mail", "files"];
/// Routes beside the two that are asked for.
const OTHER_ROUTES: usize = 98;
/// Instances in the gate's feed.
pub(crate) const INSTANCES: usize = 1_000;
/// Between two signs of life of the feed; a gate takes silence of 3 s for its end.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Until the gate serves.
const START_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The gate and what it needs; ended when dropped.
pub(crate) struct Ours {
    gate: Process,
    _token: Process,
    /// The keepers' ends of the serve sides, on which nobody asks anything.
    _serving: Vec<StdUnixStream>,
    _standing_in: JoinSet<anyhow::Result<()>>,
}

impl Ours {
    /// Starts the gate toward the backend at this port, and connects so many sandboxes.
    ///
    /// # Errors
    /// When a part does not start.
    pub(crate) async fn start(
        home: &Home,
        port: u16,
        connections: usize,
    ) -> anyhow::Result<(Self, Clients)> {
        let plan = Plan::new(home);
        let certificates = home.path().join("certificates");
        let policy = home.path().join("policy.yaml");
        std::fs::write(&policy, policy_text(port))?;
        let token_service = plan.token();
        let instances: Vec<token::MintSessionRequest> = (0..INSTANCES)
            .map(|number| opening(number, OPERATIONS))
            .collect();

        let mut standing_in = JoinSet::new();
        let listener = TcpListener::bind(&plan.orchestrator).await?;
        let (sender, accepted) = mpsc::channel(1);
        let folder = certificates.clone();
        standing_in
            .spawn(async move { tls::accept(listener, &folder, "orchestrator", sender).await });
        let orchestrator = Orchestrator(instances.iter().map(endpoint).collect());
        standing_in.spawn(async move {
            Ok(Server::builder()
                .add_service(EndpointServiceServer::new(orchestrator.clone()))
                .add_service(AuditServiceServer::new(orchestrator))
                .serve_with_incoming(ReceiverStream::new(accepted))
                .await?)
        });

        let links = UnixListener::bind(home.path().join("links/socket"))?;
        let gate = plan
            .launch(Service::Gate)
            .with("policy", &policy.display().to_string())
            .with("workers", "1")
            .with("sandbox-rate", "1000000")
            .start(None);
        let (to_gate, _from) = links.accept().await?;
        let mut serving = Vec::with_capacity(connections);
        let mut clients = Clients::default();
        let mut minting = minting(&plan.token, &certificates).await?;
        for opening in instances.iter().take(connections) {
            let instance = InstanceId::parse("instance", &opening.instance_id)?;
            let minted = minting.mint_session(opening.clone()).await?.into_inner();
            let tokens = minted.tokens.context("a pair of tokens")?;
            let shown = HeaderValue::try_from(format!("Bearer {}", tokens.agent_token))?;
            let (serve, keeper_serves) = StdUnixStream::pair()?;
            let (call, keeper_calls) = StdUnixStream::pair()?;
            let link = InstanceLink {
                instance,
                serve: serve.into(),
                call: call.into(),
            };
            send_link(&to_gate, &link).await?;
            serving.push(keeper_serves);
            keeper_calls.set_nonblocking(true)?;
            clients
                .add(UnixStream::from_std(keeper_calls)?, Arc::from([shown]))
                .await?;
        }
        // The links socket stays open: a gate that loses it asks for links anew.
        standing_in.spawn(async move {
            let _open = to_gate;
            std::future::pending().await
        });
        let ours = Self {
            gate,
            _token: token_service,
            _serving: serving,
            _standing_in: standing_in,
        };
        ours.serves(&clients).await?;
        Ok((ours, clients))
    }

    /// Waits until a call is answered on each connection.
    async fn serves(&self, clients: &Clients) -> anyhow::Result<()> {
        let asking = Asking::of(Kind::Unary, true);
        let mut looks = START_LIMIT.as_millis() / LOOK_EVERY.as_millis();
        while let Err(error) = clients.each_answers(&asking).await {
            looks -= 1;
            if looks == 0 {
                return Err(error.context(self.gate.log()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The gate's number.
    pub(crate) fn pid(&self) -> u32 {
        self.gate.pid()
    }
}

fn policy_text(port: u16) -> String {
    let upstream = format!("upstream: {{ url: 'http://127.0.0.1:{port}' }}");
    let identity = "identity: { headers: { x-tenant: tenant } }";
    let rate = "rate: { per_second: 1000000 }";
    let mut text = format!(
        "version: 1\nroutes:\n\
         - name: scores\n  grpc: {{ methods: [scores.v1.ScoreService/Score] }}\n  operation: score\n  {upstream}\n  {identity}\n  {rate}\n\
         - name: dictionary\n  http: {{ methods: [GET] }}\n  operation: lookup\n  {upstream}\n  {identity}\n  {rate}\n"
    );
    for number in 0..OTHER_ROUTES {
        text.push_str(&format!(
            "- name: other-{number}\n  http: {{ methods: [GET] }}\n  operation: other\n  {upstream}\n"
        ));
    }
    text
}

/// The token service, once it mints.
async fn minting(
    address: &str,
    certificates: &Path,
) -> anyhow::Result<TokenServiceClient<Channel>> {
    let try_once = async || {
        let channel = tls::channel(address, certificates, "orchestrator", "token").await?;
        let mut client = TokenServiceClient::new(channel);
        client.mint_session(opening(0, OPERATIONS)).await?;
        Ok::<_, anyhow::Error>(client)
    };
    let mut looks = START_LIMIT.as_millis() / LOOK_EVERY.as_millis();
    loop {
        match try_once().await {
            Ok(client) => return Ok(client),
            Err(error) if looks == 0 => return Err(error),
            Err(_) => looks -= 1,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn endpoint(opening: &token::MintSessionRequest) -> pb::Endpoint {
    pb::Endpoint {
        instance_id: opening.instance_id.clone(),
        state: pb::EndpointState::Live.into(),
        generation: opening.generation,
        sandbox_id: opening.sandbox_id.clone(),
        tenant: opening.tenant.clone(),
        user: opening.user.clone(),
        conversation: opening.conversation.clone(),
        session_id: opening.session_id.clone(),
        ports: Vec::new(),
    }
}

/// What the gate hears of the orchestrator: the instances that live, and thanks for records.
#[derive(Clone)]
struct Orchestrator(Arc<[pb::Endpoint]>);

type Watch = Pin<Box<dyn Stream<Item = Result<pb::WatchEndpointsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EndpointService for Orchestrator {
    type WatchEndpointsStream = Watch;

    async fn watch_endpoints(
        &self,
        _request: Request<pb::WatchEndpointsRequest>,
    ) -> Result<Response<Watch>, Status> {
        let mut events = vec![Event::Begin(pb::EndpointsBegin {})];
        events.extend(self.0.iter().cloned().map(Event::Endpoint));
        events.push(Event::Synced(pb::EndpointsSynced {}));
        let beats = tokio_stream::iter(std::iter::repeat(())).throttle(HEARTBEAT);
        let beats = beats.map(|()| Event::Heartbeat(pb::EndpointsHeartbeat {}));
        let stream = tokio_stream::iter(events)
            .chain(beats)
            .map(|event| Ok(pb::WatchEndpointsResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn report_activity(
        &self,
        _request: Request<pb::ReportActivityRequest>,
    ) -> Result<Response<pb::ReportActivityResponse>, Status> {
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
        Ok(Response::new(audit::AppendRecordsResponse { acknowledged }))
    }

    async fn list_records(
        &self,
        _request: Request<audit::ListRecordsRequest>,
    ) -> Result<Response<audit::ListRecordsResponse>, Status> {
        Err(Status::unimplemented("nobody reads them"))
    }
}
