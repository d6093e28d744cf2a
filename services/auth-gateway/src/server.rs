//! The composition root: feeds, listeners, workers, and their end.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_api::sandbox::v1::attach_service_server::AttachServiceServer;
use sandgate_api::sandbox::v1::file_service_server::FileServiceServer;
use sandgate_audit::{Log, OpenError};
use sandgate_egress::{Dialing, Roots};
use sandgate_rpc::{
    Channel, ChannelOptions, Listen, Readiness, Server, ServerOptions, Shutdown, Target,
    descriptor_limit,
};
use sandgate_session::link::InstanceLink;
use sandgate_telemetry::metric::Meters;
use sandgate_types::{AuditEventId, Clock, LinkId, Malformed, Violations};
use tokio::sync::mpsc;
use tonic_health::server::HealthReporter;

use crate::activity::Activity;
use crate::bound::Bound;
use crate::cache::Cache;
use crate::client::{self, Admission, Clients, Taking};
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::freshness::{self, Parts};
use crate::gate::{Gate, Services};
use crate::grpc;
use crate::grpc::mesh::Mesh;
use crate::keys::ApiKeys;
use crate::limit::Limiter;
use crate::links::Links;
use crate::observe::Instruments;
use crate::open;
use crate::policy::Policies;
use crate::ports::Ports;
use crate::records::Records;
use crate::sandbox;
use crate::streams::Streams;
use crate::trust::Trust;
use crate::workers::Workers;

