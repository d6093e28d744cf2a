//! The token service as a process of its own: settings, telemetry, sockets, serving, and the exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use sandgate_rpc::config::{HeldDirs, Loaded, ProcessEnv, Stop, load};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target, until_told};
use sandgate_types::SystemClock;

use crate::config::{Args, Config, Socket};
use crate::server::{Ports, serve};

/// The name of the process.
const PROCESS: &str = "sandgate-token";

/// The process: settings, telemetry, sockets, serving, and the exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let loaded = load::<Args>(PROCESS, arguments, &ProcessEnv);
    let (config, socket, telemetry) = match loaded.and_then(|Loaded { args, telemetry }| {
        let (config, socket) = args.try_into().map_err(Stop::from)?;
        Ok((config, socket, telemetry))
    }) {
        Ok(settings) => settings,
        Err(stop) => return stop.exit(),
    };
    match run(config, socket, &telemetry) {
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
    socket: Socket,
    telemetry: &sandgate_telemetry::Settings,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let telemetry = sandgate_telemetry::init(telemetry)?;
        let Socket {
            orchestrator,
            listen,
            certificate,
            key,
            roots,
        } = socket;
        let files = [Some(config.audit_dir.as_path()), config.database.file()];
        let _held = HeldDirs::of(files.into_iter().flatten())?;
        let shutdown = Shutdown::new();
        let tls = ServiceTls::load(&certificate, &key, &roots, &shutdown)?;
        let ports = Ports {
            mesh: vec![Listen::tcp(listen, Some(tls.server())).await?],
            orchestrator: Target::tcp(&orchestrator, Some(tls.client(Service::Orchestrator))),
        };
        let work = serve(config, ports, Arc::new(SystemClock), shutdown.clone());
        let served = until_told(&shutdown, Box::pin(work)).await?;
        drop(telemetry);
        Ok(served?)
    })
}
