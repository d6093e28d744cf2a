//! A gate with fake services around it, a sandbox's keeper, and upstreams.

pub(crate) mod api_keys;
pub(crate) mod certificates;
pub(crate) mod keeper;
pub(crate) mod orchestrator;
pub(crate) mod token;
pub(crate) mod upstream;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_auth_gateway::{Bound, Config, Ports, serve};
use sandgate_rpc::{Peer, Service, Shutdown, memory};
use sandgate_session::link::InstanceLink;
use sandgate_session::{Audience, Claims, Operations};
use sandgate_testkit::TestClock;
use sandgate_types::{
    Clock as _, ConversationId, Generation, InstanceId, PolicyRevision, SandboxId, SessionId,
    TenantId, TokenId, UserId,
};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use keeper::Keeper;
use orchestrator::Orchestrator;
use token::Token;

/// The longest that anything of a test may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// What a cut may take on a machine that is busy with other tests. The bar itself, 100 ms, is a bench's.
pub(crate) const CUT_LIMIT: Duration = Duration::from_secs(1);

/// A policy that allows nothing.
pub(crate) const NO_ROUTES: &str = "version: 1\nroutes: []\n";
/// An HTTP/2 client's first bytes, and the frame of its settings, which are the usual.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Between two questions, for what can only be asked.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

/// Asks the gate until it is so, and not for ever: what it has heard from its feeds shows in its answers only.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        let mut next = tokio::time::interval(ASK_EVERY);
        while !holds().await {
            next.tick().await;
        }
    };
    soon(asking).await;
}

/// A gate and everything around it.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) token: Token,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) mesh: sandgate_rpc::Memory,
    pub(crate) clock: TestClock,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) rng: StdRng,
    links: mpsc::Sender<InstanceLink>,
    shutdown: Shutdown,
}

impl World {
    /// A gate that is ready, with this policy; `key` beside it holds `upstream-secret`.
    pub(crate) async fn with_policy(policy: &str) -> Self {
        Self::start(policy, |_| {}, Vec::new()).await
    }

    /// The same, with other settings.
    pub(crate) async fn with_config(policy: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::start(policy, change, Vec::new()).await
    }

    /// The same, with more sockets for clients.
    pub(crate) async fn start(
        policy: &str,
        change: impl FnOnce(&mut Config),
        mut client: Vec<Bound>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, policy).expect("write the policy");
        let key = folder.path().join("key");
        std::fs::write(&key, "upstream-secret\n").expect("write the key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let clock = TestClock::new();
        let shutdown = Shutdown::new();
        let (token, token_target) = Token::start(&shutdown);
        let (orchestrator, orchestrator_target) = Orchestrator::start(&shutdown);
        let (_, nobody) = memory();
        let bound = Bound::tcp("127.0.0.1:0".parse().expect("an address"), None).await;
        let bound = bound.expect("a port");
        let address = bound.local_addr().expect("its address");
        client.push(bound);
        let (links, receiver) = mpsc::channel(16);
        let (listen, mesh) = memory();
        let ports = Ports {
            client,
            mesh: vec![listen],
            token: token_target,
            orchestrator: orchestrator_target,
            storage: nobody.target(Peer::Service(Service::AuthGateway)),
            links: receiver,
        };
        let mut config = Config::new(folder.path().join("audit"));
        config.policy = Some(file);
        config.grace = Duration::from_millis(100);
        change(&mut config);
        let serving = serve(config, ports, clock.shared(), shutdown.clone());
        shutdown.spawn("gate", async move {
            serving.await.expect("the gate serves");
        });
        let world = Self {
            address,
            token,
            orchestrator,
            mesh,
            clock,
            folder,
            rng: StdRng::seed_from_u64(1),
            links,
            shutdown,
        };
        until(async || world.is_ready().await).await;
        world
    }

