//! The orchestrator as a process of its own, with the local backend.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sandgate_backend::Backend as _;
use sandgate_rpc::config::{HeldDirs, Loaded};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target, run_process};
use sandgate_types::SystemClock;

use crate::config::{Args, Config, Process};
use crate::link_socket::LinkSocket;
use crate::local::local_backend;
use crate::server::{Ports, serve};

/// What the backend's own tasks may take after the last instance has ended.
const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// Runs the service until it is told to end.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    run_process::<Args, _, _, _>("sandgate-orchestrator", arguments, run)
}

async fn run(settings: Loaded<(Config, Process)>, shutdown: Shutdown) -> anyhow::Result<()> {
    let Loaded { args, telemetry } = settings;
    let (config, process) = args;
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
        telemetry.otlp,
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
