//! storage-sync as a process of its own: sockets, and serving.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sandgate_rpc::config::{HeldDirs, Loaded};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target, run_process};
use sandgate_types::SystemClock;

use crate::config::{Args, Config, Endpoint};
use crate::server::{Ports, serve};

/// What tasks have after the last call ended.
const TASKS_GRACE: Duration = Duration::from_secs(5);

/// The process, from its arguments (those after its name) to its exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    run_process::<Args, _, _, _>("sandgate-storage-sync", arguments, run)
}

async fn run(settings: Loaded<(Config, Endpoint)>, shutdown: Shutdown) -> anyhow::Result<()> {
    let (config, endpoint) = settings.args;
    let Endpoint {
        orchestrator,
        listen,
        certificate,
        key,
        roots,
    } = endpoint;
    let files = [
        Some(config.objects.as_path()),
        Some(config.audit_dir.as_path()),
        config.database.file(),
    ];
    let _held = HeldDirs::of(files.into_iter().flatten())?;
    let tls =
        ServiceTls::load(&certificate, &key, &roots, &shutdown).context("load the certificate")?;
    let listener = Listen::tcp(listen, Some(tls.server())).await;
    let listener = listener.with_context(|| format!("listen on {listen}"))?;
    let ports = Ports {
        mesh: vec![listener],
        orchestrator: Target::tcp(&orchestrator, Some(tls.client(Service::Orchestrator))),
    };
    let served = serve(config, ports, Arc::new(SystemClock), shutdown.clone()).await;
    served.context("serve")?;
    shutdown.begin();
    anyhow::ensure!(
        shutdown.join(TASKS_GRACE).await,
        "tasks did not end in time"
    );
    Ok(())
}