    /// Whether the gate says that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        let request = client_request("/grpc.health.v1.Health/Check", Vec::new());
        let answer = self.call(request).await;
        answer.status == 0 && answer.message == [8, 1]
    }

    /// A sandbox of `tenant` and `user`, live, with its keeper connected.
    pub(crate) async fn sandbox(&mut self, tenant: &str, user: &str) -> Sandbox {
        let claims = self.claims(tenant, user);
        let keeper = self.connect(&claims.instance).await;
        self.orchestrator.live(&claims);
        let sandbox = Sandbox { claims, keeper };
        // Until the feed has arrived, nothing of it is served.
        until(async || {
            let answer = sandbox.keeper.get("/r/none", &self.agent(&sandbox)).await;
            answer.http == 404
        })
        .await;
        sandbox
    }

    /// The keeper of an instance, connected.
    pub(crate) async fn connect(&self, instance: &InstanceId) -> Keeper {
        let (link, keeper) = Keeper::pair(instance.clone(), &self.shutdown).await;
        self.links.send(link).await.expect("the gate takes links");
        keeper
    }

    /// The keeper's ends of an instance's link, to be spoken by hand: the one that it serves, and the one by which it calls.
    pub(crate) async fn connect_raw(&self, instance: InstanceId) -> (UnixStream, UnixStream) {
        let (link, ends) = keeper::raw_pair(instance);
        self.links.send(link).await.expect("the gate takes links");
        ends
    }

    /// Claims of an agent that may call everything.
    pub(crate) fn claims(&mut self, tenant: &str, user: &str) -> Claims {
        let now = self.clock.now();
        Claims {
            token: TokenId::random(&mut self.rng),
            audience: Audience::Agent,
            tenant: TenantId::parse("tenant", tenant).expect("valid"),
            user: UserId::parse("user", user).expect("valid"),
            conversation: ConversationId::parse("conversation", "c-1").expect("valid"),
            session: SessionId::random(&mut self.rng),
            session_start: now,
            session_end: now.plus(Duration::from_secs(24 * 3600)),
            sandbox: SandboxId::random(&mut self.rng),
            instance: InstanceId::random(&mut self.rng),
            generation: Generation::FIRST,
            agent_operations: Operations::All,
            policy_revision: PolicyRevision::CURRENT,
            issued_at: now,
            expires_at: now.plus(Duration::from_secs(3600)),
        }
    }

    /// The agent token of a sandbox.
    pub(crate) fn agent(&self, sandbox: &Sandbox) -> String {
        self.token.sign(&sandbox.claims)
    }

    /// The daemon token of a sandbox.
    pub(crate) fn daemon(&self, sandbox: &Sandbox) -> String {
        let mut claims = sandbox.claims.clone();
        claims.audience = Audience::Daemon;
        self.token.sign(&claims)
    }

    /// Sends a request to the client listener over a connection of its own.
    pub(crate) async fn call(&self, request: http::Request<tonic::body::Body>) -> keeper::Answer {
        let response = self.stream(request).await;
        keeper::Answer::of(response).await
    }

    /// Sends a request to the client listener and answers its head.
    pub(crate) async fn stream(
        &self,
        request: http::Request<tonic::body::Body>,
    ) -> http::Response<hyper::body::Incoming> {
        let stream = tokio::net::TcpStream::connect(self.address).await;
        let stream = hyper_util::rt::TokioIo::new(stream.expect("connect"));
        let executor = hyper_util::rt::TokioExecutor::new();
        let handshake = hyper::client::conn::http2::handshake(executor, stream).await;
        let (mut sender, connection) = handshake.expect("http/2");
        self.shutdown.spawn("client", async move {
            // The test looks at answers, not at how connections end.
            drop(connection.await);
        });
        soon(sender.send_request(request)).await.expect("an answer")
    }

    /// Waits until an action is on record, with this reason.
    pub(crate) async fn recorded(&self, action: &str, reason: &str) {
        let is_it = |record: &sandgate_api::audit::v1::Record| {
            record.action == action && record.reason == reason
        };
        self.orchestrator
            .hears(|heard| heard.records.lock().iter().any(is_it))
            .await;
    }

    /// Replaces the policy.
    pub(crate) fn write_policy(&self, policy: &str) {
        std::fs::write(self.folder.path().join("policy.yaml"), policy).expect("write");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// A sandbox as the gate sees it.
pub(crate) struct Sandbox {
    pub(crate) claims: Claims,
    pub(crate) keeper: Keeper,
}

/// A gRPC request of a client.
pub(crate) fn client_request(path: &str, message: Vec<u8>) -> http::Request<tonic::body::Body> {
    http::Request::builder()
        .method("POST")
        .uri(format!("http://gate{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(keeper::framed(&message))
        .expect("a request")
}

/// A call to a sandbox.
pub(crate) fn sandbox_request(
    key: &str,
    sandbox: &SandboxId,
    method: &str,
) -> http::Request<tonic::body::Body> {
    let mut request = client_request(&format!("/sandgate.sandbox.v1.{method}"), Vec::new());
    let headers = request.headers_mut();
    let bearer = format!("Bearer {key}");
    headers.insert("authorization", bearer.parse().expect("a header"));
    headers.insert("x-sandbox-id", sandbox.as_str().parse().expect("a header"));
    request
}

/// What several tasks share.
pub(crate) type Shared<T> = Arc<parking_lot::Mutex<T>>;
