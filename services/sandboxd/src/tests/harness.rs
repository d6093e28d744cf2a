//! The backend's and the gate's side of one instance.
#![expect(
    clippy::disallowed_methods,
    reason = "a test is a process of its own; what it spawns ends with its runtime"
)]

mod attachment;
mod refusal;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::options::v1::Role;
use sandgate_api::orchestrator::v1::instance_service_server::InstanceServiceServer;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::sandbox::v1::port_service_client::PortServiceClient;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_api::storage::v1::sync_service_server::SyncServiceServer;
use sandgate_api::token::v1::token_service_server::TokenServiceServer;
use sandgate_rpc::{CALLER_METADATA, Caller, Principal, Service};
use sandgate_session::control::{self, FromKeeper, ToKeeper};
use sandgate_session::packet;
use sandgate_types::{ApiKeyId, Clock, InstanceId, SandboxId, SessionId, SystemClock, TenantId};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub(super) use self::refusal::{field, reason};
pub(super) use super::finished::{Finished, finish, next};
use super::folder::{Folder, folder};
use super::mesh::Mesh;
use crate::keeper::{self, KeeperError};
use crate::runner::Runner;

/// How long anything in these tests may take before it counts as never.
pub(super) const NEVER: Duration = Duration::from_secs(60);

/// Puts a caller on each call, as the gate does.
#[derive(Debug, Clone)]
pub(super) struct As(Vec<u8>);

impl tonic::service::Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert_bin(CALLER_METADATA, MetadataValue::from_bytes(&self.0));
        Ok(request)
    }
}

/// A client's channel.
pub(super) type Client = InterceptedService<Channel, As>;

/// One instance, and everything around it.
pub(super) struct Sandbox {
    pub(super) folder: Folder,
    pub(super) mesh: Mesh,
    /// The agent's listener, which in a sandbox is 127.0.0.1:4040.
    pub(super) listener: SocketAddr,
    pub(super) instance: InstanceId,
    pub(super) session: SessionId,
    pub(super) sandbox: SandboxId,
    clock: Arc<dyn Clock>,
    control: Option<OwnedFd>,
    gate: Channel,
    keeper: tokio::task::JoinHandle<Result<(), KeeperError>>,
}

impl Sandbox {
    /// A spare.
    pub(super) async fn spare() -> Self {
        Self::start(Vec::new()).await.0
    }

    /// A spare whose keeper reads the time of `clock`.
    pub(super) async fn spare_at(clock: Arc<dyn Clock>) -> Self {
        Self::start_in(folder(), clock, Vec::new()).await.0
    }

    /// A spare whose workspace is `folder`'s.
    pub(super) async fn spare_in(folder: Folder) -> Self {
        Self::start_in(folder, Arc::new(SystemClock), Vec::new())
            .await
            .0
    }

    /// A spare, and what its keeper told the backend about its beginning; `open_ways` is what the runner finds.
    pub(super) async fn start(open_ways: Vec<String>) -> (Self, FromKeeper) {
        Self::start_in(folder(), Arc::new(SystemClock), open_ways).await
    }

    async fn start_in(
        folder: Folder,
        clock: Arc<dyn Clock>,
        open_ways: Vec<String>,
    ) -> (Self, FromKeeper) {
        std::fs::create_dir(folder.path().join("workspace")).expect("a workspace");
        let (runner_end, keeper_end) = packet::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let runner = Runner::new(runner_end, &folder.path().join("workspace")).expect("a runner");
        std::thread::spawn(move || {
            // A keeper that is gone at once is the subject of some tests.
            let _gone = runner.hello(listener, open_ways);
            let _ended = runner.run();
        });
        let (control, keeper_control) = control::pair().expect("a pair");
        let mut rng = StdRng::from_os_rng();
        let instance = InstanceId::random(&mut rng);
        control::send_to_keeper(
            &control,
            &ToKeeper::Hello {
                instance: instance.clone(),
            },
        )
        .expect("greeted");
        let keeper = tokio::spawn(keeper::serve(
            keeper_control,
            keeper_end,
            None,
            Arc::clone(&clock),
        ));
        let answer = {
            let control = control.try_clone().expect("a copy");
            let heard = tokio::task::spawn_blocking(move || control::receive_from_keeper(&control));
            heard
                .await
                .expect("no panic")
                .expect("heard")
                .expect("the keeper is there")
        };
        let mesh = Mesh::default();
        let gate = link(&control, &mesh).await;
        let sandbox = Self {
            folder,
            mesh,
            listener: address,
            instance,
            session: SessionId::random(&mut rng),
            sandbox: SandboxId::random(&mut rng),
            clock,
            control: Some(control),
            gate,
            keeper,
        };
        (sandbox, answer)
    }

