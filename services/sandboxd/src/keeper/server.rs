//! The keeper's composition root: from two inherited sockets to a serving instance, and to its end.
//!
//! The backend's socket and the runner's are the keeper's life: when either closes, it ends, and with it
//! everything inside. Links to the gate come and go meanwhile; a new one takes the place of the one before.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use rand::RngCore as _;
use sandgate_api::sandbox::v1::attach_service_server::AttachServiceServer;
use sandgate_api::sandbox::v1::file_service_server::FileServiceServer;
use sandgate_api::sandbox::v1::port_service_server::PortServiceServer;
use sandgate_api::sandbox::v1::process_service_server::ProcessServiceServer;
use sandgate_rpc::{Peer, Readiness, ServeError, Server, ServerOptions, Service, Shutdown};
use sandgate_session::control::{self, FromKeeper, ToKeeper};
use sandgate_types::{Clock, InstanceId, chain};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UnixStream};

use super::gate::Gate;
use super::grpc::Services;
use super::instance::Instance;
use super::kills::Kills;
use super::listener::Proxy;
use super::pipe::watched;
use super::runner::{Greeting, Runner};

/// How long the runner may take to try the ways out and greet.
const GREETING: Duration = Duration::from_secs(30);
/// How long tasks have when the end has begun; nothing of theirs outlives the process.
const GRACE: Duration = Duration::from_secs(1);

/// Why a keeper did not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    /// The backend's socket failed, or it said something else first.
    #[error("the backend's socket")]
    Control(#[source] io::Error),
    /// The runner did not greet.
    #[error("the runner did not greet")]
    Runner(#[source] io::Error),
    /// Ways out of the sandbox are open.
    #[error("the sandbox is not closed: {}", .0.join(", "))]
    Open(Vec<String>),
    /// The listener of the agent cannot be used.
    #[error("the agent's listener")]
    Listener(#[source] io::Error),
    /// The services could not be served.
    #[error("the services")]
    Serve(#[from] ServeError),
}

/// Serves one instance until the backend or the runner is gone. `kills` counts who was killed for memory.
///
/// # Errors
/// Why it never served, which the backend was told.
pub(crate) async fn serve(
    control: OwnedFd,
    runner: OwnedFd,
    kills: Option<OwnedFd>,
    clock: Arc<dyn Clock>,
) -> Result<(), KeeperError> {
    let control = Control::new(control).map_err(KeeperError::Control)?;
    let Some(id) = control.hello().await.map_err(KeeperError::Control)? else {
        return Ok(());
    };
    match greet(runner, Kills::new(kills)).await {
        Ok((runner, listener)) => Keeper::new(id, runner, clock).run(listener, control).await,
        Err(error) => {
            control
                .tell(&FromKeeper::Failed {
                    message: chain(&error),
                })
                .await;
            Err(error)
        }
    }
}

/// Waits for the runner, and refuses a sandbox that is not closed.
async fn greet(runner: OwnedFd, kills: Kills) -> Result<(Arc<Runner>, TcpListener), KeeperError> {
    let greeting = tokio::time::timeout(GREETING, Runner::greet(runner, kills)).await;
    let late = |_| KeeperError::Runner(io::ErrorKind::TimedOut.into());
    let (
        runner,
        Greeting {
            listener,
            open_ways,
        },
    ) = greeting.map_err(late)?.map_err(KeeperError::Runner)?;
    if !open_ways.is_empty() {
        return Err(KeeperError::Open(open_ways));
    }
    let listener = TcpListener::from_std(listener).map_err(KeeperError::Listener)?;
    Ok((runner, listener))
}

/// The socket to the backend.
struct Control(AsyncFd<OwnedFd>);

impl Control {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(watched(socket)?))
    }

    async fn receive(&self) -> io::Result<Option<ToKeeper>> {
        self.0
            .async_io(Interest::READABLE, |socket| {
                control::receive_from_backend(socket)
            })
            .await
    }

    /// Which instance this is; `None` when the backend is gone.
    async fn hello(&self) -> io::Result<Option<InstanceId>> {
        match self.receive().await? {
            Some(ToKeeper::Hello { instance }) => Ok(Some(instance)),
            Some(ToKeeper::Link { .. }) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a link came before the greeting",
            )),
            None => Ok(None),
        }
    }

    async fn tell(&self, message: &FromKeeper) {
        let told = self
            .0
            .async_io(Interest::WRITABLE, |socket| {
                control::send_to_backend(socket, message)
            })
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "the backend could not be told");
        }
    }
}

/// A keeper with a runner.
struct Keeper {
    instance: Arc<Instance>,
    gate: Arc<Gate>,
    tasks: Shutdown,
}

/// The sockets of the link that is current, kept so that they can be closed when another takes its place.
struct Link([StdStream; 2]);

impl Drop for Link {
    fn drop(&mut self) {
        for stream in &self.0 {
            // One whose other end is closed already is as good.
            let _closed = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Keeper {
    fn new(id: InstanceId, runner: Arc<Runner>, clock: Arc<dyn Clock>) -> Self {
        let tasks = Shutdown::new();
        let gate = Arc::new(Gate::new(tasks.clone()));
        tasks.spawn("runner", Arc::clone(&runner).listen());
        let instance = Instance::new(id, runner, Arc::clone(&gate), clock, tasks.clone());
        Self {
            instance,
            gate,
            tasks,
        }
    }

    async fn run(self, listener: TcpListener, control: Control) -> Result<(), KeeperError> {
        let proxy = Proxy::new(Arc::clone(&self.gate), Arc::clone(&self.instance.identity));
        self.tasks
            .spawn("local listener", proxy.serve(listener, self.tasks.clone()));
        let (listen, links) = sandgate_rpc::memory();
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        let services = Services::new(Arc::clone(&self.instance), &key);
        let server = Server::new(ServerOptions {
            reflection: false,
            grace: Duration::ZERO,
            ..ServerOptions::new(Readiness::new())
        })
        .service(AttachServiceServer::new(services.clone()))
        .service(ProcessServiceServer::new(services.clone()))
        .service(FileServiceServer::new(services.clone()))
        .service(PortServiceServer::new(services));
        let serving = server.serve(vec![listen], &self.tasks);
        control.tell(&FromKeeper::Ready).await;
        let result = tokio::select! {
            served = serving => served.map_err(KeeperError::from),
            ended = self.follow(&control, links) => ended.map_err(KeeperError::Control),
            () = self.instance.runner.gone() => Ok(()),
        };
        self.tasks.begin();
        if !self.tasks.join(GRACE).await {
            tracing::debug!("some tasks did not end in time");
        }
        result
    }

    /// Takes new links until the backend is gone.
    async fn follow(
        &self,
        control: &Control,
        links: sandgate_rpc::transport::Memory,
    ) -> io::Result<()> {
        let mut current: Option<Link> = None;
        while let Some(message) = control.receive().await? {
            let ToKeeper::Link { serve, call } = message else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the backend greeted twice",
                ));
            };
            let (serve, call) = (StdStream::from(serve), StdStream::from(call));
            // The one before ends first, so that its calls do not count beside the new one's.
            drop(current.take());
            current = Some(Link([serve.try_clone()?, call.try_clone()?]));
            if let Err(error) = self.gate.connect(stream(call)?).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a link to the gate could not be used"
                );
                continue;
            }
            links
                .hand_over(stream(serve)?, Peer::Service(Service::AuthGateway))
                .await?;
        }
        Ok(())
    }
}

fn stream(socket: StdStream) -> io::Result<UnixStream> {
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