/// Verified tokens that are remembered: two for each of eight thousand sandboxes.
const TOKENS_MAX: usize = 16_384;
/// What runs after the last request has this long.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// Why the gate does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The file of the policy, with all that is wrong with it.
    #[error("the policy {file} cannot be served:\n{1}", file = .0.display())]
    Policy(PathBuf, Violations),
    /// A setting.
    #[error(transparent)]
    Setting(#[from] Malformed),
    /// The audit log. Nothing is served without it.
    #[error(transparent)]
    Audit(#[from] OpenError),
    /// A thread of the data path.
    #[error("start the data path")]
    Workers(#[source] io::Error),
    /// Reflection.
    #[error("describe the services")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The mesh listener.
    #[error(transparent)]
    Server(#[from] sandgate_rpc::ServeError),
}

/// Serves until `shutdown` begins. While a feed is missing it stays up, is not ready, refuses, and says why.
///
/// # Errors
/// [`ServeError`]: what waiting cannot mend.
pub async fn serve(
    config: Config,
    ports: Ports,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let Ports {
        client,
        mesh,
        token,
        orchestrator,
        storage,
        links,
    } = ports;
    let services = Services {
        token: channel(token),
        orchestrator: channel(orchestrator),
        storage: channel(storage),
    };
    let own = client.iter().filter_map(Bound::local_addr);
    let own: Vec<SocketAddr> = own
        .chain(mesh.iter().filter_map(Listen::local_addr))
        .collect();
    let readiness = Readiness::new();
    let gate = Arc::new(gate_of(&config, services, own, clock)?);
    let (reporter, open) = open::routes(config.reflection).await?;
    let shutdown = shutdown.child();
    let feeds = Shutdown::new();
    start_feeds(
        &gate,
        &readiness,
        reporter,
        config.audit_dir.clone(),
        &feeds,
    );

    let connections = Shutdown::new();
    let count = config.workers.unwrap_or_else(processors);
    let workers = Arc::new(Workers::start(count, &connections).map_err(ServeError::Workers)?);
    let clients = Clients {
        gate: Arc::clone(&gate),
        open,
    };
    let accepting = Shutdown::new();
    let admission = Admission::of(descriptor_limit());
    for bound in client {
        let taking = Taking {
            room: admission.by(bound.way()),
            stranger_limit: config.stranger_limit,
            workers: Arc::clone(&workers),
            ending: connections.clone(),
            accepting: accepting.clone(),
        };
        let serving = client::serve(bound, clients.clone(), taking);
        accepting.spawn("client listener", serving);
    }
    accepting.spawn(
        "links",
        take_links(
            links,
            Arc::clone(&gate),
            Arc::clone(&workers),
            connections.clone(),
            accepting.clone(),
        ),
    );
    let mut options = ServerOptions::new(readiness);
    options.drain_delay = config.drain_delay;
    options.grace = config.grace;
    options.reflection = config.reflection;
    let handlers = Mesh::new(Arc::clone(&gate));
    let served = Server::new(options)
        .service(AttachServiceServer::new(handlers.clone()))
        .service(FileServiceServer::new(handlers))
        .serve(mesh, &shutdown)
        .await;

    // The mesh listener has waited for the drain's delay. Now nothing new is taken, and what is on its way ends.
    accepting.begin();
    connections.begin();
    if !connections.join(config.grace).await {
        gate.streams
            .cut_where(|_| Some(crate::refusal::CutReason::Ending));
        connections.join(JOIN_LIMIT).await;
    }
    feeds.begin();
    shutdown.begin();
    let joined = accepting.join(JOIN_LIMIT).await && feeds.join(JOIN_LIMIT).await;
    if !(joined && shutdown.join(JOIN_LIMIT).await) {
        tracing::warn!("tasks were left behind at the end");
    }
    drop(clients);
    if let Some(workers) = Arc::into_inner(workers) {
        workers.stop();
    }
    Ok(served?)
}

fn channel(target: Target) -> Channel {
    Channel::new(target, ChannelOptions { retries: false })
}

fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn gate_of(
    config: &Config,
    services: Services,
    own: Vec<SocketAddr>,
    clock: Arc<dyn Clock>,
) -> Result<Gate, ServeError> {
    let mut rng = StdRng::from_os_rng();
    let roots = config.upstream_roots.as_ref();
    let roots = roots.map(|path| Roots::read("upstream_roots", path));
    let dialing = Dialing {
        roots: roots.transpose()?,
        loopback: config.loopback_upstreams,
        own: own.into(),
    };
    let policies = Policies::start(config.policy.clone(), dialing).map_err(|violations| {
        ServeError::Policy(config.policy.clone().unwrap_or_default(), violations)
    })?;
    let start = AuditEventId::random(&mut rng);
    let log = Log::open(
        &config.audit_dir,
        "auth-gateway",
        &start,
        Arc::clone(&clock),
    )?;
    Ok(Gate {
        clock,
        trust: Trust::default(),
        endpoints: Endpoints::default(),
        streams: Arc::new(Streams::default()),
        links: Links::default(),
        policies,
        tokens: Cache::new(rand::Rng::random(&mut rng), TOKENS_MAX),
        api_keys: ApiKeys::new(services.token.clone(), rand::Rng::random(&mut rng)),
        agent_rate: Limiter::per_second(config.sandbox_rate),
        daemon_rate: Limiter::per_second(config.sandbox_rate),
        tenant_rate: Limiter::per_second(config.tenant_rate),
        records: Records::new(log),
        buffers: Arc::default(),
        activity: Activity::default(),
        services,
        instruments: Instruments::new(&Meters::of_this_process()),
        id: LinkId::random(&mut rng).as_str().to_owned(),
        requests: AtomicU64::new(0),
    })
}

fn start_feeds(
    gate: &Arc<Gate>,
    readiness: &Readiness,
    reporter: HealthReporter,
    audit_dir: PathBuf,
    feeds: &Shutdown,
) {
    let of = || (Arc::clone(gate), feeds.clone());
    let (one, ending) = of();
    feeds.spawn("revocations", grpc::revocations::follow(one, ending));
    let (one, ending) = of();
    feeds.spawn("lease", grpc::lease::keep(one, ending));
    let (one, ending) = of();
    feeds.spawn("endpoints", grpc::endpoints::follow(one, ending));
    let (one, ending) = of();
    feeds.spawn("keys", grpc::jwks::follow(one, ending));
    let (one, ending) = of();
    feeds.spawn("activity", grpc::activity::report(one, ending));
    let (one, ending) = of();
    feeds.spawn("counted refusals", async move {
        one.records.settle(ending).await
    });
    let (one, ending) = of();
    let collected = readiness.part("audit");
    feeds.spawn(
        "audit",
        grpc::audit::ship(one, audit_dir, collected, ending),
    );
    let (one, ending) = of();
    feeds.spawn(
        "freshness",
        freshness::watch(one, Parts::of(readiness), ending),
    );
    let (one, ending) = of();
    feeds.spawn("upkeep", freshness::look_after(one, ending));
    feeds.spawn(
        "health",
        open::follow_health(reporter, readiness.clone(), feeds.clone()),
    );
}

/// Takes links as they come, each on a worker of its own.
async fn take_links(
    mut links: mpsc::Receiver<InstanceLink>,
    gate: Arc<Gate>,
    workers: Arc<Workers>,
    connections: Shutdown,
    accepting: Shutdown,
) {
    loop {
        let link = tokio::select! {
            () = accepting.cancelled() => return,
            link = links.recv() => link,
        };
        // Without a backend there are no more links; those that live go on.
        let Some(link) = link else { return };
        let (gate, connections) = (Arc::clone(&gate), connections.clone());
        let serving = async move {
            let instance = link.instance.clone();
            match gate.links.take(link, &connections).await {
                Ok(taken) => sandbox::serve(taken, gate, connections).await,
                Err(error) => tracing::warn!(%error, %instance, "a link could not be taken"),
            }
        };
        // A link that was dropped would cost a sandbox its way out; whoever makes links waits.
        tokio::select! {
            () = accepting.cancelled() => return,
            () = workers.spawn("sandbox link", serving) => {}
        }
    }
}
