//! The whole mesh in one process: the services, joined by pipes, and the backend of this machine.
//!
//! They end in the order in which they need one another: the orchestrator suspends what runs while gate, token and
//! storage still answer; then those; then the backend, with whatever is left.

mod listeners;
mod part;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sandgate_auth_gateway as gate;
use sandgate_backend::{Backend, LocalBackend};
use sandgate_orchestrator as orchestrator;
use sandgate_rpc::config::SecretFile;
use sandgate_rpc::{Channel, ChannelOptions, Memory, Peer, Service, Shutdown, Target, memory};
use sandgate_storage_sync as storage;
use sandgate_token as token;
use sandgate_types::{Clock, SystemClock};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::args::MeshArgs;
use crate::data_dir::{DataDir, Lock, Published};
use crate::init::{databases, init};
use crate::mesh::listeners::listen;
use crate::mesh::part::{Failures, Part};

/// From the first service to a gate that serves; it takes a fraction of a second.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A service that has been told to end has this long; the orchestrator syncs and suspends meanwhile.
const END_LIMIT: Duration = Duration::from_secs(60);

/// A mesh that serves.
pub(crate) struct Mesh {
    published: Published,
    backend: Arc<LocalBackend>,
    backend_tasks: Shutdown,
    /// In the order in which they end.
    services: Vec<Part>,
    failures: Failures,
}

impl Mesh {
    /// Starts everything and waits until clients are served. With `listens`, on the address of `args` too.
    pub(crate) async fn start(
        data: &DataDir,
        lock: &Lock,
        args: &MeshArgs,
        listens: bool,
    ) -> anyhow::Result<Self> {
        // Bound first: a wrong address fails before anything is made or started.
        let socket = data.client_socket();
        let (client, address) = listen(&socket, listens.then_some(args.listen.as_str())).await?;
        let databases = databases(
            data,
            args.database_url.as_deref(),
            args.database_owner_url.as_deref(),
        )?;
        let place = databases.place();
        let mut orchestrator_config = orchestrator::Config::new(databases.orchestrator.clone());
        if let Some(file) = &args.templates {
            orchestrator_config.templates = orchestrator::Templates::load(file)
                .with_context(|| format!("read the templates in {}", file.display()))?;
        }
        init(data, lock, &databases, None).await?;
        // Whoever can read it is a client with all rights; one that was taken elsewhere is nobody's to read here.
        if data.api_key().exists() {
            SecretFile::from(data.api_key()).read("the API key")?;
        }
        let binary = std::env::current_exe().context("find our own binary")?;
        let sandboxd = vec![binary.into_os_string(), "sandboxd".into()];
        let backend_tasks = Shutdown::new();
        let templates = &orchestrator_config.templates;
        let backend = orchestrator::local_backend(
            templates,
            sandboxd,
            orchestrator::FIRST_UID,
            args.otlp_endpoint.clone(),
            backend_tasks.clone(),
        )
        .await?;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let failures = Failures::default();
        let (token_listen, token_pipe) = memory();
        let (storage_listen, storage_pipe) = memory();
        let (orchestrator_listen, orchestrator_pipe) = memory();
        let (gate_listen, gate_pipe) = memory();
        let as_service =
            |pipe: &Memory, service: Service| -> Target { pipe.target(Peer::Service(service)) };

        let mut token_config = token::Config::new(
            databases.token.clone(),
            SecretFile::from(data.master_key().to_owned()),
            data.path().join("audit/token"),
        );
        token_config.gates_end_with_us = true;
        token_config.feed_head_file = Some(data.feed_head());
        token_config.drain_delay = Duration::ZERO;
        let token_ports = token::Ports {
            mesh: vec![token_listen],
            orchestrator: as_service(&orchestrator_pipe, Service::Token),
        };
        let times = Arc::clone(&clock);
        let token_part = Part::start("token", &failures, |end| {
            token::serve(token_config, token_ports, times, end)
        });

        let storage_config = storage::Config::new(
            databases.storage,
            data.path().join("objects"),
            data.path().join("audit/storage-sync"),
        );
        let storage_ports = storage::Ports {
            mesh: vec![storage_listen],
            orchestrator: as_service(&orchestrator_pipe, Service::StorageSync),
        };
        let times = Arc::clone(&clock);
        let storage_part = Part::start("storage-sync", &failures, |end| {
            storage::serve(storage_config, storage_ports, times, end)
        });

        let mut gate_config = gate::Config::new(data.path().join("audit"));
        gate_config.policy.clone_from(&args.policy);
        gate_config.upstream_roots.clone_from(&args.upstream_roots);
        gate_config.drain_delay = Duration::ZERO;
        let gate_ports = gate::Ports {
            client,
            mesh: vec![gate_listen],
            token: as_service(&token_pipe, Service::AuthGateway),
            orchestrator: as_service(&orchestrator_pipe, Service::AuthGateway),
            storage: as_service(&storage_pipe, Service::AuthGateway),
            links: backend.links(),
        };
        let times = Arc::clone(&clock);
        let gate_part = Part::start("auth-gateway", &failures, |end| {
            gate::serve(gate_config, gate_ports, times, end)
        });

        let orchestrator_ports = orchestrator::Ports {
            mesh: vec![orchestrator_listen],
            backend: Arc::clone(&backend) as Arc<dyn Backend>,
            token: as_service(&token_pipe, Service::Orchestrator),
            storage: as_service(&storage_pipe, Service::Orchestrator),
            gate: as_service(&gate_pipe, Service::Orchestrator),
        };
        let times = Arc::clone(&clock);
        let orchestrator_part = Part::start("orchestrator", &failures, |end| {
            orchestrator::serve(orchestrator_config, orchestrator_ports, times, end)
        });

        let published = Published {
            pid: std::process::id(),
            socket: socket.clone(),
            address: address.map(|address| address.to_string()),
            policy: absolute(args.policy.as_deref())?,
            upstream_roots: absolute(args.upstream_roots.as_deref())?,
            templates: absolute(args.templates.as_deref())?,
            database: place,
        };
        let services = vec![orchestrator_part, gate_part, storage_part, token_part];
        let mesh = Self {
            published,
            backend,
            backend_tasks,
            services,
            failures,
        };
        let started = async {
            mesh.ready(socket).await?;
            // This start may have found that revocations were lost.
            Ok(token::check_api_keys(&databases.token, &data.api_key()).await?)
        };
        let started: anyhow::Result<()> = started.await;
        if started.is_err() {
            mesh.end_all().await;
        }
        started?;
        data.publish(lock, &mesh.published)?;
        Ok(mesh)
    }

