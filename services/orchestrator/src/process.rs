//! The orchestrator as a process of its own, with the local backend.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sandgate_backend::Backend as _;
use sandgate_rpc::config::{HeldDirs, Loaded, ProcessEnv, Stop, load};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target, until_told};
use sandgate_types::SystemClock;

use crate::config::{Args, Config, Process};
use crate::link_socket::LinkSocket;
use crate::local::local_backend;
use crate::server::{Ports, serve};

const PROCESS: &str = "sandgate-orchestrator";
/// What the backend's own tasks may take after the last instance has ended.
const JOIN_LIMIT: Duration = Duration::from_secs(5);
/// The last spans and metrics may take as long.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Runs the service until it is told to end.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let loaded = load::<Args>(PROCESS, arguments, &ProcessEnv);
    let settings = loaded.and_then(|Loaded { args, telemetry }| {
        let (config, process) = args.try_into().map_err(Stop::from)?;
        Ok((config, process, telemetry))
    });
    let (config, process, telemetry) = match settings {
        Ok(settings) => settings,
        Err(stop) => return stop.exit(),
    };
    match run(config, process, &telemetry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Said plainly: telemetry may be what failed. Whoever closed our output still gets the code.
            drop(writeln!(std::io::stderr(), "{PROCESS}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(
    config: Config,
    process: Process,
    telemetry: &sandgate_telemetry::Settings,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let otlp_endpoint = telemetry.otlp.clone();
        let telemetry = sandgate_telemetry::init(telemetry)?;
        let shutdown = Shutdown::new();
        let work = run_all(config, process, otlp_endpoint, shutdown.clone());
        let served = until_told(&shutdown, Box::pin(work)).await;
        telemetry.flush(FLUSH_LIMIT).await;
        served?
    })
}

async fn run_all(
    config: Config,
    process: Process,
    otlp_endpoint: Option<String>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Process {
        listen,
        certificate,
        key,
        roots,
        token,
        storage,
        gate,
        first_uid,
        sandboxd,
        links_socket,
    } = process;
    let _held = HeldDirs::of(config.database.file())?;
    let tls = ServiceTls::load(&certificate, &key, &roots, &shutdown)?;
    let mesh = vec![Listen::tcp(listen, Some(tls.server())).await?];
    let target = |authority: &str, service| Target::tcp(authority, Some(tls.client(service)));
    let socket = LinkSocket::bind(&links_socket)?;
    let backend_tasks = Shutdown::new();
    let backend = local_backend(
        &config.templates,
        sandboxd,
        first_uid,
        otlp_endpoint,
        backend_tasks.clone(),
    )
    .await?;
    let linked = Arc::clone(&backend);
    backend_tasks.spawn(
        "links",
        socket.serve(Arc::new(move || linked.links()), backend_tasks.clone()),
    );
    let ports = Ports {
        mesh,
        backend: Arc::clone(&backend) as Arc<dyn sandgate_backend::Backend>,
        token: target(&token, Service::Token),
        storage: target(&storage, Service::StorageSync),
        gate: target(&gate, Service::AuthGateway),
    };
    let served = serve(config, ports, Arc::new(SystemClock), shutdown).await;
    backend.stop().await;
    backend_tasks.begin();
    if !backend_tasks.join(JOIN_LIMIT).await {
        tracing::warn!("tasks of the backend were left behind");
    }
    Ok(served?)
}
