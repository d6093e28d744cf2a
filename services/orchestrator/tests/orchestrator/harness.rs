//! An orchestrator under test.

mod asker;
mod refusal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::audit::v1::audit_service_client::AuditServiceClient;
use sandgate_api::orchestrator::v1 as pb;
use sandgate_api::orchestrator::v1::endpoint_service_client::EndpointServiceClient;
use sandgate_api::orchestrator::v1::instance_service_client::InstanceServiceClient;
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_api::orchestrator::v1::template_service_client::TemplateServiceClient;
use sandgate_backend::Backend;
use sandgate_db::DatabaseUrl;
use sandgate_orchestrator::{Config, Limits, Ports, Templates, migrate, serve};
use sandgate_rpc::{Channel, ChannelOptions, Memory, Peer, Service, Shutdown, memory};
use sandgate_testkit::TestClock;
use sandgate_types::{Timestamp, VersionId};
use tonic::{Request, Status};

use self::asker::by;
pub(crate) use self::asker::{Asker, Run};
pub(crate) use self::refusal::{fields, meta, reason, violations};
use crate::backend::FakeBackend;
use crate::peers::FakePeers;

pub(crate) const END: Duration = Duration::from_secs(20);
pub(crate) const TEMPLATES: &str = "
version: 1
templates:
  - { name: default, default_ttl: 1h, max_ttl: 2h, idle_timeout: 30m }
  - { name: other }
  - { name: short, session_max: 60s }
";

/// What outlives an orchestrator.
type World = (
    Arc<FakeBackend>,
    FakePeers,
    TestClock,
    DatabaseUrl,
    Arc<tempfile::TempDir>,
);

