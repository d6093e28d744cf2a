//! An orchestrator under test.

mod asker;
mod calls;
mod refusal;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::orchestrator::v1 as pb;
use sandgate_backend::Backend;
use sandgate_db::{DatabaseUrl, Migration, Migrations};
use sandgate_orchestrator::{Config, Limits, Ports, Templates, migrate, serve};
use sandgate_rpc::{Channel, ChannelOptions, Memory, Peer, Service, Shutdown, memory};
use sandgate_testkit::{TestClock, postgres_urls};
use sandgate_types::{Timestamp, VersionId};

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

    /// An orchestrator on a fresh Postgres database; `None` where the test run has no Postgres.
    pub(crate) async fn start_on_postgres() -> Option<Self> {
        let urls = postgres_urls().await?;
        let [user, owner]: [DatabaseUrl; 2] =
            [urls.user, urls.owner].map(|url| url.parse().expect("a URL of Postgres"));
        let url = user.migrated_by(owner).expect("both are Postgres");
        migrate(&url, Timestamp::EPOCH).await.expect("migrations");
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let (backend, clock) = (Arc::new(FakeBackend::new()), TestClock::new());
        let world = (backend, FakePeers::new(), clock, url, folder);
        Some(Self::over(world, TEMPLATES).await)
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

    /// The database takes everything but a row that failed, from now on.
    pub(crate) async fn refuse_failures(&self) {
        const TRIGGER: &str =
            "CREATE TRIGGER refuse_failures BEFORE UPDATE ON sandboxes WHEN NEW.phase = 'FAILED'
            BEGIN SELECT RAISE(ABORT, 'refused'); END";
        const SCHEMA: Migrations = Migrations {
            service: "orchestrator",
            steps: &[
                Migration::same(1, "sandboxes", ""),
                Migration::same(2, "audit", ""),
                Migration::same(3, "wishes", ""),
                Migration::same(4, "quotas", ""),
                Migration::same(5, "refuse failures", TRIGGER),
            ],
        };
        let applied = SCHEMA.run(&self.url, Timestamp::EPOCH).await;
        applied.expect("a trigger");
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
