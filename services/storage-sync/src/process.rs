//! storage-sync as a process of its own: settings, telemetry, sockets, serving, and the exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sandgate_rpc::config::{HeldDirs, ProcessEnv, load};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target, until_told};
use sandgate_types::SystemClock;

use crate::config::{Args, Config, Endpoint};
use crate::server::{Ports, serve};

/// What tasks have after the last call ended.
const TASKS_GRACE: Duration = Duration::from_secs(5);

/// What the binary does: reads its settings, binds, serves until a signal, drains.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let loaded = match load::<Args>("sandgate-storage-sync", arguments, &ProcessEnv) {
        Ok(loaded) => loaded,
        Err(stop) => return stop.exit(),
    };
    let (config, endpoint) = match <(Config, Endpoint)>::try_from(loaded.args) {
        Ok(settings) => settings,
        Err(violations) => return sandgate_rpc::config::Stop::from(violations).exit(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(_) => return ExitCode::FAILURE,
    };
    runtime.block_on(async move {
        let telemetry = match sandgate_telemetry::init(&loaded.telemetry) {
            Ok(telemetry) => telemetry,
            Err(_) => return ExitCode::FAILURE,
        };
        let result = run(config, endpoint).await;
        if let Err(error) = &result {
            tracing::error!(error = %format!("{error:#}"), "storage-sync ended");
        }
        telemetry.flush(TASKS_GRACE).await;
        if result.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    })
}

async fn run(config: Config, endpoint: Endpoint) -> anyhow::Result<()> {
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
    let shutdown = Shutdown::new();
    let tls =
        ServiceTls::load(&certificate, &key, &roots, &shutdown).context("load the certificate")?;
    let listener = Listen::tcp(listen, Some(tls.server())).await;
    let listener = listener.with_context(|| format!("listen on {listen}"))?;
    let ports = Ports {
        mesh: vec![listener],
        orchestrator: Target::tcp(&orchestrator, Some(tls.client(Service::Orchestrator))),
    };
    let work = serve(config, ports, Arc::new(SystemClock), shutdown.clone());
    let served = until_told(&shutdown, Box::pin(work)).await;
    served.context("listen for signals")?.context("serve")?;
    shutdown.begin();
    anyhow::ensure!(
        shutdown.join(TASKS_GRACE).await,
        "tasks did not end in time"
    );
    Ok(())
}