    /// How clients reach it.
    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// What bounds its sandboxes.
    pub(crate) fn bounds(&self) -> Vec<sandgate_backend::Bound> {
        self.backend.bounds()
    }

    /// Waits until a service ends by itself, which none should, and says why it did.
    pub(crate) async fn broken(&self) -> String {
        let ended = self.services.iter().map(|part| Box::pin(part.ended()));
        futures_util::future::select_all(ended).await;
        self.why()
    }

    /// Ends it: what runs is synced and suspended first.
    pub(crate) async fn end(self, data: &DataDir, lock: &Lock) -> anyhow::Result<()> {
        data.retract(lock)?;
        self.end_all().await;
        Ok(())
    }

    async fn end_all(&self) {
        for part in &self.services {
            part.end(END_LIMIT).await;
        }
        self.backend.stop().await;
        self.backend_tasks.begin();
        if !self.backend_tasks.join(END_LIMIT).await {
            tracing::warn!("tasks of the backend were left behind");
        }
    }

    async fn ready(&self, socket: PathBuf) -> anyhow::Result<()> {
        let serving = async {
            loop {
                let channel = Channel::new(Target::unix(socket.clone()), ChannelOptions::default());
                let watched = HealthClient::new(channel)
                    .watch(HealthCheckRequest::default())
                    .await;
                let Ok(answer) = watched else { continue };
                let mut changes = answer.into_inner();
                while let Ok(Some(health)) = changes.message().await {
                    if health.status() == ServingStatus::Serving {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = serving => Ok(()),
            why = self.broken() => Err(anyhow::anyhow!(why)),
            () = tokio::time::sleep(START_LIMIT) => Err(anyhow::anyhow!("the mesh was not ready in {START_LIMIT:?}; SANDGATE_LOG=info says what is missing")),
        }
    }

    fn why(&self) -> String {
        let failures = self.failures.lock();
        if failures.is_empty() {
            "a service ended without a reason".to_owned()
        } else {
            failures.join("; ")
        }
    }
}

/// The same file, whatever the directory is in which somebody reads this.
fn absolute(path: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    path.map(std::path::absolute)
        .transpose()
        .context("resolve the path of a file")
}