    /// One that serves a conversation without files.
    pub(super) async fn attached() -> Self {
        let sandbox = Self::spare().await;
        sandbox
            .attach(sandbox.attachment())
            .await
            .expect("attached");
        sandbox
    }

    pub(super) fn files(&self) -> FileServiceClient<Client> {
        FileServiceClient::new(self.client())
    }

    pub(super) fn processes(&self) -> ProcessServiceClient<Client> {
        ProcessServiceClient::new(self.client())
    }

    pub(super) fn ports(&self) -> PortServiceClient<Client> {
        PortServiceClient::new(self.client())
    }

    /// A client of the mesh, behind the gate.
    pub(super) fn client(&self) -> Client {
        let caller = Caller {
            tenant: Some(TenantId::parse("tenant", "acme").expect("a name")),
            user: None,
            may_name_users: false,
            roles: vec![Role::Caller],
            principal: Principal::ApiKey(ApiKeyId::random(&mut StdRng::from_os_rng())),
        };
        InterceptedService::new(self.gate.clone(), As(caller.to_bytes()))
    }

    /// The orchestrator, behind the gate.
    pub(super) fn orchestrator(&self) -> Client {
        InterceptedService::new(
            self.gate.clone(),
            As(Caller::service(Service::Orchestrator).to_bytes()),
        )
    }

    /// The gate, for nobody.
    pub(super) fn gate(&self) -> Channel {
        self.gate.clone()
    }

    /// Where a file of the workspace is.
    pub(super) fn at(&self, path: &str) -> std::path::PathBuf {
        self.workspace().join(path)
    }

    pub(super) fn workspace(&self) -> std::path::PathBuf {
        self.folder.path().join("workspace")
    }

    /// A command in the workspace.
    pub(super) fn command(&self, argv: &[&str]) -> pb::RunProcessRequest {
        command(argv, &self.workspace())
    }

    /// A shell's command line in the workspace.
    pub(super) fn shell(&self, line: &str) -> pb::RunProcessRequest {
        self.command(&["sh", "-c", line])
    }

    /// Runs a command to its end.
    pub(super) async fn run(&self, request: pb::RunProcessRequest) -> Result<Finished, Status> {
        let stream = self.processes().run_process(request).await?.into_inner();
        Ok(finish(stream).await)
    }

    /// Gives the instance new links, as after a restart of the gate.
    pub(super) async fn relink(&mut self) {
        let control = self.control.as_ref().expect("the backend is there");
        self.gate = link(control, &self.mesh).await;
    }

    /// Ends the backend's side, and answers how the keeper ended.
    pub(super) async fn backend_ends(mut self) -> Result<(), KeeperError> {
        drop(self.control.take());
        let ended = tokio::time::timeout(NEVER, &mut self.keeper)
            .await
            .expect("the keeper ends");
        ended.expect("no panic")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

pub(super) fn command(argv: &[&str], cwd: &Path) -> pb::RunProcessRequest {
    pb::RunProcessRequest {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        cwd: cwd.to_str().expect("text").to_owned(),
        ..Default::default()
    }
}

/// Hands the keeper a pair of links, and takes the gate's place at their other ends.
async fn link(control: &OwnedFd, mesh: &Mesh) -> Channel {
    let pair = || StdStream::pair().expect("a pair");
    let ((serve, keeper_serve), (call, keeper_call)) = (pair(), pair());
    let message = ToKeeper::Link {
        serve: keeper_serve.into(),
        call: keeper_call.into(),
    };
    // A keeper that has ended takes no links; whoever calls sees that.
    let _ended = control::send_to_keeper(control, &message);
    let stream = |stream: StdStream| {
        stream.set_nonblocking(true).expect("non-blocking");
        tokio::net::UnixStream::from_std(stream).expect("a stream")
    };
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(stream(call)));
    let mesh = mesh.clone();
    tokio::spawn(async move {
        let served = tonic::transport::Server::builder()
            .add_service(SyncServiceServer::new(mesh.clone()))
            .add_service(TokenServiceServer::new(mesh.clone()))
            .add_service(InstanceServiceServer::new(mesh))
            .serve_with_incoming(incoming);
        let _cut = served.await;
    });
    let mut serve = Some(hyper_util::rt::TokioIo::new(stream(serve)));
    let connector = tower::service_fn(move |_| {
        let stream = serve
            .take()
            .ok_or_else(|| std::io::Error::other("a link is made once"));
        async move { stream }
    });
    Endpoint::from_static("http://keeper").connect_with_connector_lazy(connector)
}