/// An orchestrator, its world, and a client of it.
pub(crate) struct Harness {
    pub(crate) backend: Arc<FakeBackend>,
    pub(crate) peers: FakePeers,
    pub(crate) clock: TestClock,
    pub(crate) asker: Asker,
    pipe: Memory,
    channel: Channel,
    shutdown: Shutdown,
    peers_end: Shutdown,
    served: Arc<Mutex<Option<tokio::sync::oneshot::Receiver<()>>>>,
    url: DatabaseUrl,
    _folder: Arc<tempfile::TempDir>,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_with(FakeBackend::new(), FakePeers::new()).await
    }

    pub(crate) async fn start_with(backend: FakeBackend, peers: FakePeers) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = DatabaseUrl::sqlite(folder.path().join("orchestrator.db"));
        migrate(&url, Timestamp::EPOCH).await.expect("migrations");
        let clock = TestClock::new();
        let world = (Arc::new(backend), peers, clock, url, Arc::new(folder));
        Self::over(world, TEMPLATES).await
    }

    async fn over(world: World, templates: &str) -> Self {
        let (backend, peers, clock, url, folder) = world;
        let peers_end = Shutdown::new();
        let target = peers.serve(&peers_end);
        let (listen, pipe) = memory();
        let mut config = Config::new(url.clone());
        config.templates = Templates::parse(templates).expect("templates");
        config.limits = Limits {
            sweep: Duration::from_millis(5),
            reconcile: Duration::from_millis(50),
            drain: END,
            ..Limits::default()
        };
        let ports = Ports {
            mesh: vec![listen],
            backend: Arc::clone(&backend) as Arc<dyn Backend>,
            token: target.clone(),
            storage: target.clone(),
            gate: target,
        };
        let shutdown = Shutdown::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (end, times) = (shutdown.clone(), clock.shared());
        shutdown.spawn("orchestrator", async move {
            serve(config, ports, times, end).await.expect("it serves");
            let _left = sender.send(());
        });
        let channel = Channel::new(
            pipe.target(Peer::Service(Service::AuthGateway)),
            ChannelOptions::default(),
        );
        let harness = Self {
            backend,
            peers,
            clock,
            asker: Asker::new("acme", "ann"),
            pipe,
            channel,
            shutdown,
            peers_end,
            served: Arc::new(Mutex::new(Some(receiver))),
            url,
            _folder: folder,
        };
        harness.wait_until_ready().await;
        harness
    }

    async fn wait_until_ready(&self) {
        let ready = async {
            while let Err(status) = self.list(pb::ListSandboxesRequest::default()).await {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(END, ready)
            .await
            .expect("ready in time");
    }

    /// Another orchestrator on the same database and backend, which works at the same time.
    pub(crate) async fn beside(&self) -> Self {
        let (backend, peers) = (Arc::clone(&self.backend), self.peers.clone());
        let (clock, url) = (self.clock.clone(), self.url.clone());
        let world = (backend, peers, clock, url, Arc::clone(&self._folder));
        Self::over(world, TEMPLATES).await
    }

    /// Ends the orchestrator as Ctrl-C would, and starts another on its database.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// As [`Self::restart`], with other templates from then on.
    pub(crate) async fn restart_with(self, templates: &str) -> Self {
        Self::over(self.end(|_| {}).await, templates).await
    }

    /// As [`Self::restart`], with something that happens to the backend between the two.
    pub(crate) async fn restart_after(self, between: impl FnOnce(&FakeBackend)) -> Self {
        Self::over(self.end(between).await, TEMPLATES).await
    }

    async fn end(self, between: impl FnOnce(&FakeBackend)) -> World {
        self.shutdown.begin();
        let served = self.served.lock().take().expect("it runs");
        tokio::time::timeout(END, served)
            .await
            .expect("it ends in time")
            .expect("it served");
        self.peers_end.begin();
        between(&self.backend);
        (self.backend, self.peers, self.clock, self.url, self._folder)
    }

    pub(crate) fn as_user(&self, tenant: &str, user: &str) -> Self {
        self.as_asker(Asker::new(tenant, user))
    }

    pub(crate) fn as_asker(&self, asker: Asker) -> Self {
        Self {
            backend: Arc::clone(&self.backend),
            peers: self.peers.clone(),
            clock: self.clock.clone(),
            asker,
            pipe: self.pipe.clone(),
            channel: self.channel.clone(),
            shutdown: self.shutdown.clone(),
            peers_end: self.peers_end.clone(),
            served: Arc::clone(&self.served),
            url: self.url.clone(),
            _folder: Arc::clone(&self._folder),
        }
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        by(message, &self.asker.0)
    }

    pub(crate) fn sandboxes(&self) -> SandboxServiceClient<Channel> {
        SandboxServiceClient::new(self.channel.clone())
    }

    pub(crate) fn templates(&self) -> TemplateServiceClient<Channel> {
        TemplateServiceClient::new(self.channel.clone())
    }

    pub(crate) fn endpoints(&self) -> EndpointServiceClient<Channel> {
        EndpointServiceClient::new(self.channel.clone())
    }

    pub(crate) fn audit_as(&self, service: Service) -> AuditServiceClient<Channel> {
        let target = self.pipe.target(Peer::Service(service));
        AuditServiceClient::new(Channel::new(target, ChannelOptions::default()))
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn create(
        &self,
        request: pb::CreateSandboxRequest,
    ) -> Result<pb::CreateSandboxResponse, Status> {
        let answer = self
            .sandboxes()
            .create_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner())
    }

    pub(crate) async fn ready(&self, conversation: &str) -> pb::Sandbox {
        let created = self.create(of(conversation)).await.expect("created");
        let sandbox = created.sandbox.expect("a sandbox");
        assert_eq!(sandbox.phase(), pb::Phase::Ready);
        sandbox
    }

    pub(crate) async fn get(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::GetSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = self.sandboxes().get_sandbox(self.request(request)).await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    pub(crate) async fn list(
        &self,
        request: pb::ListSandboxesRequest,
    ) -> Result<pb::ListSandboxesResponse, Status> {
        Ok(self
            .sandboxes()
            .list_sandboxes(self.request(request))
            .await?
            .into_inner())
    }

    pub(crate) async fn delete(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::DeleteSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = self
            .sandboxes()
            .delete_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    pub(crate) async fn suspend(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::SuspendSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = self
            .sandboxes()
            .suspend_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    pub(crate) async fn resume(&self, sandbox_id: &str) -> Result<pb::Sandbox, Status> {
        let request = pb::ResumeSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
            ..Default::default()
        };
        let answer = self
            .sandboxes()
            .resume_sandbox(self.request(request))
            .await?;
        Ok(answer.into_inner().sandbox.expect("a sandbox"))
    }

    /// Waits until a sandbox is in a phase; the caller's wait is bounded by the test's own.
    pub(crate) async fn until(&self, sandbox_id: &str, phase: pb::Phase) -> pb::Sandbox {
        let there = async {
            loop {
                let sandbox = self.get(sandbox_id).await.expect("readable");
                if sandbox.phase() == phase {
                    return sandbox;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(END, there)
            .await
            .unwrap_or_else(|_| panic!("never {phase:?}"))
    }

    /// What a keeper reports through the gate.
    pub(crate) async fn report(
        &self,
        run: &Run,
        event: pb::report_instance_request::Event,
    ) -> Result<(), Status> {
        let request = pb::ReportInstanceRequest { event: Some(event) };
        let caller = run.caller(&self.asker.0);
        InstanceServiceClient::new(self.channel.clone())
            .report_instance(by(request, &caller))
            .await?;
        Ok(())
    }
}

/// A create that waits for READY.
pub(crate) fn of(conversation: &str) -> pb::CreateSandboxRequest {
    pb::CreateSandboxRequest {
        conversation: conversation.to_owned(),
        user: String::new(),
        template: String::new(),
        ttl: None,
        idle_timeout: None,
        labels: HashMap::new(),
        environment: HashMap::new(),
        operations: None,
        wait: pb::Wait::Ready.into(),
        request_id: String::new(),
    }
}

pub(crate) fn version(seed: u64) -> String {
    VersionId::random(&mut StdRng::seed_from_u64(seed))
        .as_str()
        .to_owned()
}

pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
