//! An orchestrator under test.

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
use sandgate_rpc::{
    CALLER_METADATA, Caller, Channel, ChannelOptions, Memory, Peer, Principal, Role, Service,
    SessionCaller, Shutdown, memory,
};
use sandgate_testkit::TestClock;
use sandgate_types::{
    ApiKeyId, ConversationId, Generation, InstanceId, SandboxId, SessionId, TenantId, Timestamp,
    TokenId, UserId, VersionId,
};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use crate::backend::FakeBackend;
use crate::peers::FakePeers;

const END: Duration = Duration::from_secs(20);
pub(crate) const TEMPLATES: &str = "
version: 1
templates:
  - { name: default, default_ttl: 1h, max_ttl: 2h, idle_timeout: 30m }
  - { name: other }
  - { name: short, session_max: 60s }
";

/// Who asks.
#[derive(Clone)]
pub(crate) struct Asker(Caller);

impl Asker {
    pub(crate) fn new(tenant: &str, user: &str) -> Self {
        Self::with(tenant, Some(user), false)
    }

    pub(crate) fn application(tenant: &str) -> Self {
        Self::with(tenant, None, true)
    }

    pub(crate) fn without_operator(mut self) -> Self {
        self.0.roles.retain(|role| *role != Role::Operator);
        self
    }

    /// As records name it.
    pub(crate) fn principal(&self) -> String {
        match &self.0.principal {
            Principal::ApiKey(key) => key.as_str().to_owned(),
            other @ (Principal::Session(_) | Principal::Service(_)) => panic!("no key: {other:?}"),
        }
    }

    fn with(tenant: &str, user: Option<&str>, may_name_users: bool) -> Self {
        let key = tenant.len() * 31 + user.map_or(0, str::len);
        Self(Caller {
            tenant: Some(TenantId::parse("tenant", tenant).expect("valid")),
            user: user.map(|user| UserId::parse("user", user).expect("valid")),
            may_name_users,
            roles: vec![Role::Caller, Role::Operator],
            principal: Principal::ApiKey(ApiKeyId::random(&mut StdRng::seed_from_u64(key as u64))),
        })
    }
}

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
        Self::over(Arc::new(backend), peers, clock, url, Arc::new(folder)).await
    }

    async fn over(
        backend: Arc<FakeBackend>,
        peers: FakePeers,
        clock: TestClock,
        url: DatabaseUrl,
        folder: Arc<tempfile::TempDir>,
    ) -> Self {
        let peers_end = Shutdown::new();
        let target = peers.serve(&peers_end);
        let (listen, pipe) = memory();
        let mut config = Config::new(url.clone());
        config.templates = Templates::parse(TEMPLATES).expect("templates");
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

    /// Ends the orchestrator as Ctrl-C would, and starts another on its database.
    pub(crate) async fn restart(self) -> Self {
        self.shutdown.begin();
        let served = self.served.lock().take().expect("it runs");
        tokio::time::timeout(END, served)
            .await
            .expect("it ends in time")
            .expect("it served");
        self.peers_end.begin();
        Self::over(self.backend, self.peers, self.clock, self.url, self._folder).await
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

/// A keeper's session.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) sandbox: String,
    pub(crate) instance: String,
    pub(crate) generation: i64,
}

impl Run {
    pub(crate) fn of(sandbox: &pb::Sandbox) -> Self {
        let instance = sandbox.instance.as_ref().expect("it runs");
        Self {
            sandbox: sandbox.sandbox_id.clone(),
            instance: instance.instance_id.clone(),
            generation: instance.generation,
        }
    }

    pub(crate) fn instance(&self) -> InstanceId {
        InstanceId::parse("instance_id", &self.instance).expect("an id")
    }

    fn caller(&self, asker: &Caller) -> Caller {
        let mut rng = StdRng::seed_from_u64(3);
        Caller {
            roles: vec![Role::Daemon],
            principal: Principal::Session(SessionCaller {
                session: SessionId::random(&mut rng),
                sandbox: SandboxId::parse("sandbox_id", &self.sandbox).expect("an id"),
                instance: self.instance(),
                generation: Generation::parse("generation", self.generation).expect("a generation"),
                conversation: ConversationId::parse("conversation", "c").expect("valid"),
                token: TokenId::random(&mut rng),
            }),
            ..asker.clone()
        }
    }
}

fn by<T>(message: T, caller: &Caller) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(END);
    let value = MetadataValue::from_bytes(&caller.to_bytes());
    request.metadata_mut().insert_bin(CALLER_METADATA, value);
    request
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

/// The `ErrorInfo.reason` of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// What the `ErrorInfo` of a refusal says under `key`.
pub(crate) fn meta(status: &Status, key: &str) -> String {
    use tonic_types::StatusExt as _;
    let info = status.get_details_error_info().expect("ErrorInfo");
    info.metadata.get(key).cloned().unwrap_or_default()
}

/// Each field that a refusal names, with the rule.
pub(crate) fn violations(status: &Status) -> Vec<(String, String)> {
    use tonic_types::StatusExt as _;
    let request = status
        .get_details_bad_request()
        .map(|details| details.field_violations);
    request
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// The fields that a refusal names.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    violations(status)
        .into_iter()
        .map(|(field, _)| field)
        .collect()
}
