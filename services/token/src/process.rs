//! The token service as a process of its own: sockets, and serving.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use sandgate_rpc::config::{HeldDirs, Loaded};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target, run_process};
use sandgate_types::SystemClock;

use crate::config::{Args, Config, Socket};
use crate::server::{Ports, serve};

/// The process, from its arguments (those after its name) to its exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    run_process::<Args, _, _, _>("sandgate-token", arguments, run)
}

async fn run(settings: Loaded<(Config, Socket)>, shutdown: Shutdown) -> anyhow::Result<()> {
    let (config, socket) = settings.args;
    let Socket {
        orchestrator,
        listen,
        certificate,
        key,
        roots,
    } = socket;
    let files = [Some(config.audit_dir.as_path()), config.database.file()];
    let _held = HeldDirs::of(files.into_iter().flatten())?;
    let tls = ServiceTls::load(&certificate, &key, &roots, &shutdown)?;
    let ports = Ports {
        mesh: vec![Listen::tcp(listen, Some(tls.server())).await?],
        orchestrator: Target::tcp(&orchestrator, Some(tls.client(Service::Orchestrator))),
    };
    Ok(serve(config, ports, Arc::new(SystemClock), shutdown).await?)
}
